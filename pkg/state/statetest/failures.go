package statetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"refrain.dev/pkg/state"
)

// large is a record of n writes, each to a row of its own with a wake-up and a line in one list.
func large(prev, applied uint64, n int) state.Batch {
	b := batch(prev, applied)
	for i := range n {
		b.Writes = append(b.Writes, state.Write{
			Key: fmt.Sprintf("row-%05d", i), Value: []byte(strconv.FormatUint(applied, 10)), Wake: at(i),
			Deltas: []state.Delta{{Name: "l", Kind: state.DeltaAppend, Value: fmt.Appendf(nil, "%d/%d", applied, i)}},
		})
	}
	return b
}

// isWhole checks that the shard is exactly where a large record leads.
func isWhole(t *testing.T, s state.Store, b state.Batch) {
	t.Helper()
	same(t, "meta", meta(t, s), b.Meta)
	n := len(b.Writes)
	q := state.Query{Lists: []state.List{{Stage: stage, Name: "l", Newest: 2 * n}}}
	var names, lines []string
	var rows [][]byte
	for i := range b.Writes {
		w := &b.Writes[i]
		q.Rows = append(q.Rows, state.Row{Stage: stage, Key: w.Key})
		rows = append(rows, w.Value)
		names = append(names, w.Key)
		lines = append(lines, string(w.Deltas[0].Value))
	}
	v := read(t, s, q)
	same(t, "rows", v.Rows, rows)
	same(t, "list", texts(v.Lists[0]), lines)
	same(t, "keys", keys(t, s, "", n+1), names)
	if got := len(due(t, s, at(n), n+1)); got != n {
		t.Errorf("%d timers, want %d", got, n)
	}
}

func testLarge(t *testing.T, f Fixture) {
	b := large(0, 9, 1000)
	if err := f.Store.Apply(t.Context(), shard, b); err != nil {
		t.Fatal(err)
	}
	isWhole(t, f.Store, b)

	heavy := batch(9, 10)
	for i := range 100 {
		heavy.Writes = append(heavy.Writes, state.Write{Key: fmt.Sprint("row-", i), Value: make([]byte, 60<<10)})
	}
	heavy.Writes = append(heavy.Writes, state.Write{Key: "whale", Value: make([]byte, 300<<10)})
	if err := f.Store.Apply(t.Context(), shard, heavy); err != nil {
		t.Fatal(err)
	}
	same(t, "size of the last row", len(value(t, f.Store, "whale")), 300<<10)
	same(t, "meta", meta(t, f.Store), heavy.Meta)
}

func testCut(t *testing.T, f Fixture) {
	if f.Cut == nil {
		return // it applies at once: there is nothing between
	}
	const parts = 5 // of 64 writes, the last with fewer
	for cut := range parts {
		for _, how := range []Loss{LoseRequest, LoseAnswer} {
			if err := f.Store.Reset(t.Context(), shard); err != nil {
				t.Fatal(err)
			}
			apply(t, f.Store, 0, 2)
			before := meta(t, f.Store)
			b := large(2, 4, 64*(parts-1)+7)
			f.Cut(cut, how)
			if err := f.Store.Apply(t.Context(), shard, b); err == nil {
				t.Fatalf("cut %d %d: Apply = nil, want an error", cut, how)
			}
			want, done := before, cut+int(how)
			switch {
			case done == parts:
				want = b.Meta
			case done > 0:
				want.Unfinished, want.Target = true, b.Meta.Applied
			}
			same(t, fmt.Sprintf("cut %d %d: meta", cut, how), meta(t, f.Store), want)
			if err := f.Store.Apply(t.Context(), shard, b); err != nil {
				t.Fatalf("cut %d %d: second Apply = %v", cut, how, err)
			}
			isWhole(t, f.Store, b)
		}
	}
}

