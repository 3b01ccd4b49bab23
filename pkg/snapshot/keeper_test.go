package snapshot

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

func (w *world) listed() []*stagev1.SnapshotListing {
	w.t.Helper()
	l, err := w.keeper.library.List(w.t.Context(), chain)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

func (w *world) build() {
	w.t.Helper()
	if _, err := w.keeper.build(w.t.Context(), 0); err != nil {
		w.t.Fatal(err)
	}
}

// fill writes records that touch different rows.
func (w *world) fill(n int) {
	w.t.Helper()
	for range n {
		w.record(row(fmt.Sprintf("default/c/%04d", w.last), strings.Repeat("x", 50)))
	}
}

// "Interval by records and by time": nothing is taken while nothing is new.
func TestASnapshotIsTakenWhenItIsDue(t *testing.T) {
	w := newWorld(t, Settings{Every: time.Hour, Records: 10, History: time.Hour})
	w.fill(3)
	w.keeper.look(t.Context(), 0)
	if n := len(w.listed()); n != 0 {
		t.Fatalf("%d snapshots after 3 records in no time", n)
	}
	w.fill(20) // two partitions share the stream: about 10 each
	w.keeper.look(t.Context(), 0)
	if l := w.listed(); len(l) != 1 || l[0].GetSequence() != w.last || l[0].GetRecords() != 24 || l[0].GetRows() != 23 {
		t.Fatalf("after 20 more records: %v", l)
	}
	w.now = w.now.Add(2 * time.Hour)
	w.keeper.look(t.Context(), 0)
	if n := len(w.listed()); n != 1 {
		t.Fatalf("%d snapshots though nothing is new", n)
	}
	w.fill(1)
	w.keeper.look(t.Context(), 0)
	if l := w.listed(); len(l) != 2 || l[0].GetBuiltFrom() != l[1].GetSequence() || l[0].GetRecords() != 25 {
		t.Fatalf("after two hours and one record: %v", l)
	}
	if want := []string{"snapshot.stored", "snapshot.verified", "snapshot.listed"}; !slices.Equal(w.visited[:3], want) {
		t.Errorf("places passed: %v, want %v first", w.visited, want)
	}
}

// "Memory is bounded by the delta": more changes than fit take several snapshots.
func TestManyChangesTakeSeveralSnapshots(t *testing.T) {
	w := newWorld(t, Settings{Changes: 2000, Part: 300})
	w.fill(40)
	w.build()
	l := w.listed()
	if len(l) != 3 || l[0].GetSequence() != w.last || l[0].GetRows() != 40 || l[0].GetRecords() != 41 {
		t.Errorf("40 records took %v", l)
	}
}

// "A crash at any point leaves only garbage objects that a later run deletes": every operation fails once, its
// request or its answer.
func TestABuildBrokenOffAnywhereIsMadeGood(t *testing.T) {
	for _, how := range []log.Effect{log.LostBefore, log.LostAfter} {
		for broken := range 40 {
			w := newWorld(t, Settings{Part: 300, Grace: time.Hour})
			w.fill(10)
			w.build()
			w.fill(10)
			w.log.SetFaults(failing(broken, how))
			_, err := w.keeper.build(t.Context(), 0)
			w.log.SetFaults(nil)
			if err == nil && broken < 3 {
				t.Fatalf("operation %d failed and the build did not", broken)
			}
			w.fill(1)
			w.build()
			w.now = w.now.Add(2 * time.Hour)
			if err := w.keeper.clean(t.Context(), chain); err != nil {
				t.Fatal(err)
			}
			w.checkWhole()
			if err == nil && broken > 30 {
				break
			}
		}
	}
}

// checkWhole says that every listed snapshot is whole, the newest is the store's content, and nothing else is stored.
func (w *world) checkWhole() {
	w.t.Helper()
	ctx, l := w.t.Context(), w.keeper.library
	want := map[string]bool{}
	for _, listing := range w.listed() {
		s, err := l.Open(ctx, chain, listing)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := l.Verify(ctx, s); err != nil {
			w.t.Fatal(err)
		}
		want[listing.GetObject()] = true
		for _, p := range s.Index.GetParts() {
			want[p.GetObject()] = true
		}
	}
	stored, err := w.log.Objects().List(ctx, "")
	if err != nil {
		w.t.Fatal(err)
	}
	if len(stored) != len(want) {
		w.t.Errorf("%d objects are stored, %d are needed", len(stored), len(want))
	}
	newest, err := l.Newest(ctx, chain)
	if err != nil {
		w.t.Fatal(err)
	}
	again := state.NewMemory()
	if err := l.Restore(ctx, again, shard, newest, 0, nil); err != nil {
		w.t.Fatal(err)
	}
	if d := diff(contentOf(w.t, w.store), contentOf(w.t, again)); d != "" {
		w.t.Errorf("(-store +newest snapshot):\n%s", d)
	}
}

// Parts in which nothing changed are named again, not stored again.
func TestUnchangedPartsAreKept(t *testing.T) {
	w := newWorld(t, Settings{Part: 300})
	w.fill(60)
	w.build()
	before, _ := w.log.Objects().List(t.Context(), "")
	w.record(row("default/c/0030", "new"))
	w.build()
	after, _ := w.log.Objects().List(t.Context(), "")
	if len(before) < 10 || len(after) > len(before)+3 {
		t.Errorf("%d objects, after one change %d", len(before), len(after))
	}
	w.checkWhole()
}
