package statetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"refrain.dev/pkg/state"
)

// damagedRecord writes everything that a damage may be in.
func damagedRecord(prev, applied uint64) state.Batch {
	b := batch(prev, applied, state.Write{Key: "a", Value: []byte("v"), Wake: at(5), Deltas: []state.Delta{
		{Name: "l", Kind: state.DeltaAppend, Value: []byte("line")}, {Name: "l", Kind: state.DeltaTrim, Keep: 3},
		{Name: "u", Kind: state.DeltaAdd, Value: []byte("m")}, {Name: fmt.Sprint("of ", applied), Kind: state.DeltaAppend, Value: []byte("x")},
	}})
	for n := range 100 { // more than one call takes
		b.Writes = append(b.Writes, state.Write{Key: fmt.Sprintf("k%03d", n), Value: []byte("v")})
	}
	return b
}

// testDamage says that no damage makes a store try for ever: what meets it says so, and a reset ends it.
func testDamage(t *testing.T, f Fixture) {
	if f.Damage == nil {
		return // nothing but the store can write to it
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	q := state.Query{
		Metas: []string{stage}, Rows: []state.Row{{Stage: stage, Key: "a"}, {Stage: "other", Key: "a"}},
		Members: []state.Member{{Stage: stage, Set: "u", Value: "m"}}, Lists: []state.List{{Stage: stage, Name: "l", Newest: 9}},
	}
	for what := range damages {
		if err := f.Store.Reset(ctx, shard); err != nil {
			t.Fatalf("damage %d: Reset before it = %v", what, err)
		}
		other := state.Shard{Stage: "other", Partition: shard.Partition}
		if err := errors.Join(f.Store.Reset(ctx, other), f.Store.Apply(ctx, other, batch(0, 1, row("a", "apart"))), f.Store.Apply(ctx, shard, damagedRecord(0, 2))); err != nil {
			t.Fatalf("damage %d: Apply before it = %v", what, err)
		}
		f.Damage(what)
		view, err := f.Store.Read(ctx, shard.Partition, q)
		if err != nil {
			t.Errorf("damage %d: Read = %v, want a meta that says it", what, err)
			continue
		}
		if string(view.Rows[1]) != "apart" {
			t.Errorf("damage %d: another stage's row = %q", what, view.Rows[1])
		}
		met := view.Metas[stage].Damaged
		if met && !view.Metas[stage].Unfinished {
			t.Errorf("damage %d: a shard that is damaged is not unfinished", what)
		}
		for _, err := range []error{second(f.Store.Due(ctx, shard, at(99), 9)), second(f.Store.Keys(ctx, shard, "", 9)), f.Store.Apply(ctx, shard, damagedRecord(2, 4))} {
			met = met || errors.Is(err, state.ErrDamaged)
			if _, fenced := errors.AsType[*state.FencedError](err); err != nil && !fenced && !errors.Is(err, state.ErrDamaged) {
				t.Errorf("damage %d: %v, want that it is damaged", what, err)
			}
		}
		if !met && what != DamageNameless {
			t.Errorf("damage %d: neither a read nor a write says it", what)
		}
		if err := f.Store.Reset(ctx, shard); err != nil {
			t.Errorf("damage %d: Reset = %v", what, err)
			continue
		}
		same(t, "meta after a reset", meta(t, f.Store), state.Meta{})
		same(t, "rows after a reset", keys(t, f.Store, "", 9), []string(nil))
		same(t, "a row after a reset", value(t, f.Store, "k099"), "-")
		apply(t, f.Store, 0, 2, damagedRecord(0, 2).Writes...)
		same(t, "list after a reset", list(t, f.Store, "l"), []string{"line"})
		same(t, "row after a reset", value(t, f.Store, "a"), "v")
	}
}

func second[T any](_ T, err error) error { return err }

// testNotBetween says that a row which a record writes twice is as before the record or as after it.
func testNotBetween(t *testing.T, f Fixture) {
	if f.Cut == nil {
		return
	}
	apply(t, f.Store, 0, 2, row("twice", "before"), row("gone", "before"))
	b := large(2, 4, 100)
	b.Writes = append([]state.Write{row("twice", "between"), row("gone", "between")}, append(b.Writes, row("twice", "after"), state.Write{Key: "gone", Deleted: true})...)
	f.Cut(1, LoseRequest)
	if err := f.Store.Apply(t.Context(), shard, b); err == nil {
		t.Fatal("Apply = nil, want an error")
	}
	for _, key := range []string{"twice", "gone"} {
		same(t, "a row of which only the first write is done", value(t, f.Store, key), "before")
	}
	if err := f.Store.Apply(t.Context(), shard, b); err != nil {
		t.Fatal(err)
	}
	same(t, "the row in the end", value(t, f.Store, "twice"), "after")
	same(t, "the removed row in the end", value(t, f.Store, "gone"), "-")
}

// testReadable says which rows of a shard that is written in part may be used.
func testReadable(t *testing.T, f Fixture) {
	if f.Cut == nil {
		return
	}
	b := large(2, 4, 100)
	q := state.Query{Metas: []string{stage}, Rows: []state.Row{
		{Stage: stage, Key: "apart"}, {Stage: stage, Key: "row-00000"}, {Stage: stage, Key: "row-00099"}, {Stage: stage, Key: "never"},
	}}
	check := func(when string, want map[bool][][]int) {
		t.Helper()
		v := read(t, f.Store, q)
		for readable, sets := range want {
			for _, rows := range sets {
				if got := v.Readable(stage, rows...); got != readable {
					t.Errorf("%s: rows %v readable = %v", when, rows, got)
				}
			}
		}
	}
	check("never written", map[bool][][]int{false: {{}, {0}, {3}}})
	apply(t, f.Store, 0, 2, row("apart", "x"), row("row-00099", "old"))
	check("whole", map[bool][][]int{true: {{}, {0}, {1}, {0, 1, 2, 3}}})
	f.Cut(1, LoseRequest)
	if err := f.Store.Apply(t.Context(), shard, b); err == nil {
		t.Fatal("Apply = nil, want an error")
	}
	same(t, "the record that is there in part", meta(t, f.Store).Target, uint64(4))
	check("in part", map[bool][][]int{true: {{}, {0}, {1}, {2}, {3}, {0, 2}}, false: {{0, 1}, {1, 2}, {0, 3}}})
	if err := f.Store.Apply(t.Context(), shard, b); err != nil {
		t.Fatal(err)
	}
	check("whole again", map[bool][][]int{true: {{0, 1, 2, 3}}})
	if _, err := f.Store.Restore(t.Context(), shard, state.Piece{Image: "one", Over: 4, Writes: image()[:10]}); err != nil {
		t.Fatal(err)
	}
	check("being restored", map[bool][][]int{false: {{}, {0}, {1}, {3}}})
}
