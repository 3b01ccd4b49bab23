package state

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// image is everything that a reader can see of the stages of a partition.
func image(tb testing.TB, m *Memory) string {
	tb.Helper()
	text := ""
	for _, stage := range []string{"a", "b"} {
		shard := Shard{Stage: stage, Partition: 3}
		keys, err := m.Keys(tb.Context(), shard, "", 100)
		if err != nil {
			tb.Fatal(err)
		}
		q := Query{Metas: []string{stage}}
		for _, k := range keys {
			q.Rows = append(q.Rows, Row{stage, k})
		}
		for _, n := range []string{"x", "y"} {
			q.Lists = append(q.Lists, List{stage, n, 100})
			for v := range 4 {
				q.Members = append(q.Members, Member{stage, n, string(rune('0' + v))})
			}
		}
		v, err := m.Read(tb.Context(), 3, q)
		if err != nil {
			tb.Fatal(err)
		}
		due, err := m.Due(tb.Context(), shard, time.Unix(1e9, 0), 100)
		if err != nil {
			tb.Fatal(err)
		}
		text += fmt.Sprintln(stage, keys, v.Metas[stage], fmt.Sprintf("%q %v %q", v.Rows, v.Members, v.Lists), due)
	}
	return text
}

func drawBatch(rt *rapid.T, prev uint64) Batch {
	b := Batch{Prev: prev, Meta: Meta{
		Applied: prev + 1, Origins: map[string]uint64{"live": prev},
		Senders: map[string]Position{rapid.SampledFrom([]string{"p", "q"}).Draw(rt, "sender"): {Sequence: prev}},
	}}
	for range rapid.IntRange(0, 4).Draw(rt, "writes") {
		w := Write{Key: rapid.SampledFrom([]string{"k", "l", "m"}).Draw(rt, "key"), Deleted: rapid.IntRange(0, 4).Draw(rt, "deleted") == 0}
		if rapid.Bool().Draw(rt, "value") {
			w.Value = fmt.Append(nil, prev)
			if rapid.Bool().Draw(rt, "wakes") {
				w.Wake = time.Unix(rapid.Int64Range(1, 5).Draw(rt, "wake"), 0)
			}
		}
		for range rapid.IntRange(0, 3).Draw(rt, "deltas") {
			w.Deltas = append(w.Deltas, Delta{
				Name: rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "name"), Kind: DeltaKind(rapid.IntRange(1, 4).Draw(rt, "kind")),
				Value: []byte{byte('0' + rapid.IntRange(0, 3).Draw(rt, "member"))}, Keep: rapid.IntRange(0, 3).Draw(rt, "keep"),
			})
		}
		b.Writes = append(b.Writes, w)
	}
	return b
}

// Whatever was written, undoing the last n writes leads back to what was there before them.
func TestUndoLeadsBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := NewMemory(WithUndo(100))
		images := []string{image(t, m)}
		applied := map[string]uint64{}
		for range rapid.IntRange(1, 12).Draw(rt, "operations") {
			shard := Shard{Stage: rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "stage"), Partition: 3}
			if applied[shard.Stage] > 0 && rapid.IntRange(0, 5).Draw(rt, "reset") == 0 {
				if err := m.Reset(t.Context(), shard); err != nil {
					rt.Fatal(err)
				}
				applied[shard.Stage] = 0
				images = append(images, image(t, m))
				continue
			}
			b := drawBatch(rt, applied[shard.Stage])
			if n := rapid.IntRange(0, len(b.Writes)).Draw(rt, "part"); n < len(b.Writes) {
				if err := m.ApplyPart(t.Context(), shard, b, n); err != nil {
					rt.Fatal(err)
				}
				images = append(images, image(t, m))
			}
			if err := m.Apply(t.Context(), shard, b); err != nil {
				rt.Fatal(err)
			}
			applied[shard.Stage] = b.Meta.Applied
			images = append(images, image(t, m))
		}
		n := rapid.IntRange(0, len(images)).Draw(rt, "lost")
		want := min(n, len(images)-1)
		if got := m.Undo(3, n); got != want {
			rt.Fatalf("undid %d, want %d", got, want)
		}
		if diff := cmp.Diff(images[len(images)-1-want], image(t, m)); diff != "" {
			rt.Fatal(diff)
		}
	})
}

// A part of a batch is seen as unfinished, is continued where it stopped, and is not mixed with another batch.
func TestApplyPart(t *testing.T) {
	m := NewMemory()
	shard := Shard{Stage: "a", Partition: 3}
	b := Batch{Meta: Meta{Applied: 4}}
	for range 3 {
		b.Writes = append(b.Writes, Write{Key: "k", Deltas: []Delta{{Name: "x", Kind: DeltaAppend, Value: []byte("v")}}})
	}
	if err := m.ApplyPart(t.Context(), shard, b, 2); err != nil {
		t.Fatal(err)
	}
	q := Query{Metas: []string{"a"}, Lists: []List{{"a", "x", 9}}}
	v, err := m.Read(t.Context(), 3, q)
	if err != nil || !v.Metas["a"].Unfinished || v.Metas["a"].Applied != 0 || len(v.Lists[0]) != 2 {
		t.Fatalf("a part: got %+v, %v", v, err)
	}
	other := b
	other.Meta.Applied = 5
	if err := m.Apply(t.Context(), shard, other); err == nil {
		t.Error("another batch after a part: want an error")
	}
	if err := m.Apply(t.Context(), shard, b); err != nil {
		t.Fatal(err)
	}
	v, err = m.Read(t.Context(), 3, q)
	if err != nil || v.Metas["a"].Unfinished || v.Metas["a"].Applied != 4 || len(v.Lists[0]) != 3 {
		t.Fatalf("the whole: got %+v, %v", v, err)
	}
	m.Wipe(3)
	if v, err = m.Read(t.Context(), 3, q); err != nil || v.Metas["a"].Applied != 0 || len(v.Lists[0]) != 0 {
		t.Fatalf("wiped: got %+v, %v", v, err)
	}
}
