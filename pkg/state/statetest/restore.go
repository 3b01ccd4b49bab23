package statetest

import (
	"errors"
	"fmt"
	"testing"

	"refrain.dev/pkg/state"
)

// image is what a restore brings in, as writes.
func image() []state.Write {
	writes := []state.Write{
		{Key: "a", Value: []byte("one"), Sequence: 3, Wake: at(50)},
		{Key: "b", Value: []byte{}, Sequence: 9},
		{Deltas: []state.Delta{
			{Name: "l", Kind: state.DeltaAppend, Value: []byte("x")}, {Name: "l", Kind: state.DeltaAppend, Value: []byte("y")},
		}},
		{Deltas: []state.Delta{{Name: "u", Kind: state.DeltaAdd, Value: []byte("m")}}},
	}
	for n := range 200 { // more than one call takes
		writes = append(writes, state.Write{Key: fmt.Sprintf("k%03d", n), Value: []byte("v"), Sequence: 5})
	}
	return writes
}

func imageMeta() *state.Meta {
	return &state.Meta{
		Generation: 1, Applied: 9, Now: at(9), Revision: "r9", Origins: map[string]uint64{"live": 4},
		Senders: map[string]state.Position{"prf.1": {Sequence: 2, Index: 1}},
	}
}

// filled puts something into the shard that an image has to replace.
func filled(t *testing.T, s state.Store) {
	t.Helper()
	b := batch(0, 4, row("old", "o"), state.Write{Key: "a", Value: []byte("other"), Wake: at(1)}, state.Write{Deltas: []state.Delta{
		{Name: "l", Kind: state.DeltaAppend, Value: []byte("stale")}, {Name: "gone", Kind: state.DeltaAdd, Value: []byte("stale")},
	}})
	b.Meta.Senders = map[string]state.Position{"stale": {Sequence: 1}}
	if err := s.Apply(t.Context(), shard, b); err != nil {
		t.Fatal(err)
	}
}

// restore brings pieces of at most size writes in until all are there.
func restore(t *testing.T, s state.Store, name string, size int) {
	t.Helper()
	over := meta(t, s).Applied
	all := image()
	for from := 0; ; {
		p := state.Piece{Image: name, Over: over, From: from, Writes: all[from:min(from+size, len(all))]}
		last := from+len(p.Writes) == len(all)
		if last {
			p.Meta = imageMeta()
		}
		done, err := s.Restore(t.Context(), shard, p)
		if err != nil {
			t.Fatalf("Restore from %d = %v", from, err)
		}
		if last && done == len(all) {
			return
		}
		from = done
	}
}

// checkImage says that the shard is the image and nothing else.
func checkImage(t *testing.T, s state.Store) {
	t.Helper()
	same(t, "meta", meta(t, s), *imageMeta())
	same(t, "rows", keys(t, s, "", 1000)[:3], []string{"a", "b", "k000"})
	same(t, "number of rows", len(keys(t, s, "", 1000)), 202)
	v := read(t, s, state.Query{Rows: []state.Row{{Stage: stage, Key: "a"}, {Stage: stage, Key: "b"}, {Stage: stage, Key: "old"}}})
	same(t, "values", texts(v.Rows[:2]), []string{"one", ""})
	same(t, "sequences", v.Sequences, []uint64{3, 9, 0})
	same(t, "no old row", v.Rows[2] == nil, true)
	same(t, "list", list(t, s, "l"), []string{"x", "y"})
	same(t, "member", has(t, s, "u", "m"), true)
	same(t, "stale member", has(t, s, "gone", "stale"), false)
	same(t, "timers", due(t, s, at(1000), 10), []state.Due{{Key: "a", At: at(50)}})
}

func testRestore(t *testing.T, f Fixture) {
	filled(t, f.Store)
	other := state.Shard{Stage: "other", Partition: shard.Partition}
	b := batch(0, 1, row("a", "apart"))
	if err := f.Store.Apply(t.Context(), other, b); err != nil {
		t.Fatal(err)
	}
	restore(t, f.Store, "one", 50)
	checkImage(t, f.Store)
	apply(t, f.Store, 9, 12, row("a", "two"))
	v := read(t, f.Store, state.Query{Rows: []state.Row{{Stage: stage, Key: "a"}, {Stage: "other", Key: "a"}}})
	same(t, "sequences after the next record", v.Sequences, []uint64{12, 1})
	same(t, "rows after the next record", texts(v.Rows), []string{"two", "apart"})
	restore(t, f.Store, "one", 1000) // the same image once more
	checkImage(t, f.Store)
}

