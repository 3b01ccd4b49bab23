package statetest

import (
	"context"
	"testing"
	"time"

	"pgregory.net/rapid"

	"refrain.dev/pkg/state"
)

// Differential checks that two stores give the same answers to the same random operations. open is
// called for two empty stores before each sequence of operations.
func Differential(t *testing.T, open func() (a, b state.Store)) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		a, b := open()
		pair{t: t, rt: rt, ctx: t.Context(), a: a, b: b}.run()
	})
}

type pair struct {
	t    *testing.T
	rt   *rapid.T
	ctx  context.Context //nolint:containedctx // one short test
	a, b state.Store
}

func (p pair) run() {
	applied := map[string]uint64{}
	for range rapid.IntRange(1, 12).Draw(p.rt, "operations") {
		s := state.Shard{Stage: rapid.SampledFrom([]string{"one", "two"}).Draw(p.rt, "stage"), Partition: 1}
		switch rapid.IntRange(0, 9).Draw(p.rt, "operation") {
		case 0:
			due := state.Due{Key: drawKey(p.rt), At: drawTime(p.rt)}
			p.agree("Unschedule", p.a.Unschedule(p.ctx, s, due), p.b.Unschedule(p.ctx, s, due))
		case 1:
			p.agree("Reset", p.a.Reset(p.ctx, s), p.b.Reset(p.ctx, s))
			applied[s.Stage] = 0
		default:
			b := drawBatch(p.rt, applied[s.Stage])
			errA, errB := p.a.Apply(p.ctx, s, b), p.b.Apply(p.ctx, s, b)
			p.agree("Apply", errA, errB)
			if errA == nil {
				applied[s.Stage] = b.Meta.Applied
			}
		}
		p.compare(s)
	}
}

// agree checks that two errors say the same.
func (p pair) agree(what string, a, b error) {
	if (a == nil) != (b == nil) || a != nil && a.Error() != b.Error() {
		p.rt.Fatalf("%s = %v and %v", what, a, b)
	}
}

func (p pair) compare(s state.Shard) {
	q := state.Query{Metas: []string{"one", "two"}}
	for _, key := range alphabet() {
		q.Rows = append(q.Rows, state.Row{Stage: "one", Key: key}, state.Row{Stage: "two", Key: key})
		q.Lists = append(q.Lists, state.List{Stage: s.Stage, Name: key, Newest: rapid.IntRange(0, 5).Draw(p.rt, "newest")})
		for _, member := range alphabet() {
			q.Members = append(q.Members, state.Member{Stage: s.Stage, Set: key, Value: member})
		}
	}
	viewA, errA := p.a.Read(p.ctx, s.Partition, q)
	viewB, errB := p.b.Read(p.ctx, s.Partition, q)
	p.agree("Read", errA, errB)
	p.same("Read", viewA, viewB)

	until, limit := drawTime(p.rt), rapid.IntRange(0, 6).Draw(p.rt, "limit")
	dueA, errA := p.a.Due(p.ctx, s, until, limit)
	dueB, errB := p.b.Due(p.ctx, s, until, limit)
	p.agree("Due", errA, errB)
	p.same("Due", dueA, dueB)

	after := drawKey(p.rt)
	keysA, errA := p.a.Keys(p.ctx, s, after, limit)
	keysB, errB := p.b.Keys(p.ctx, s, after, limit)
	p.agree("Keys", errA, errB)
	p.same("Keys", keysA, keysB)
}

func (p pair) same(what string, a, b any) {
	same(p.t, what, a, b)
	if p.t.Failed() {
		p.rt.Fatalf("%s differs", what)
	}
}

func alphabet() []string { return []string{"a", "b", "c", "d"} }

func drawKey(rt *rapid.T) string { return rapid.SampledFrom(alphabet()).Draw(rt, "key") }

func drawTime(rt *rapid.T) time.Time {
	return at(0).Add(time.Duration(rapid.IntRange(-3000, 3000).Draw(rt, "ns")))
}

// drawBatch mostly follows on what is applied; sometimes it is late, early or a repeat.
func drawBatch(rt *rapid.T, applied uint64) state.Batch {
	prev := applied + uint64(rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2}).Draw(rt, "ahead"))
	b := batch(prev, prev+uint64(rapid.IntRange(0, 3).Draw(rt, "step")))
	if applied > 0 && rapid.IntRange(0, 5).Draw(rt, "repeat") == 0 {
		b = batch(0, applied)
	}
	b.Meta.Now = drawTime(rt)
	b.Meta.Senders = rapid.MapOfN(rapid.SampledFrom(alphabet()), rapid.Custom(func(rt *rapid.T) state.Position {
		return state.Position{Sequence: rapid.Uint64().Draw(rt, "sequence"), Index: rapid.Uint32().Draw(rt, "index")}
	}), 0, 3).Draw(rt, "senders")
	for range rapid.SampledFrom([]int{0, 1, 2, 5, 70, 140}).Draw(rt, "writes") {
		b.Writes = append(b.Writes, drawWrite(rt))
	}
	return b
}

func drawWrite(rt *rapid.T) state.Write {
	w := state.Write{Key: drawKey(rt)}
	switch rapid.IntRange(0, 4).Draw(rt, "write") {
	case 0:
		w.Deleted = true
	case 1:
	default:
		w.Value = []byte(rapid.SampledFrom([]string{"", "1", "22"}).Draw(rt, "value"))
	}
	if rapid.Bool().Draw(rt, "wakes") {
		w.Wake = drawTime(rt)
	}
	for range rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(rt, "deltas") {
		w.Deltas = append(w.Deltas, state.Delta{
			Name:  drawKey(rt),
			Kind:  state.DeltaKind(rapid.IntRange(1, 4).Draw(rt, "kind")),
			Value: []byte(drawKey(rt)),
			Keep:  rapid.IntRange(-1, 3).Draw(rt, "keep"),
		})
	}
	return w
}