func testNotMixed(t *testing.T, f Fixture) {
	if f.Cut == nil {
		return
	}
	apply(t, f.Store, 0, 2)
	b := large(2, 4, 100)
	f.Cut(1, LoseRequest)
	if err := f.Store.Apply(t.Context(), shard, b); err == nil {
		t.Fatal("Apply = nil, want an error")
	}
	for _, n := range []int{1, 100} {
		err := f.Store.Apply(t.Context(), shard, large(2, 5, n))
		if other, ok := errors.AsType[*state.OtherError](err); !ok || other.Target != 4 || other.Applied != 2 {
			t.Errorf("Apply of another record with %d writes after the same one = %v, want that record 4 is there in part", n, err)
		}
	}
	if fenced, ok := errors.AsType[*state.FencedError](f.Store.Apply(t.Context(), shard, batch(4, 5))); !ok || fenced.Applied != 2 {
		t.Errorf("Apply of the record after = %v, want fenced at 2", fenced)
	}
	if err := f.Store.Apply(t.Context(), shard, b); err != nil {
		t.Fatal(err)
	}
	isWhole(t, f.Store, b)
}

func testLostSuffix(t *testing.T, f Fixture) {
	record := func(n uint64) state.Batch {
		return batch(n-1, n, state.Write{
			Key: fmt.Sprint("row-", n%3), Value: fmt.Append(nil, n), Wake: at(int(n)),
			Deltas: []state.Delta{{Name: "l", Kind: state.DeltaAppend, Value: fmt.Append(nil, n)}, {Name: "l", Kind: state.DeltaTrim, Keep: 4}},
		})
	}
	var restore func()
	for n := uint64(1); n <= 8; n++ {
		if err := f.Store.Apply(t.Context(), shard, record(n)); err != nil {
			t.Fatal(err)
		}
		if n == 3 {
			restore = f.Save()
		}
	}
	restore()
	same(t, "meta", meta(t, f.Store), record(3).Meta)
	fenced, ok := errors.AsType[*state.FencedError](f.Store.Apply(t.Context(), shard, record(9)))
	if !ok || fenced.Applied != 3 {
		t.Fatalf("Apply(9) = %v, want fenced at 3", fenced)
	}
	for n := uint64(4); n <= 9; n++ {
		if err := f.Store.Apply(t.Context(), shard, record(n)); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "meta", meta(t, f.Store), record(9).Meta)
	same(t, "list", list(t, f.Store, "l"), []string{"6", "7", "8", "9"})
	same(t, "timers", due(t, f.Store, at(100), 10), []state.Due{{Key: "row-1", At: at(7)}, {Key: "row-2", At: at(8)}, {Key: "row-0", At: at(9)}})
}

func testLostAll(t *testing.T, f Fixture) {
	restore := f.Save()
	apply(t, f.Store, 0, 5, row("a", "1"))
	restore()
	same(t, "meta", meta(t, f.Store), state.Meta{})
	fenced, ok := errors.AsType[*state.FencedError](f.Store.Apply(t.Context(), shard, batch(5, 6)))
	if !ok || fenced.Applied != 0 {
		t.Errorf("Apply = %v, want fenced at 0", fenced)
	}
	apply(t, f.Store, 0, 5, row("a", "1"))
	same(t, "row", value(t, f.Store, "a"), "1")
}

func testConsistency(t *testing.T, f Fixture) {
	const rows, records = 200, 40
	q := state.Query{Metas: []string{stage}, Lists: []state.List{{Stage: stage, Name: "l", Newest: rows * records}}}
	for _, w := range large(0, 1, rows).Writes {
		q.Rows = append(q.Rows, state.Row{Stage: stage, Key: w.Key})
	}
	var writer sync.WaitGroup
	done := make(chan struct{})
	writer.Go(func() {
		defer close(done)
		for n := uint64(1); n <= records; n++ {
			if err := f.Store.Apply(t.Context(), shard, large(n-1, n, rows)); err != nil {
				t.Errorf("Apply(%d) = %v", n, err)
				return
			}
		}
	})
	defer writer.Wait()
	for last := false; !last; {
		select {
		case <-done:
			last = true
		default:
		}
		v := read(t, f.Store, q)
		m := v.Metas[stage]
		if m.Unfinished {
			continue
		}
		if got, want := len(v.Lists[0]), int(m.Applied)*rows; got != want {
			t.Fatalf("at record %d the list has %d lines, want %d", m.Applied, got, want)
		}
		for i, b := range v.Rows {
			if want := strconv.FormatUint(m.Applied, 10); m.Applied > 0 && string(b) != want {
				t.Fatalf("at record %d row %d is of record %q", m.Applied, i, b)
			}
		}
	}
}
