package stage

import (
	"context"
	"errors"
	"fmt"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/failpoint"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/snapshot"
	"refrain.dev/pkg/state"
)

// rebuilder brings a shard that is behind its chain to where copying the chain's records leads on.
type rebuilder struct {
	broker  log.Broker
	store   state.Store
	clock   clock.Clock
	library *snapshot.Library // nil if none are kept
	points  failpoint.Points
	metrics *metrics
	warn    func(message string, args ...any)
}

// prepare makes sure that the records after the shard's position are all there, else, or if that is cheaper,
// it restores a snapshot. It returns the shard's meta, which has copied the records up to Applied, all whole.
func (r *rebuilder) prepare(ctx context.Context, shard state.Shard, meta state.Meta, last uint64) (state.Meta, error) {
	chain := log.Subject(log.Stage(shard.Stage).Chain, shard.Partition)
	follows, err := r.follows(ctx, chain, meta.Applied)
	if err != nil {
		return meta, err
	}
	if follows && meta.Applied > 0 && r.library == nil {
		return meta, nil
	}
	var listed []*stagev1.SnapshotListing
	if r.library != nil {
		if listed, err = r.library.List(ctx, chain); err != nil {
			return meta, err
		}
	}
	if len(listed) > 0 && listed[0].GetSequence() > last {
		return meta, &beyondError{chain: chain, sequence: listed[0].GetSequence(), last: last}
	}
	if follows && meta.Applied > 0 && near(meta.Applied, listed) {
		return meta, nil
	}
	restored, ok, err := r.restore(ctx, shard, meta, snapshots{listed, last})
	if err != nil || ok {
		return restored, err
	}
	if !follows {
		return meta, &HaltError{Subject: chain, Why: fmt.Sprintf(
			"records after %d are gone, and no snapshot leads over the gap", meta.Applied)}
	}
	if meta.Applied == 0 { // from genesis, into nothing
		return state.Meta{}, r.store.Reset(ctx, shard)
	}
	return meta, nil
}

// beyondError says that there is a snapshot of a record after the last one that its reader knows.
type beyondError struct {
	chain          string
	sequence, last uint64
}

func (e *beyondError) Error() string {
	return fmt.Sprintf("%s: there is a snapshot of record %d, the last one known is %d", e.chain, e.sequence, e.last)
}

// follows says whether the records after a position can be read: the next one is the one that was appended next,
// and the one at the position, where a feed has to begin, is there itself.
func (r *rebuilder) follows(ctx context.Context, chain string, position uint64) (bool, error) {
	msg, err := r.broker.Next(ctx, chain, position)
	if errors.Is(err, log.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s after %d: %w", chain, position, err)
	}
	rec := &stagev1.Record{}
	if err := rec.UnmarshalVT(msg.Data); err != nil {
		return false, &HaltError{Subject: chain, Why: fmt.Sprintf("record %d cannot be read: %v", msg.Sequence, err)}
	}
	if rec.GetPrev() != position || position == 0 {
		return rec.GetPrev() == position, nil
	}
	_, err = r.broker.Get(ctx, chain, position)
	if errors.Is(err, log.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s at %d: %w", chain, position, err)
	}
	return true, nil
}

// near says whether copying the records after a position is no more work than restoring the newest snapshot.
func near(position uint64, listed []*stagev1.SnapshotListing) bool {
	if len(listed) == 0 || position >= listed[0].GetSequence() {
		return true
	}
	records := listed[0].GetRecords()
	for _, s := range listed {
		if s.GetSequence() <= position {
			records -= s.GetRecords()
			break
		}
	}
	return records <= listed[0].GetRows()+nearRecords
}

// nearRecords is how many records are copied without a thought.
const nearRecords = 1000

// snapshots are those of a chain, the newest first, and the chain's last record.
type snapshots struct {
	listed []*stagev1.SnapshotListing
	last   uint64
}

// restore brings the newest snapshot into the store that is whole and that the chain's records follow; false if
// there is none.
func (r *rebuilder) restore(ctx context.Context, shard state.Shard, meta state.Meta, of snapshots) (state.Meta, bool, error) {
	chain := log.Subject(log.Stage(shard.Stage).Chain, shard.Partition)
	for _, listing := range of.listed {
		follows, err := r.follows(ctx, chain, listing.GetSequence())
		follows = follows || listing.GetSequence() == of.last
		if err != nil {
			return meta, false, err
		}
		if !follows {
			continue
		}
		began := r.clock.Elapsed()
		s, err := r.library.Open(ctx, chain, listing)
		if err == nil {
			err = r.library.Restore(ctx, r.store, shard, s, meta.Applied, r.points)
		}
		if errors.Is(err, snapshot.ErrDamaged) {
			r.warn("snapshot is damaged; an older one is tried", "chain", chain, "sequence", listing.GetSequence(), "error", err)
			meta.Applied = 0 // the shard is empty, or as it was
			if view, err := r.store.Read(ctx, shard.Partition, state.Query{Metas: []string{shard.Stage}}); err == nil {
				meta.Applied = view.Metas[shard.Stage].Applied
			}
			continue
		}
		if err != nil {
			return meta, false, fmt.Errorf("restore %s: %w", chain, err)
		}
		if r.metrics != nil {
			r.metrics.restored(ctx)
		}
		r.warn("states restored from a snapshot", "stage", shard.Stage, "partition", shard.Partition, "sequence", listing.GetSequence(),
			"rows", listing.GetRows(), "took", (r.clock.Elapsed() - began).Round(time.Millisecond).String())
		return s.Meta(), true, nil
	}
	return meta, false, nil
}

func (s *Stage) rebuilder() *rebuilder {
	return &rebuilder{
		broker: s.ports.Broker, store: s.ports.Store, clock: s.ports.Clock, library: s.library, points: s.ports.Points,
		metrics: s.metrics, warn: s.ports.Logger.Warn,
	}
}

// keeper builds the snapshots of the stage's partitions and sees to their states, and trims also those that wait to be
// taken over; nil if nowhere to keep snapshots.
func (s *Stage) keeper(waiting func() []int) *snapshot.Keeper {
	if s.ports.Objects == nil {
		return nil
	}
	return snapshot.NewKeeper(snapshot.Config{
		Settings: s.cfg.Retention, Spec: s.cfg.Spec, Generation: s.cfg.Generation, Replica: s.cfg.Replica,
	}, snapshot.Ports{
		Broker: s.ports.Broker, KV: s.ports.KV, Objects: s.ports.Objects, Store: s.ports.Store, Clock: s.Clock(),
		Logger: s.ports.Logger, Meter: s.ports.Meter, Points: s.ports.Points,
		Decode: func(rec *stagev1.Record, sequence uint64) (state.Batch, error) { return batchOf(rec, nil, sequence) },
		Pinned: s.ports.Pinned, Collect: s.ports.Collect,
		Answered: func(ctx context.Context, letter *stagev1.DeadLetter) (bool, error) {
			fate, err := FateOf(ctx, s.ports.Broker, s.ports.Store, letter)
			return fate == Settled, err
		},
		Waiting: waiting,
		Owned: func() []int {
			var out []int
			for _, p := range s.owned() {
				out = append(out, p.number)
			}
			return out
		},
	})
}
