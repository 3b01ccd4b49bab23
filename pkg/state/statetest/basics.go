package statetest

import (
	"context"
	"errors"
	"testing"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/state"
)

func testEmpty(t *testing.T, f Fixture) {
	v := read(t, f.Store, state.Query{
		Metas:   []string{stage},
		Rows:    []state.Row{{Stage: stage, Key: "a"}},
		Members: []state.Member{{Stage: stage, Set: "s", Value: "a"}},
		Lists:   []state.List{{Stage: stage, Name: "l", Newest: 5}},
	})
	same(t, "view", v, state.View{
		Metas: map[string]state.Meta{stage: {}}, Rows: [][]byte{nil}, Sequences: []uint64{0}, Members: []bool{false}, Lists: [][][]byte{nil},
	})
	same(t, "empty query", read(t, f.Store, state.Query{}), state.View{})
	same(t, "due", due(t, f.Store, at(1), 10), []state.Due(nil))
	same(t, "keys", keys(t, f.Store, "", 10), []string(nil))
	if err := f.Store.Unschedule(t.Context(), shard, state.Due{Key: "a", At: at(1)}); err != nil {
		t.Errorf("Unschedule = %v", err)
	}
	if err := f.Store.Reset(t.Context(), shard); err != nil {
		t.Errorf("Reset = %v", err)
	}
}

func testReadBack(t *testing.T, f Fixture) {
	apply(t, f.Store, 0, 5, row("b", "2"), row("a", "1"), state.Write{Key: "a", Deltas: []state.Delta{
		{Name: "l", Kind: state.DeltaAppend, Value: []byte("x")},
		{Name: "l", Kind: state.DeltaAppend, Value: []byte("y")},
		{Name: "s", Kind: state.DeltaAdd, Value: []byte("m")},
	}})
	other := state.Shard{Stage: "other", Partition: shard.Partition}
	if err := f.Store.Apply(t.Context(), other, batch(0, 7, row("a", "theirs"))); err != nil {
		t.Fatal(err)
	}
	v := read(t, f.Store, state.Query{
		Metas: []string{"other", stage, "none"},
		Rows: []state.Row{
			{Stage: stage, Key: "a"},
			{Stage: "none", Key: "a"},
			{Stage: stage, Key: "gone"},
			{Stage: "other", Key: "a"},
			{Stage: stage, Key: "b"},
			{Stage: stage, Key: "a"},
		},
		Members: []state.Member{{Stage: stage, Set: "s", Value: "n"}, {Stage: stage, Set: "s", Value: "m"}, {Stage: "other", Set: "s", Value: "m"}},
		Lists:   []state.List{{Stage: stage, Name: "l", Newest: 1}, {Stage: stage, Name: "l", Newest: 9}, {Stage: stage, Name: "l", Newest: 0}},
	})
	same(t, "view", v, state.View{
		Metas:   map[string]state.Meta{"other": batch(0, 7).Meta, stage: batch(0, 5).Meta, "none": {}},
		Rows:    [][]byte{[]byte("1"), nil, nil, []byte("theirs"), []byte("2"), []byte("1")},
		Members: []bool{false, true, false},

		Sequences: []uint64{5, 0, 0, 7, 5, 5},
		Lists:     [][][]byte{{[]byte("y")}, {[]byte("x"), []byte("y")}, nil},
	})
}

func testMeta(t *testing.T, f Fixture) {
	first := batch(0, 1)
	first.Meta.Origins = map[string]uint64{"evt.live": 9, "evt.bulk": 1<<64 - 1}
	first.Meta.Senders = map[string]state.Position{"prf.1": {Sequence: 1<<64 - 1, Index: 1<<32 - 1}, "act.2": {Sequence: 5}}
	second := batch(1, 2)
	second.Meta.Applied = 1 << 60
	second.Meta.Origins = map[string]uint64{"evt.live": 10}
	second.Meta.Senders = map[string]state.Position{"act.2": {Sequence: 6, Index: 2}}
	for _, b := range []state.Batch{first, second} {
		if err := f.Store.Apply(t.Context(), shard, b); err != nil {
			t.Fatal(err)
		}
	}
	want := second.Meta
	want.Senders = map[string]state.Position{"prf.1": {Sequence: 1<<64 - 1, Index: 1<<32 - 1}, "act.2": {Sequence: 6, Index: 2}}
	same(t, "meta", meta(t, f.Store), want)

	third := state.Batch{Prev: 1 << 60, Meta: state.Meta{Applied: 1<<60 + 1}}
	if err := f.Store.Apply(t.Context(), shard, third); err != nil {
		t.Fatal(err)
	}
	same(t, "meta with the zero time and no origins", meta(t, f.Store), state.Meta{Applied: 1<<60 + 1, Senders: want.Senders})
}

func testFencing(t *testing.T, f Fixture) {
	apply(t, f.Store, 0, 4, row("a", "1"))
	apply(t, f.Store, 4, 8, row("a", "2"))
	for _, late := range []state.Batch{batch(4, 6, row("a", "late")), batch(0, 4, row("a", "late")), batch(9, 12, row("a", "early"))} {
		err := f.Store.Apply(t.Context(), shard, late)
		fenced, ok := errors.AsType[*state.FencedError](err)
		if !ok || fenced.Applied != 8 {
			t.Errorf("Apply(%d after %d) = %v, want fenced at 8", late.Meta.Applied, late.Prev, err)
		}
	}
	same(t, "meta", meta(t, f.Store), batch(4, 8).Meta)
	same(t, "row", value(t, f.Store, "a"), "2")
}

