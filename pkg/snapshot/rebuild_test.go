package snapshot

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"refrain.dev/pkg/embed/embedtest"
	"refrain.dev/pkg/state"
)

// "State after a rebuild equals the state before": snapshots at any cut points, restored into a store that may
// hold anything, and the records after them, against the whole log.
func TestARebuildEqualsTheWholeLog(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		testRebuild(t, func() state.Store { return state.NewMemory() })
	})
	t.Run("redis", func(t *testing.T) {
		client := redis.NewUniversalClient(state.RedisOptions(embedtest.Redis(t)))
		t.Cleanup(func() { _ = client.Close() })
		testRebuild(t, func() state.Store {
			if err := client.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			return state.NewRedis(client, 1)
		})
	})
}

func testRebuild(t *testing.T, open func() state.Store) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		all := history(rt, 40)
		cuts := rapid.SliceOfNDistinct(rapid.IntRange(1, len(all)), 1, min(5, len(all)), rapid.ID[int]).Draw(rt, "cuts")
		slices.Sort(cuts)
		l, _ := library(t)
		var s *Snapshot
		from := 0
		for _, cut := range cuts {
			s = take(t, l, s, all[from:cut])
			from = cut
		}
		if err := l.Verify(t.Context(), s); err != nil {
			rt.Fatal(err)
		}

		whole := state.NewMemory()
		apply(t, whole, all...)
		store := open()
		before := rapid.IntRange(0, from).Draw(rt, "before") // where the store is
		apply(t, store, all[:before]...)
		over := uint64(0)
		if before > 0 {
			over = all[before-1].Meta.Applied
		}
		if err := l.Restore(t.Context(), store, shard, s, over, nil); err != nil {
			rt.Fatal(err)
		}
		apply(t, store, all[from:]...)
		if d := diff(contentOf(t, whole), contentOf(t, store)); d != "" {
			rt.Fatalf("restored at %v of %d (-log +snapshot and tail):\n%s", cuts, len(all), d)
		}
	})
}

// However it came about, a snapshot of a record holds the same.
func TestASnapshotDoesNotDependOnThoseBefore(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := history(rt, 40)
		cut := rapid.IntRange(1, len(all)).Draw(rt, "cut")
		l, _ := library(t)
		once := take(t, l, nil, all)
		again, _ := library(t)
		twice := take(t, again, nil, all[:cut])
		if cut < len(all) {
			twice = take(t, again, twice, all[cut:])
		}
		if d := cmp.Diff(entries(t, l, once), entries(t, again, twice), protocmp.Transform()); d != "" {
			rt.Fatalf("cut at %d (-once +twice):\n%s", cut, d)
		}
		if d := cmp.Diff(once.Meta(), twice.Meta()); d != "" {
			rt.Fatalf("meta (-once +twice):\n%s", d)
		}
		if a, b := once.Listing, twice.Listing; a.GetRecords() != b.GetRecords() || a.GetRows() != b.GetRows() {
			rt.Fatalf("%d records, %d rows, and %d, %d", a.GetRecords(), a.GetRows(), b.GetRecords(), b.GetRows())
		}
	})
}

// "Crash-safe, resumable": broken off after any piece, also with another image in between.
func TestARestoreIsResumedAnywhere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := history(rt, 40)
		l, _ := library(t)
		cut := rapid.IntRange(1, len(all)).Draw(rt, "cut")
		older := take(t, l, nil, all[:cut])
		newer := older
		if cut < len(all) {
			newer = take(t, l, older, all[cut:])
		}
		store := &flaky{Store: state.NewMemory()}
		for range rapid.IntRange(0, 4).Draw(rt, "tries") {
			store.left = rapid.IntRange(0, 9).Draw(rt, "pieces")
			s := rapid.SampledFrom([]*Snapshot{older, newer}).Draw(rt, "image")
			view, err := store.Read(t.Context(), 0, state.Query{Metas: []string{stage}})
			if err != nil {
				rt.Fatal(err)
			}
			if err := l.Restore(t.Context(), store, shard, s, view.Metas[stage].Applied, nil); err == nil {
				continue
			}
			if view, err = store.Read(t.Context(), 0, state.Query{Metas: []string{stage}}); err != nil {
				rt.Fatal(err)
			}
			if m := view.Metas[stage]; !m.Unfinished && m.Applied != 0 && m.Applied != older.Meta().Applied && m.Applied != newer.Meta().Applied {
				rt.Fatalf("in the middle of a restore the shard is at %d, unfinished: %t", m.Applied, m.Unfinished)
			}
		}
		store.left = -1
		view, err := store.Read(t.Context(), 0, state.Query{Metas: []string{stage}})
		if err != nil {
			rt.Fatal(err)
		}
		if err := l.Restore(t.Context(), store, shard, newer, view.Metas[stage].Applied, nil); err != nil {
			rt.Fatal(err)
		}
		whole := state.NewMemory()
		apply(t, whole, all...)
		if d := diff(contentOf(t, whole), contentOf(t, store)); d != "" {
			rt.Fatalf("(-log +restored):\n%s", d)
		}
	})
}