func testRestoreIsUnfinished(t *testing.T, f Fixture) {
	filled(t, f.Store)
	all := image()
	for _, from := range []int{0, 10} {
		p := state.Piece{Image: "one", Over: 4, From: from, Writes: all[from : from+10]}
		if done, err := f.Store.Restore(t.Context(), shard, p); err != nil || done != from+10 {
			t.Fatalf("Restore = %d, %v", done, err)
		}
		if m := meta(t, f.Store); m.Applied != 0 || !m.Unfinished {
			t.Fatalf("while an image is restored the shard is at %d, unfinished: %t", m.Applied, m.Unfinished)
		}
	}
	for _, prev := range []uint64{0, 4, 9} {
		err := f.Store.Apply(t.Context(), shard, batch(prev, 12, row("a", "mixed")))
		if fenced, ok := errors.AsType[*state.FencedError](err); !ok || fenced.Applied != 0 {
			t.Errorf("Apply after %d while an image is restored = %v", prev, err)
		}
	}
	same(t, "row", value(t, f.Store, "a"), "one")
	restore(t, f.Store, "one", 64)
	checkImage(t, f.Store)
}

func testRestoreIsResumed(t *testing.T, f Fixture) {
	all := image()
	first := state.Piece{Image: "one", Writes: all[:30]}
	for range 2 { // the answer to the first was lost
		if done, err := f.Store.Restore(t.Context(), shard, first); err != nil || done != 30 {
			t.Fatalf("Restore = %d, %v", done, err)
		}
	}
	shorter := state.Piece{Image: "one", Writes: all[:5]} // somebody who begins again is told where it is
	if done, err := f.Store.Restore(t.Context(), shard, shorter); err != nil || done != 30 {
		t.Fatalf("Restore from the beginning = %d, %v", done, err)
	}
	ahead := state.Piece{Image: "one", From: 60, Writes: all[60:70]}
	if done, err := f.Store.Restore(t.Context(), shard, ahead); err != nil || done != 30 {
		t.Fatalf("Restore of a piece too early = %d, %v", done, err)
	}
	restore(t, f.Store, "one", 25)
	checkImage(t, f.Store)
	late := state.Piece{Image: "one", From: 30, Writes: all[30:40]}
	_, err := f.Store.Restore(t.Context(), shard, late)
	if fenced, ok := errors.AsType[*state.FencedError](err); !ok || fenced.Applied != 9 {
		t.Errorf("a late piece = %v", err)
	}
	late = state.Piece{Image: "one", Over: 4, Writes: all[:30]}
	_, err = f.Store.Restore(t.Context(), shard, late)
	if fenced, ok := errors.AsType[*state.FencedError](err); !ok || fenced.Applied != 9 {
		t.Errorf("a late first piece = %v", err)
	}
	checkImage(t, f.Store)
}

func testRestoreOfAnother(t *testing.T, f Fixture) {
	all := image()
	if _, err := f.Store.Restore(t.Context(), shard, state.Piece{Image: "damaged", Writes: []state.Write{row("wrong", "w")}}); err != nil {
		t.Fatal(err)
	}
	restore(t, f.Store, "one", 64)
	checkImage(t, f.Store)
	if err := f.Store.Reset(t.Context(), shard); err != nil {
		t.Fatal(err)
	}
	if done, err := f.Store.Restore(t.Context(), shard, state.Piece{Image: "one", From: 30, Writes: all[30:40]}); err != nil || done != 0 {
		t.Errorf("a piece from the middle into an empty shard = %d, %v", done, err)
	}
	if _, err := f.Store.Restore(t.Context(), shard, state.Piece{Image: "one", Writes: all[:30]}); err != nil {
		t.Fatal(err)
	}
	if err := f.Store.Reset(t.Context(), shard); err != nil {
		t.Fatal(err)
	}
	same(t, "meta after a reset", meta(t, f.Store), state.Meta{})
	apply(t, f.Store, 0, 2, row("a", "1"))
	same(t, "row after a reset", value(t, f.Store, "a"), "1")
}

func testRestoreCut(t *testing.T, f Fixture) {
	if f.Cut == nil {
		return
	}
	for parts := range 6 {
		for _, how := range []Loss{LoseRequest, LoseAnswer} {
			if err := f.Store.Reset(t.Context(), shard); err != nil {
				t.Fatal(err)
			}
			filled(t, f.Store)
			all := image()
			f.Cut(parts, how)
			_, err := f.Store.Restore(t.Context(), shard, state.Piece{Image: "one", Over: 4, Writes: all, Meta: imageMeta()})
			f.Cut(-1, how)
			if m := meta(t, f.Store); err != nil && m.Applied == 9 && how == LoseRequest {
				t.Fatalf("the meta is there after a part was lost: %v", err)
			}
			restore(t, f.Store, "one", 70)
			checkImage(t, f.Store)
		}
	}
}