func testOnce(t *testing.T, f Fixture) {
	b := []state.Write{row("a", "1"), {Key: "a", Deltas: []state.Delta{{Name: "l", Kind: state.DeltaAppend, Value: []byte("x")}}}}
	apply(t, f.Store, 0, 3, b...)
	apply(t, f.Store, 0, 3, b...)
	same(t, "list", list(t, f.Store, "l"), []string{"x"})
	same(t, "meta", meta(t, f.Store), batch(0, 3).Meta)
}

func testForward(t *testing.T, f Fixture) {
	apply(t, f.Store, 0, 3)
	for _, b := range []state.Batch{batch(3, 2), batch(3, 3), batch(0, 0)} {
		if err := f.Store.Apply(t.Context(), shard, b); fault.Of(err) != fault.Invalid {
			t.Errorf("Apply(%d after %d) = %v, want that it is invalid", b.Meta.Applied, b.Prev, err)
		}
	}
}

func testLastValue(t *testing.T, f Fixture) {
	appendTo := func(v string) []state.Delta {
		return []state.Delta{{Name: "l", Kind: state.DeltaAppend, Value: []byte(v)}}
	}
	apply(t, f.Store, 0, 1,
		state.Write{Key: "a", Value: []byte("1"), Wake: at(5), Deltas: appendTo("x")},
		state.Write{Key: "a", Deltas: appendTo("y")},
		state.Write{Key: "a", Value: []byte("2"), Wake: at(6), Deltas: appendTo("z")},
		state.Write{Key: "b", Value: []byte("1"), Wake: at(7)},
		state.Write{Key: "b", Deleted: true, Value: []byte("no"), Wake: at(8)},
		state.Write{Key: "c", Deleted: true},
		state.Write{Key: "c", Value: []byte{}},
	)
	same(t, "a", value(t, f.Store, "a"), "2")
	same(t, "b", value(t, f.Store, "b"), "-")
	same(t, "c", value(t, f.Store, "c"), "")
	same(t, "list", list(t, f.Store, "l"), []string{"x", "y", "z"})
	same(t, "due", due(t, f.Store, at(100), 10), []state.Due{{Key: "a", At: at(6)}})
	same(t, "keys", keys(t, f.Store, "", 10), []string{"a", "c"})
}

func testDeltas(t *testing.T, f Fixture) {
	delta := func(name string, kind state.DeltaKind, v string, keep int) state.Write {
		return state.Write{Key: "a", Deltas: []state.Delta{{Name: name, Kind: kind, Value: []byte(v), Keep: keep}}}
	}
	apply(t, f.Store, 0, 1,
		delta("l", state.DeltaAppend, "1", 0), delta("l", state.DeltaAppend, "2", 0), delta("l", state.DeltaAppend, "3", 0),
		delta("l", state.DeltaTrim, "", 2), delta("l", state.DeltaTrim, "", 5),
		delta("l", state.DeltaAdd, "1", 0), delta("l", state.DeltaAdd, "1", 0), delta("l", state.DeltaAdd, "2", 0),
		delta("nothing", state.DeltaTrim, "", 1), delta("nothing", state.DeltaDrop, "", 0),
		delta("emptied", state.DeltaAppend, "1", 0), delta("emptied", state.DeltaTrim, "", 0),
		state.Write{Key: "a", Deltas: []state.Delta{{Name: "void", Kind: state.DeltaAppend}, {Name: "void", Kind: state.DeltaAdd}}})
	same(t, "list", list(t, f.Store, "l"), []string{"2", "3"})
	same(t, "emptied", list(t, f.Store, "emptied"), []string(nil))
	same(t, "void", list(t, f.Store, "void"), []string{""})
	same(t, "members", []bool{has(t, f.Store, "l", "1"), has(t, f.Store, "l", "3"), has(t, f.Store, "void", "")}, []bool{true, false, true})
	same(t, "no rows", keys(t, f.Store, "", 10), []string(nil))

	apply(t, f.Store, 1, 2, delta("l", state.DeltaDrop, "", 0), delta("l", state.DeltaAppend, "4", 0))
	same(t, "list after the drop", list(t, f.Store, "l"), []string{"4"})
	same(t, "member after the drop", has(t, f.Store, "l", "1"), false)
}

func testContext(t *testing.T, f Fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Store.Read(ctx, 0, state.Query{Metas: []string{stage}}); err == nil {
		t.Error("Read = nil, want an error")
	}
	if err := f.Store.Apply(ctx, shard, batch(0, 1)); err == nil {
		t.Error("Apply = nil, want an error")
	}
}

func testApart(t *testing.T, f Fixture) {
	apply(t, f.Store, 0, 1, state.Write{Key: "a", Value: []byte("1"), Wake: at(1)})
	for _, other := range []state.Shard{{Stage: stage, Partition: 4}, {Stage: "other", Partition: 3}} {
		v, err := f.Store.Read(t.Context(), other.Partition, state.Query{
			Metas: []string{other.Stage}, Rows: []state.Row{{Stage: other.Stage, Key: "a"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		same(t, "view", v, state.View{Metas: map[string]state.Meta{other.Stage: {}}, Rows: [][]byte{nil}, Sequences: []uint64{0}})
		entries, err := f.Store.Due(t.Context(), other, at(9), 9)
		if err != nil || len(entries) > 0 {
			t.Errorf("Due(%v) = %v, %v, want none", other, entries, err)
		}
	}
}
