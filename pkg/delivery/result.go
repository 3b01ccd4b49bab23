package delivery

import (
	"time"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
)

// Result is what became of an attempt.
type Result struct {
	// Attempt it is about: the number of INTENTs that there were.
	Attempt uint32
	// Status is ACCEPTED, REJECTED, UNSENT (proved) or UNKNOWN.
	Status dispatchv1.Status
	// Transient says, with UNSENT, that another attempt may succeed.
	Transient bool
	// Again says, with Transient, that nothing stands against trying at once: the call was never made.
	Again bool
	// RetryAfter is the least time until the next attempt, if the provider named one.
	RetryAfter time.Duration
	// ProviderID is the provider's id, with ACCEPTED.
	ProviderID string
	// Reasons say why it was not sent, or why nobody knows.
	Reasons []*reasonv1.Reason
	// ProfileVersion is the version of the profile that the last check saw.
	ProfileVersion uint64
}

const (
	firstBackOff = 30 * time.Second
	maxBackOff   = 15 * time.Minute
)

// BackOff is how long to wait after so many attempts: 30 s, doubled each time, at most 15 min.
func BackOff(attempts uint32) time.Duration {
	wait := firstBackOff
	for n := uint32(1); n < attempts && wait < maxBackOff; n++ {
		wait *= 2
	}
	return min(wait, maxBackOff)
}
