package statetest

import (
	"fmt"
	"testing"
	"time"

	"refrain.dev/pkg/state"
)

func wake(key string, t time.Time) state.Write {
	return state.Write{Key: key, Value: []byte("v"), Wake: t}
}

func testTimers(t *testing.T, f Fixture) {
	apply(t, f.Store, 0, 1, wake("d", at(9)), wake("b", at(5)), wake("c", at(5)), wake("a", at(7)), wake("none", time.Time{}))
	all := []state.Due{{Key: "b", At: at(5)}, {Key: "c", At: at(5)}, {Key: "a", At: at(7)}, {Key: "d", At: at(9)}}
	same(t, "all", due(t, f.Store, at(100), 10), all)
	same(t, "limited", due(t, f.Store, at(100), 3), all[:3])
	same(t, "until", due(t, f.Store, at(7), 10), all[:3])
	same(t, "before the first", due(t, f.Store, at(4), 10), []state.Due(nil))
	same(t, "none wanted", due(t, f.Store, at(100), 0), []state.Due(nil))

	apply(t, f.Store, 1, 2,
		wake("b", at(8)),                                 // later
		wake("c", time.Time{}),                           // no longer
		state.Write{Key: "a", Deleted: true},             // gone
		state.Write{Key: "d", Wake: at(1)},               // not a new state: not looked at
		state.Write{Key: "none", Value: []byte("still")}, // none as before
		wake("before 1970", time.Unix(-5, 0).UTC()),
	)
	same(t, "after changes", due(t, f.Store, at(100), 10),
		[]state.Due{{Key: "before 1970", At: time.Unix(-5, 0).UTC()}, {Key: "b", At: at(8)}, {Key: "d", At: at(9)}})
}

func testTimersRound(t *testing.T, f Fixture) {
	fine := at(5).Add(1500 * time.Nanosecond)
	late := time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)
	apply(t, f.Store, 0, 1, wake("fine", fine), wake("late", late))
	same(t, "just before", due(t, f.Store, fine.Add(-1), 10), []state.Due(nil))
	same(t, "at the next microsecond", due(t, f.Store, at(5).Add(2*time.Microsecond+1), 10), []state.Due{{Key: "fine", At: at(5).Add(2 * time.Microsecond)}})
	entries := due(t, f.Store, late, 10)
	if len(entries) != 2 || entries[1].Key != "late" || entries[1].At.Year() < 2255 {
		t.Errorf("Due(%v) = %v, want both", late, entries)
	}
	for _, e := range []state.Due{{Key: "fine", At: fine}, entries[1]} {
		if err := f.Store.Unschedule(t.Context(), shard, e); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "unscheduled", due(t, f.Store, late, 10), []state.Due(nil))
}

func testUnschedule(t *testing.T, f Fixture) {
	apply(t, f.Store, 0, 1, wake("a", at(5)), wake("b", at(5)))
	for _, e := range []state.Due{{Key: "a", At: at(4)}, {Key: "gone", At: at(5)}, {Key: "b", At: at(5)}} {
		if err := f.Store.Unschedule(t.Context(), shard, e); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "due", due(t, f.Store, at(100), 10), []state.Due{{Key: "a", At: at(5)}})
	same(t, "the row stays", value(t, f.Store, "b"), "v")
	apply(t, f.Store, 1, 2, wake("b", at(5)))
	same(t, "due again", due(t, f.Store, at(100), 10), []state.Due{{Key: "a", At: at(5)}, {Key: "b", At: at(5)}})
}

func testKeys(t *testing.T, f Fixture) {
	const n = 1500
	b := batch(0, 1)
	var want []string
	for i := range n {
		// 7919 is prime to n: every number comes once, in disorder.
		b.Writes = append(b.Writes, row(fmt.Sprintf("row-%05d", i*7919%n), "v"))
		want = append(want, fmt.Sprintf("row-%05d", i))
	}
	if err := f.Store.Apply(t.Context(), shard, b); err != nil {
		t.Fatal(err)
	}
	var got []string
	for after := ""; ; after = got[len(got)-1] {
		page := keys(t, f.Store, after, 70)
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
	}
	same(t, "all pages", got, want)
	same(t, "after a key that is not there", keys(t, f.Store, "row-00001x", 2), []string{"row-00002", "row-00003"})
	same(t, "none wanted", keys(t, f.Store, "", 0), []string(nil))
	apply(t, f.Store, 1, 2, state.Write{Key: "row-00001", Deleted: true}, state.Write{Key: "row-00002", Deleted: true})
	same(t, "after deletions", keys(t, f.Store, "", 2), []string{"row-00000", "row-00003"})
}

