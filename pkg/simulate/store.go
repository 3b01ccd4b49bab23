package simulate

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"refrain.dev/pkg/simulate/schedule"
	"refrain.dev/pkg/state"
)

// undoable is how many writes of a partition the store can forget.
const undoable = 64

// simStore is a process's connection to the state store.
type simStore struct{ p *Process }

var _ state.Store = (*simStore)(nil)

// place is how faults and traces name a shard: "<partition>/<stage>".
func (w *World) place(shard state.Shard) string {
	s, ok := w.shards[shard]
	if !ok {
		s = strconv.Itoa(shard.Partition) + "/" + shard.Stage
		w.shards[shard] = s
	}
	return s
}

// Read implements state.Store.
func (s *simStore) Read(ctx context.Context, partition int, q state.Query) (v state.View, err error) {
	stage := ""
	if len(q.Metas) > 0 {
		stage = q.Metas[0]
	}
	on := s.p.world.place(state.Shard{Stage: stage, Partition: partition})
	err = s.p.do(ctx, operation{class: schedule.State, name: "read", on: on, size: len(q.Rows)}, func() (err error) {
		v, err = s.p.world.store.Read(context.Background(), partition, q)
		return err
	})
	if err != nil {
		return state.View{}, err
	}
	return v, nil
}

// Apply implements state.Store.
func (s *simStore) Apply(ctx context.Context, shard state.Shard, b state.Batch) error {
	w := s.p.world
	o := operation{class: schedule.State, name: opApply, on: w.place(shard), size: batchSize(&b), write: true}
	o.keep = func() { b.Writes = cloneWrites(b.Writes) }
	o.part = func(n int) { _ = w.store.ApplyPart(context.Background(), shard, b, n) }
	return s.p.do(ctx, o, func() error { return w.store.Apply(context.Background(), shard, b) })
}

func batchSize(b *state.Batch) int {
	n := 0
	for i := range b.Writes {
		n += len(b.Writes[i].Value) + len(b.Writes[i].Deltas)
	}
	return n
}

func cloneWrites(writes []state.Write) []state.Write {
	writes = slices.Clone(writes)
	for i := range writes {
		writes[i].Value = bytes.Clone(writes[i].Value)
		writes[i].Deltas = slices.Clone(writes[i].Deltas)
	}
	return writes
}

// Due implements state.Store.
func (s *simStore) Due(ctx context.Context, shard state.Shard, until time.Time, limit int) (due []state.Due, err error) {
	err = s.p.do(ctx, operation{class: schedule.State, name: "due", on: s.p.world.place(shard)}, func() (err error) {
		due, err = s.p.world.store.Due(context.Background(), shard, until, limit)
		return err
	})
	return due, err
}

// Unschedule implements state.Store.
func (s *simStore) Unschedule(ctx context.Context, shard state.Shard, due state.Due) error {
	o := operation{class: schedule.State, name: "unschedule", on: s.p.world.place(shard), write: true}
	return s.p.do(ctx, o, func() error { return s.p.world.store.Unschedule(context.Background(), shard, due) })
}

// Keys implements state.Store.
func (s *simStore) Keys(ctx context.Context, shard state.Shard, after string, limit int) (keys []string, err error) {
	err = s.p.do(ctx, operation{class: schedule.State, name: "keys", on: s.p.world.place(shard)}, func() (err error) {
		keys, err = s.p.world.store.Keys(context.Background(), shard, after, limit)
		return err
	})
	return keys, err
}

// Restore implements state.Store.
func (s *simStore) Restore(ctx context.Context, shard state.Shard, piece state.Piece) (at int, err error) {
	w := s.p.world
	o := operation{class: schedule.State, name: opRestore, on: w.place(shard), size: len(piece.Writes), write: true}
	o.keep = func() { piece.Writes = cloneWrites(piece.Writes) }
	o.part = func(n int) {
		cut := piece
		if n < len(piece.Writes) {
			cut.Writes, cut.Meta = piece.Writes[:n], nil
		}
		_, _ = w.store.Restore(context.Background(), shard, cut)
	}
	err = s.p.do(ctx, o, func() error {
		done, err := w.store.Restore(context.Background(), shard, piece)
		at = done
		return err
	})
	if err != nil {
		return 0, err
	}
	return at, nil
}

// Reset implements state.Store.
func (s *simStore) Reset(ctx context.Context, shard state.Shard) error {
	o := operation{class: schedule.State, name: "reset", on: s.p.world.place(shard), write: true}
	return s.p.do(ctx, o, func() error { return s.p.world.store.Reset(context.Background(), shard) })
}

// atOnce does a fault that is over when it has begun, and says whether it is one.
func (f *faults) atOnce(a *active) bool {
	w := f.world
	var lost int
	switch a.What { //nolint:exhaustive // the rest lasts
	case schedule.Suffix:
		lost = w.log.Lose(a.prefix, max(a.Count, 1))
	case schedule.Recreated:
		lost = w.log.Recreate(a.prefix)
	case schedule.Forgets, schedule.Wiped:
		lost = f.forget(a)
	case schedule.Ahead:
		lost = f.ahead(a)
	case schedule.Corrupt:
		lost = f.corrupt(a)
	default:
		return false
	}
	if lost > 0 {
		f.took(a.What, a.class)
	}
	return true
}

// corrupt changes objects.
func (f *faults) corrupt(a *active) int {
	w := f.world
	all, err := w.log.Objects().List(context.Background(), a.prefix)
	if err != nil {
		return 0
	}
	n := 0
	for _, o := range all {
		if w.log.Corrupt(o.Name) {
			n++
		}
	}
	return n
}

// forget takes writes of the partitions of the state store back.
func (f *faults) forget(a *active) int {
	w := f.world
	lost := 0
	for _, p := range w.partitions(a.prefix) {
		if a.What == schedule.Wiped {
			w.store.Wipe(p)
			lost++
			continue
		}
		lost += w.store.Undo(p, max(a.Count, 1))
	}
	return lost
}

// partitions are those of the state store that were used, or the one that a place names.
func (w *World) partitions(prefix string) []int {
	name, _, _ := strings.Cut(prefix, "/")
	if n, err := strconv.Atoi(name); err == nil {
		return []int{n}
	}
	var all []int
	for shard := range w.shards {
		if !slices.Contains(all, shard.Partition) {
			all = append(all, shard.Partition)
		}
	}
	slices.Sort(all)
	return all
}

// ahead moves shards past where their chain led them.
func (f *faults) ahead(a *active) int {
	w := f.world
	moved := 0
	for _, shard := range w.shardsOf(a.prefix) {
		v, err := w.store.Read(context.Background(), shard.Partition, state.Query{Metas: []string{shard.Stage}})
		if err != nil || v.Metas[shard.Stage].Applied == 0 {
			continue
		}
		m := v.Metas[shard.Stage]
		b := state.Batch{Prev: m.Applied, Meta: m}
		b.Meta.Applied += uint64(max(a.Count, 1)) //nolint:gosec // at least 1
		if w.store.Apply(context.Background(), shard, b) == nil {
			moved++
		}
	}
	return moved
}

func (w *World) shardsOf(prefix string) []state.Shard {
	var of []state.Shard
	for shard, place := range w.shards {
		if shard.Stage != "" && strings.HasPrefix(place, prefix) {
			of = append(of, shard)
		}
	}
	slices.SortFunc(of, func(a, b state.Shard) int { return strings.Compare(w.shards[a], w.shards[b]) })
	return of
}
