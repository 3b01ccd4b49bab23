package stage

import (
	"context"
	"fmt"
	"sync"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/snapshot"
	"refrain.dev/pkg/state"
)

// wholeStore is the store under the replay clock. Whoever reads a shard sees everything that was written to
// it in this process: if the store has lost it, it is first copied again from the chain. On the wall clock
// each owner repairs its own shards with its next input; on the replay clock an instant may bring an input
// to one stage only, which reads the rows of another, and facts may not depend on when a loss is noticed.
type wholeStore struct {
	state.Store
	broker  log.Broker
	library *snapshot.Library // nil if no snapshots are kept
	ended   <-chan struct{}   // closed when the replay clock has ended: then it is seen through

	mu      sync.Mutex
	applied map[state.Shard]uint64 // the last record written

	mending sync.Mutex
}

func newWholeStore(store state.Store, broker log.Broker, library *snapshot.Library, ended <-chan struct{}) *wholeStore {
	return &wholeStore{Store: store, broker: broker, library: library, ended: ended, applied: map[state.Shard]uint64{}}
}

// Apply implements state.Store.
func (w *wholeStore) Apply(ctx context.Context, shard state.Shard, b state.Batch) error {
	if err := w.Store.Apply(ctx, shard, b); err != nil {
		return err //nolint:wrapcheck // the same store, seen through
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applied[shard] = max(w.applied[shard], b.Meta.Applied)
	return nil
}

// Read implements state.Store.
func (w *wholeStore) Read(ctx context.Context, partition int, q state.Query) (state.View, error) {
	for {
		want := w.wanted(partition, q.Metas)
		view, err := w.Store.Read(ctx, partition, q)
		if err != nil {
			return view, err //nolint:wrapcheck // the same store, seen through
		}
		whole := true
		for shard, sequence := range want {
			meta := view.Metas[shard.Stage]
			if meta.Damaged && sequence > 0 {
				if err := w.Reset(ctx, shard); err != nil {
					return view, fmt.Errorf("mend states: %w", err)
				}
				meta = state.Meta{}
			}
			if meta.Applied >= sequence {
				continue
			}
			whole = false
			if err := w.mend(ctx, shard, meta.Applied, sequence); err != nil {
				return view, err
			}
		}
		if whole {
			return view, nil
		}
	}
}

// Due implements state.Store: an index that has lost entries would let their instants pass.
func (w *wholeStore) Due(ctx context.Context, shard state.Shard, until time.Time, limit int) ([]state.Due, error) {
	for {
		want := w.wanted(shard.Partition, []string{shard.Stage})[shard]
		dues, err := w.Store.Due(ctx, shard, until, limit)
		if err != nil {
			return nil, err //nolint:wrapcheck // the same store, seen through
		}
		// Looked at afterwards: a loss before or while the index was read is seen now.
		view, err := w.Store.Read(ctx, shard.Partition, state.Query{Metas: []string{shard.Stage}})
		if err != nil {
			return nil, err //nolint:wrapcheck // the same store, seen through
		}
		if applied := view.Metas[shard.Stage].Applied; applied < want {
			if err := w.mend(ctx, shard, applied, want); err != nil {
				return nil, err
			}
			continue
		}
		return dues, nil
	}
}

// wanted is up to where the shards of a read were written before it.
func (w *wholeStore) wanted(partition int, stages []string) map[state.Shard]uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	want := map[state.Shard]uint64{}
	select {
	case <-w.ended:
		return want
	default:
	}
	for _, stage := range stages {
		shard := state.Shard{Stage: stage, Partition: partition}
		want[shard] = w.applied[shard]
	}
	return want
}

// mend copies the records of a shard's chain behind from, up to a sequence.
func (w *wholeStore) mend(ctx context.Context, shard state.Shard, from, to uint64) error {
	w.mending.Lock()
	defer w.mending.Unlock()
	subject := log.Subject(log.Stage(shard.Stage).Chain, shard.Partition)
	r := &rebuilder{broker: w.broker, store: w.Store, clock: clock.Wall{}, library: w.library, warn: func(string, ...any) {}}
	whole, err := r.prepare(ctx, shard, state.Meta{Applied: from}, to)
	if err != nil {
		return fmt.Errorf("mend states from %s: %w", subject, err)
	}
	from = whole.Applied
	feed, err := w.broker.Feed(ctx, map[string]uint64{subject: from})
	if err != nil {
		return fmt.Errorf("mend states from %s: %w", subject, err)
	}
	defer feed.Close()
	tail := feed.Tail(subject)
	for at := from; at < to; {
		msg, err := log.Take(ctx, clock.Wall{}, tail)
		if err != nil {
			return fmt.Errorf("mend states from %s: %w", subject, err)
		}
		rec := &stagev1.Record{}
		if err := rec.UnmarshalVT(msg.Data); err != nil {
			return &HaltError{Subject: subject, Why: fmt.Sprintf("record %d cannot be read: %v", msg.Sequence, err)}
		}
		b, err := batchOf(rec, nil, msg.Sequence)
		if err != nil {
			return &HaltError{Subject: subject, Why: err.Error()}
		}
		if err := w.Store.Apply(ctx, shard, b); err != nil {
			return fmt.Errorf("mend states from %s: %w", subject, err)
		}
		at = msg.Sequence
	}
	return nil
}

// Store is the state store to use under the replay clock, over the one given: what it loses is brought back
// before anybody reads it, from the chains and, where they have been trimmed, from snapshots; library is nil if
// none are kept.
func (r *Replay) Store(store state.Store, library *snapshot.Library) state.Store {
	return newWholeStore(store, r.tracker, library, r.switched)
}
