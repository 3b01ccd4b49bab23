package statetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/state"
)

// Pair is two empty stores that must not be told apart.
type Pair struct {
	// Simulated is the one in memory.
	Simulated *state.Memory
	// Genuine is the other one. It writes large batches in parts of PartWrites writes.
	Genuine state.Store
	// Cut is as in Fixture, for Genuine. Nil if nothing can be cut off.
	Cut func(parts int, how Loss)
}

// PartWrites is how many small writes a store does in one part.
const PartWrites = 64

// rounds of checks, of which rapid makes a hundred each.
const rounds = 3

// Fidelity checks that two stores give the same answers to the same random operations, errors included but
// not their words, also when a batch is cut off in the middle. open is called before each sequence of
// operations. -rapid.checks=10000 does more of it.
func Fidelity(t *testing.T, open func() Pair) {
	t.Helper()
	for range rounds {
		rapid.Check(t, func(rt *rapid.T) {
			p := open()
			f := &fidelity{rt: rt, ctx: t.Context(), pair: p, places: map[state.Shard]*place{}}
			for range evenly(40).Draw(rt, "operations") {
				f.step()
			}
		})
	}
}

type fidelity struct {
	rt     *rapid.T
	ctx    context.Context //nolint:containedctx // one short test
	pair   Pair
	places map[state.Shard]*place
}

// place is what the test knows of a shard, to draw what means something.
type place struct {
	applied uint64
	last    state.Batch  // that was tried last, to be repeated
	image   *state.Piece // of which the next one is to come
}

// evenly draws below n without rapid's liking for small numbers.
func evenly(n int) *rapid.Generator[int] {
	return rapid.Custom(func(rt *rapid.T) int {
		value := 0
		for range 10 {
			value *= 2
			if rapid.Bool().Draw(rt, "bit") {
				value++
			}
		}
		return value * n >> 10
	})
}

// oneOf draws one of several, each as likely.
func oneOf[T any](rt *rapid.T, what string, all ...T) T {
	return all[evenly(len(all)).Draw(rt, what)]
}

// both does the same on both stores and compares what they said.
func (f *fidelity) both(what string, do func(state.Store) string) {
	f.rt.Helper()
	f.compare(what, do(f.pair.Simulated), do(f.pair.Genuine))
}

func (f *fidelity) compare(what, simulated, genuine string) {
	f.rt.Helper()
	if simulated != genuine {
		f.rt.Fatalf("%s:\n  simulated: %s\n  genuine:   %s", what, simulated, genuine)
	}
	f.rt.Logf("%s: %s", what, simulated)
}

// said says all of an error that anybody may act on.
func said(err error) string {
	if err == nil {
		return "ok"
	}
	text := "kind " + fault.Of(err).String()
	if fenced, ok := errors.AsType[*state.FencedError](err); ok {
		text += fmt.Sprint(", fenced at ", fenced.Applied)
	}
	if other, ok := errors.AsType[*state.OtherError](err); ok {
		text += fmt.Sprint(", at ", other.Applied, " and in part at ", other.Target)
	}
	return text
}

func (f *fidelity) shard() state.Shard {
	return state.Shard{
		Stage: oneOf(f.rt, "stage", "one", "two"), Partition: oneOf(f.rt, "partition", 0, 0, 0, 0, 0, 0, 1, 1, oneOf(f.rt, "odd", -1, state.MaxPartitions)),
	}
}

func (f *fidelity) place(s state.Shard) *place {
	if f.places[s] == nil {
		f.places[s] = &place{}
	}
	return f.places[s]
}

func (f *fidelity) step() {
	s := f.shard()
	steps := []func(state.Shard){
		f.apply, f.apply, f.apply, f.apply, f.apply, f.apply, f.cut, f.cut, f.repeat, f.repeat, f.restore, f.restore, f.restore, f.reset,
		f.unschedule, f.ended,
	}
	steps[evenly(len(steps)).Draw(f.rt, "step")](s)
	f.look(s)
}

// apply applies a batch that mostly follows on what is applied; sometimes it is late or early or leads nowhere.
func (f *fidelity) apply(s state.Shard) {
	p := f.place(s)
	p.last = f.batch(p.applied+uint64(oneOf(f.rt, "ahead", 0, 0, 0, 0, 0, 0, 1, 2)), oneOf(f.rt, "step", 1, 1, 1, 2, 3, 0)) //nolint:gosec // small
	f.applyLast(s)
}

// repeat applies once more what was tried last: it is done already, or was cut off, or is refused again.
func (f *fidelity) repeat(s state.Shard) {
	if f.place(s).last.Meta.Applied > 0 {
		f.applyLast(s)
	}
}

func (f *fidelity) applyLast(s state.Shard) {
	p := f.place(s)
	f.both(fmt.Sprintf("apply %d after %d with %d writes to %v", p.last.Meta.Applied, p.last.Prev, len(p.last.Writes), s), func(store state.Store) string {
		err := store.Apply(f.ctx, s, p.last)
		if err == nil {
			p.applied = p.last.Meta.Applied
		}
		return said(err)
	})
}

