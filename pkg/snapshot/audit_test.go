package snapshot

import (
	"fmt"
	"slices"
	"testing"

	"refrain.dev/pkg/state"
)

// "On a mismatch … triggers a rebuild": everything that can be wrong with a row, list or set.
func TestTheAuditorFindsWhatIsWrong(t *testing.T) {
	writes := []state.Write{
		row("a", "1"), row("b", "2"), row("m", "3"), row("z", "4"),
		{Key: "b", Deltas: []state.Delta{{Name: "b/l", Kind: state.DeltaAppend, Value: []byte("x")}, {Name: "b/s", Kind: state.DeltaAdd, Value: []byte("y")}}},
	}
	for what, damage := range map[string]struct {
		wrong   string
		rebuild []state.Write
	}{
		"nothing":         {"", writes},
		"a missing row":   {"a row is missing", slices.Concat(writes, []state.Write{{Key: "m", Deleted: true}})},
		"another value":   {"a row is another one", slices.Concat(writes, []state.Write{row("m", "X")})},
		"a stranger":      {"a row is there that should not be", slices.Concat(writes, []state.Write{row("n", "X")})},
		"a stranger last": {"a row is there that should not be", slices.Concat(writes, []state.Write{row("zz", "X")})},
		"a longer list":   {"a list is another one", slices.Concat(writes, []state.Write{{Deltas: []state.Delta{{Name: "b/l", Kind: state.DeltaAppend, Value: []byte("X")}}}})},
		"a dropped set":   {"a set lacks a member", slices.Concat(writes, []state.Write{{Deltas: []state.Delta{{Name: "b/s", Kind: state.DeltaDrop}}}})},
	} {
		for _, later := range []bool{false, true} { // records after the snapshot change what is allowed to
			t.Run(fmt.Sprint(what, later), func(t *testing.T) {
				w := newWorld(t, Settings{Part: 20})
				at := w.record(writes...)
				w.build()
				if err := w.store.Reset(t.Context(), shard); err != nil {
					t.Fatal(err)
				}
				apply(t, w.store, state.Batch{Meta: state.Meta{Generation: 1, Applied: at}, Writes: damage.rebuild})
				if later {
					w.record(row("a", "changed"), row("new", "row"), row("zzz", "row"), state.Write{Key: "b", Deleted: true})
				}
				if got := w.audit(); got != damage.wrong {
					t.Errorf("found %q, want %q", got, damage.wrong)
				}
				view, err := w.store.Read(t.Context(), 0, state.Query{Metas: []string{stage}})
				if err != nil {
					t.Fatal(err)
				}
				if thrown := view.Metas[stage].Applied == 0; thrown != (damage.wrong != "") {
					t.Errorf("the states were thrown away: %t", thrown)
				}
			})
		}
	}
}

// audit compares every part, as the keeper does, and returns what it finds first.
func (w *world) audit() string {
	w.t.Helper()
	s, err := w.keeper.library.Newest(w.t.Context(), chain)
	if err != nil || s == nil {
		w.t.Fatal(s, err)
	}
	found := ""
	for n := range s.Index.GetParts() {
		wrong, err := w.keeper.audit.part(w.t.Context(), shard, s, n)
		if err != nil {
			w.t.Fatal(err)
		}
		if wrong != "" && found == "" {
			found = wrong
		}
		w.keeper.compare(w.t.Context(), 0)
	}
	return found
}

// A store that its owner is repairing is nobody's business.
func TestTheAuditorLeavesAStoreThatIsBehindAlone(t *testing.T) {
	w := newWorld(t, Settings{})
	w.fill(5)
	w.build()
	if err := w.store.Reset(t.Context(), shard); err != nil {
		t.Fatal(err)
	}
	if got := w.audit(); got != "" {
		t.Errorf("an empty store: %q", got)
	}
}

// States that are wrong again at once are a bug of ours; they are not thrown away in a circle.
func TestAWrongStoreIsMadeAgainOnceInAWhile(t *testing.T) {
	w := newWorld(t, Settings{})
	at := w.record(row("a", "1"))
	w.build()
	for n := range 3 {
		if err := w.store.Reset(t.Context(), shard); err != nil {
			t.Fatal(err)
		}
		apply(t, w.store, state.Batch{Meta: state.Meta{Generation: 1, Applied: at}, Writes: []state.Write{row("a", "wrong")}})
		w.keeper.compare(t.Context(), 0)
		view, _ := w.store.Read(t.Context(), 0, state.Query{Metas: []string{stage}})
		if thrown := view.Metas[stage].Applied == 0; thrown != (n == 0) {
			t.Errorf("round %d: thrown away: %t", n, thrown)
		}
	}
}

// A damaged snapshot is found by whoever reads it, and not relied on any more.
func TestADamagedSnapshotIsForgotten(t *testing.T) {
	w := newWorld(t, Settings{Part: 300})
	w.fill(30)
	w.build()
	w.fill(1)
	w.build()
	s, err := w.keeper.library.Newest(t.Context(), chain)
	if err != nil {
		t.Fatal(err)
	}
	parts := s.Index.GetParts()
	if !w.log.Corrupt(parts[len(parts)-1].GetObject()) {
		t.Fatal("there is nothing to damage")
	}
	for range parts {
		w.keeper.compare(t.Context(), 0)
	}
	if l := w.listed(); len(l) != 1 || l[0].GetSequence() == s.Listing.GetSequence() {
		t.Fatalf("a part of %d is damaged; listed: %v", s.Listing.GetSequence(), l)
	}
	w.build()
	w.checkListed()

	index := w.listed()[0].GetObject()
	w.log.Corrupt(index)
	if s, err := w.keeper.library.Newest(t.Context(), chain); err != nil || s.Listing.GetObject() == index {
		t.Errorf("with a damaged index the newest is %v, %v", s, err)
	}
}

func (w *world) checkListed() {
	w.t.Helper()
	for _, listing := range w.listed() {
		s, err := w.keeper.library.Open(w.t.Context(), chain, listing)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := w.keeper.library.Verify(w.t.Context(), s); err != nil {
			w.t.Error(err)
		}
	}
}

// A merge that meets damage leaves the old snapshot, and the next build goes on from an older one.
func TestABuildOnADamagedBaseIsBuiltOnAnOlder(t *testing.T) {
	w := newWorld(t, Settings{Part: 300})
	w.fill(30)
	w.build()
	w.fill(10)
	w.build()
	s, _ := w.keeper.library.Newest(t.Context(), chain)
	parts := s.Index.GetParts()
	w.log.Corrupt(parts[len(parts)-1].GetObject())
	w.fill(1)
	if _, err := w.keeper.build(t.Context(), 0); err == nil {
		t.Fatal("built on a damaged part")
	}
	w.build()
	w.checkListed()
	if l := w.listed(); l[0].GetSequence() != w.last {
		t.Errorf("listed: %v", l)
	}
}