func testBytes(t *testing.T, f Fixture) {
	odd := []string{"a:b", "{x}", "with space", "\x00\xff", "ü", "-", "+", "(a", "[a", "*"}
	b := batch(0, 1)
	for _, s := range odd {
		b.Writes = append(b.Writes, state.Write{Key: s, Value: []byte(s), Wake: at(1), Deltas: []state.Delta{
			{Name: s, Kind: state.DeltaAppend, Value: []byte(s)}, {Name: s, Kind: state.DeltaAdd, Value: []byte(s)},
		}})
	}
	if err := f.Store.Apply(t.Context(), shard, b); err != nil {
		t.Fatal(err)
	}
	for _, s := range odd {
		same(t, "row", value(t, f.Store, s), s)
		same(t, "list", list(t, f.Store, s), []string{s})
		same(t, "member", has(t, f.Store, s, s), true)
	}
	same(t, "keys", keys(t, f.Store, "", 100), []string{"\x00\xff", "(a", "*", "+", "-", "[a", "a:b", "with space", "{x}", "ü"})
	same(t, "timers", len(due(t, f.Store, at(1), 100)), len(odd))
}

func testCopies(t *testing.T, f Fixture) {
	v, line := []byte("row"), []byte("line")
	apply(t, f.Store, 0, 1, state.Write{Key: "a", Value: v, Deltas: []state.Delta{{Name: "l", Kind: state.DeltaAppend, Value: line}}})
	v[0], line[0] = 'X', 'X'
	q := state.Query{
		Metas: []string{stage}, Rows: []state.Row{{Stage: stage, Key: "a"}},
		Lists: []state.List{{Stage: stage, Name: "l", Newest: 1}},
	}
	for range 2 {
		got := read(t, f.Store, q)
		same(t, "view", got, state.View{
			Metas: map[string]state.Meta{stage: batch(0, 1).Meta},
			Rows:  [][]byte{[]byte("row")}, Sequences: []uint64{1}, Lists: [][][]byte{{[]byte("line")}},
		})
		got.Rows[0][0], got.Lists[0][0][0] = 'X', 'X'
		got.Metas[stage].Origins["evt.live"] = 99
	}
}

func testReset(t *testing.T, f Fixture) {
	b := large(0, 5, 700)
	for i := range b.Writes {
		b.Writes[i].Deltas[0].Name = fmt.Sprint("l", i)
		b.Writes[i].Deltas = append(b.Writes[i].Deltas, state.Delta{Name: fmt.Sprint("s", i), Kind: state.DeltaAdd, Value: []byte("m")})
	}
	other := state.Shard{Stage: "other", Partition: shard.Partition}
	for _, s := range []state.Shard{shard, other} {
		if err := f.Store.Apply(t.Context(), s, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Store.Reset(t.Context(), shard); err != nil {
		t.Fatal(err)
	}
	v := read(t, f.Store, state.Query{Metas: []string{stage, "other"}, Rows: []state.Row{{Stage: stage, Key: "row-00699"}, {Stage: "other", Key: "row-00699"}}})
	same(t, "view", v, state.View{Metas: map[string]state.Meta{stage: {}, "other": b.Meta}, Rows: [][]byte{nil, []byte("5")}, Sequences: []uint64{0, 5}})
	same(t, "keys", keys(t, f.Store, "", 1), []string(nil))
	same(t, "due", due(t, f.Store, at(10000), 1), []state.Due(nil))
	same(t, "list", list(t, f.Store, "l699"), []string(nil))
	same(t, "member", has(t, f.Store, "s699", "m"), false)
	apply(t, f.Store, 0, 5, row("a", "again"))
	same(t, "row", value(t, f.Store, "a"), "again")
}

func testResetCut(t *testing.T, f Fixture) {
	if f.Cut == nil {
		return
	}
	b := large(0, 5, 700)
	for steps := range 3 {
		if err := f.Store.Apply(t.Context(), shard, b); err != nil {
			t.Fatal(err)
		}
		f.Cut(steps, LoseRequest)
		if err := f.Store.Reset(t.Context(), shard); err == nil {
			t.Fatal("Reset = nil, want an error")
		}
		same(t, "meta", meta(t, f.Store), state.Meta{Unfinished: true})
		// Whoever applies from the start completes the reset first: no line of before is left.
		if err := f.Store.Apply(t.Context(), shard, b); err != nil {
			t.Fatal(err)
		}
		isWhole(t, f.Store, b)
		if err := f.Store.Reset(t.Context(), shard); err != nil {
			t.Fatal(err)
		}
	}
}
