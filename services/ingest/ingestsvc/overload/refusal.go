package overload

import (
	"sync/atomic"
	"time"
)

// Reason is why something is refused under load. It is what publishers' programs read.
type Reason string

// The reasons.
const (
	// StreamFull says that a stream of the log has no more room for this kind of event.
	StreamFull Reason = "STREAM_FULL"
	// StreamLost says that a stream of the log is not the one that it was: what is stored in it would be read by nobody.
	StreamLost Reason = "STREAM_LOST"
	// PartitionLags says that the stages are behind in the customer's partition.
	PartitionLags Reason = "PARTITION_LAGS"
	// BulkWaits says that the bulk lane is behind, or has to make room for live events.
	BulkWaits Reason = "BULK_WAITS"
	// CustomerRate says that one customer has more events than one customer may.
	CustomerRate Reason = "CUSTOMER_RATE"
	// LogSlow says that the log takes too long to store.
	LogSlow Reason = "LOG_SLOW"
	// IngestBusy says that this process has as many requests as it can hold.
	IngestBusy Reason = "INGEST_BUSY"
)

// Ours says that the publisher is not to blame: another replica, or the same one soon, may take it. Otherwise
// the publisher sends more than is taken now.
func (r Reason) Ours() bool {
	return r == StreamFull || r == StreamLost || r == LogSlow || r == IngestBusy
}

// RefusedError says why something is not taken now; a later retry may succeed.
type RefusedError struct {
	Reason Reason
	// Why in a few words, such as "partition 3 has 4 s of work before it".
	Why string
	// After is when to come again.
	After time.Duration
}

// Error implements error.
func (r *RefusedError) Error() string { return r.Why }

// Later is the refusal with the later time to come again; nil is none.
func Later(a, b *RefusedError) *RefusedError {
	if a == nil || b != nil && b.After > a.After {
		return b
	}
	return a
}

// The bounds of a time to come again, before it is spread.
const (
	soonest = time.Second
	latest  = 30 * time.Second
)

// again is when to come again if there is work for that long before there is room.
func again(work time.Duration) time.Duration { return min(max(work, soonest), latest) }

// Spread spreads times to come again over half to one and a half of themselves, so that those who were
// refused together do not come back together. It draws nothing: the n-th answer has the n-th place. It is
// safe for concurrent use.
type Spread struct{ n atomic.Uint64 }

// golden is the golden ratio in units of 2^-64: its multiples, modulo one, are spread evenly however many
// there are.
const golden = 0x9e3779b97f4a7c15

// After is d, spread.
func (s *Spread) After(d time.Duration) time.Duration {
	place := float64(s.n.Add(1)*golden>>11) / (1 << 53) // in [0, 1)
	return d/2 + time.Duration(float64(d)*place)
}