// cut applies a batch that is cut off after some of its parts, if nothing else would refuse it.
func (f *fidelity) cut(s state.Shard) {
	p := f.place(s)
	v, err := f.pair.Simulated.Read(f.ctx, s.Partition, state.Query{Metas: []string{s.Stage}})
	if f.pair.Cut == nil || err != nil || v.Metas[s.Stage].Unfinished {
		return
	}
	p.last = f.batch(v.Metas[s.Stage].Applied, 1)
	parts := max(1, (len(p.last.Writes)+PartWrites-1)/PartWrites)
	done, how := evenly(parts).Draw(f.rt, "parts"), oneOf(f.rt, "loss", LoseRequest, LoseAnswer)
	f.pair.Cut(done, how)
	if err := f.pair.Genuine.Apply(f.ctx, s, p.last); err == nil {
		f.rt.Fatalf("a part was cut off, and nobody said so")
	}
	if done += int(how); done > 0 {
		if err := f.pair.Simulated.ApplyPart(f.ctx, s, p.last, done*PartWrites); err != nil {
			f.rt.Fatalf("apply in part: %v", err)
		}
	}
	f.rt.Logf("apply %d after %d with %d writes to %v, cut off after %d parts", p.last.Meta.Applied, p.last.Prev, len(p.last.Writes), s, done)
	if done == parts {
		p.applied = p.last.Meta.Applied
	}
}

func (f *fidelity) reset(s state.Shard) {
	f.both(fmt.Sprintf("reset %v", s), func(store state.Store) string { return said(store.Reset(f.ctx, s)) })
	*f.place(s) = place{last: f.place(s).last}
}

func (f *fidelity) unschedule(s state.Shard) {
	due := state.Due{Key: f.key(), At: f.time()}
	if all, err := f.pair.Simulated.Due(f.ctx, s, at(1000), 100); err == nil && len(all) > 0 && rapid.Bool().Draw(f.rt, "known") {
		due = oneOf(f.rt, "due", all...)
	}
	f.both(fmt.Sprintf("unschedule %v in %v", due, s), func(store state.Store) string { return said(store.Unschedule(f.ctx, s, due)) })
}

// ended does what a context that has ended must not let pass.
func (f *fidelity) ended(s state.Shard) {
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	limit, b := evenly(2).Draw(f.rt, "limit"), f.batch(f.place(s).applied, 1)
	f.both(fmt.Sprintf("with an ended context, %v", s), func(store state.Store) string {
		_, read := store.Read(ctx, s.Partition, state.Query{Metas: []string{s.Stage}})
		_, nothing := store.Read(ctx, s.Partition, state.Query{})
		_, due := store.Due(ctx, s, at(1), limit)
		_, keys := store.Keys(ctx, s, "", limit)
		_, restored := store.Restore(ctx, s, state.Piece{Image: "none", Meta: &b.Meta})
		var text []string
		for _, err := range []error{
			read, nothing, due, keys, restored, store.Apply(ctx, s, b), store.Reset(ctx, s), store.Unschedule(ctx, s, state.Due{Key: "a"}),
		} {
			text = append(text, fmt.Sprintf("%v %s", errors.Is(err, context.Canceled), said(err)))
		}
		return strings.Join(text, "; ")
	})
}

// look compares all that can be seen of a shard.
func (f *fidelity) look(s state.Shard) {
	q := state.Query{Metas: []string{"one", "two", "none"}}
	for _, key := range alphabet() {
		q.Rows = append(q.Rows, state.Row{Stage: "one", Key: key}, state.Row{Stage: "two", Key: key})
		q.Lists = append(q.Lists, state.List{Stage: s.Stage, Name: key, Newest: oneOf(f.rt, "newest", -1, 0, 1, 2, 5, 1<<40)})
		for _, member := range alphabet() {
			q.Members = append(q.Members, state.Member{Stage: s.Stage, Set: key, Value: member})
		}
	}
	until, after, limit := f.time(), f.key(), oneOf(f.rt, "limit", -1, 0, 1, 2, 3, 100)
	f.both(fmt.Sprintf("read %v", s), func(store state.Store) string {
		v, err := store.Read(f.ctx, s.Partition, q)
		return viewText(v) + said(err)
	})
	f.both(fmt.Sprintf("due in %v until %s, %d", s, until, limit), func(store state.Store) string {
		due, err := store.Due(f.ctx, s, until, limit)
		return fmt.Sprint(due, said(err))
	})
	f.both(fmt.Sprintf("keys in %v after %q, %d", s, after, limit), func(store state.Store) string {
		keys, err := store.Keys(f.ctx, s, after, limit)
		return fmt.Sprintf("%q %s", keys, said(err))
	})
}

// viewText tells nothing from empty for rows, but not for lists.
func viewText(v state.View) string {
	var text strings.Builder
	for _, stage := range []string{"one", "two", "none"} {
		m, ok := v.Metas[stage]
		fmt.Fprintf(&text, "%s %v: %d %d %q %s %v %d, origins %v, senders %v\n",
			stage, ok, m.Generation, m.Applied, m.Revision, m.Now.Format(time.RFC3339Nano), m.Unfinished, m.Target, m.Origins, m.Senders)
	}
	for i, row := range v.Rows {
		if row != nil {
			fmt.Fprintf(&text, "%d=%.20q(%d)@%d ", i, row, len(row), v.Sequences[i])
		}
	}
	fmt.Fprintf(&text, "\n%v\n", v.Members)
	for i, list := range v.Lists {
		fmt.Fprintf(&text, "%d=%.20q ", i, list)
	}
	return text.String()
}
