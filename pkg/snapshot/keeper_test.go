package snapshot

import (
	"bytes"
	"context"
	"encoding/binary"
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

// cover lets a chain's last record say how far it covers an input.
func (w *world) cover(of, input string, sequence uint64) {
	w.t.Helper()
	last, err := w.log.Last(w.t.Context(), of)
	if err != nil {
		w.t.Fatal(err)
	}
	rec := &stagev1.Record{Generation: 1, Prev: last.Sequence, Covers: []*stagev1.Cover{{Input: input, Sequence: sequence}}}
	if of == chain {
		w.append(rec)
		return
	}
	data, err := rec.MarshalVT()
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.log.Append(w.t.Context(), of, last.Sequence, data); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) relayed(sequence uint64) {
	w.t.Helper()
	if err := w.log.KV().Put(w.t.Context(), RelayKey(chain), binary.BigEndian.AppendUint64(nil, sequence)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) first(subject string) uint64 {
	w.t.Helper()
	m, err := w.log.Next(w.t.Context(), subject, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return m.Sequence
}

// "Below the newest verified snapshot and every reader's position", with a margin of one snapshot; never
// younger than the history that is kept; and nothing while a position cannot be read.
func TestTheTrimmerStaysBehindEverybody(t *testing.T) {
	trim := func(w *world) error { return w.keeper.trim.chain(t.Context(), 0) }
	expect := func(w *world, what string, want uint64) {
		t.Helper()
		if err := trim(w); err != nil {
			t.Fatal(err)
		}
		if got := w.first(chain); got != want {
			t.Errorf("%s: the chain begins at %d, want %d", what, got, want)
		}
	}
	w := newWorld(t, Settings{History: time.Hour})
	w.fill(10)
	tenth := w.last
	w.now = w.now.Add(2 * time.Hour)
	expect(w, "no snapshot", 1)
	w.build()
	w.relayed(tenth)
	w.cover("act.0", "prf", tenth)
	expect(w, "one snapshot, which may be damaged", 1)
	w.fill(10)
	w.build()
	w.relayed(4)
	expect(w, "the relay is at 4", 4)
	w.relayed(w.last)
	w.cover("act.0", "prf", 6)
	expect(w, "the next stage is at 6", 6)
	w.cover("act.0", "prf", w.last)
	for name, faults := range map[string]log.Faults{
		"the manifest": func(op log.Op) log.Fault {
			return lost(op.Name == "kv.get" && strings.HasPrefix(op.Subject, "snapshot/"))
		},
		"the relay's position": func(op log.Op) log.Fault { return lost(op.Subject == RelayKey(chain)) },
		"the reader's chain":   func(op log.Op) log.Fault { return lost(op.Subject == "act.0") },
	} {
		w.log.SetFaults(faults)
		if err := trim(w); err == nil {
			t.Errorf("%s cannot be read, and that is no error", name)
		}
		w.log.SetFaults(nil)
	}
	expect(w, "the snapshot before the newest", tenth)
	w.build()
	w.fill(1)
	w.build()
	expect(w, "records that are younger than the history", tenth+1)
	w.now = w.now.Add(2 * time.Hour)
	w.cover(chain, "evt.live", 1)
	w.relayed(w.last + 100) // nobody may bring it to the last record
	w.cover("act.0", "prf", w.last+100)
	w.build()
	w.build()
	if err := trim(w); err != nil {
		t.Fatal(err)
	}
	if last, err := w.log.Last(t.Context(), chain); err != nil || last.Sequence != w.last {
		t.Errorf("the last record is %v, %v", last.Sequence, err)
	}
	w.checkListed()
}

func lost(yes bool) log.Fault {
	if yes {
		return log.Fault{Effect: log.LostBefore}
	}
	return log.Fault{}
}

// "EVENTS may age out only beyond the dedupe horizon and twice the snapshot interval."
func TestInputsGoWhenTheyAreCoveredAndOld(t *testing.T) {
	w := newWorld(t, Settings{Every: 2 * time.Hour, Inputs: 3 * time.Hour})
	var at []uint64
	for range 6 {
		s, err := w.log.Publish(t.Context(), "evt.live.0", []byte("e"))
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, s)
		if _, err := w.log.Publish(t.Context(), "box.profile.0", []byte("l")); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(time.Hour)
	}
	trim := func(want uint64) {
		t.Helper()
		if err := w.keeper.trim.inputs(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if got := w.first("evt.live.0"); got != want {
			t.Errorf("the lane begins at %d, want %d", got, want)
		}
	}
	trim(at[0])
	w.cover(chain, "evt.live", at[1])
	trim(at[1])
	w.cover(chain, "evt.live", at[5])
	trim(at[2]) // Inputs is raised to 4 hours; those of hours 2 to 5 are younger or as old
	w.now = w.now.Add(100 * time.Hour)
	trim(at[5])
	if u, err := w.log.Usage(t.Context(), "box.profile.0"); err != nil || u.Messages != 6 {
		t.Errorf("%d letters are left of 6 that nothing covers, %v", u.Messages, err)
	}
}

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

// "Asks the owners …; safe to repeat; reports progress and result".
func TestOwnersDoWhatIsAsked(t *testing.T) {
	w := newWorld(t, Settings{})
	w.fill(3)
	ctx := t.Context()
	ask := func(id string, kind stagev1.UpkeepKind) *stagev1.UpkeepReport {
		t.Helper()
		r := &stagev1.UpkeepRequest{Id: id, Kind: kind}
		if err := Ask(ctx, w.log.KV(), stage, []*stagev1.UpkeepRequest{r, {Id: id, Kind: kind, Partition: 1}}); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second turn does nothing
			w.keeper.answer(ctx, w.owned)
		}
		said, err := Report(ctx, w.log.KV(), stage, r)
		if err != nil || said.GetId() != id || said.GetOwner() != "test" {
			t.Fatalf("report %v, %v", said, err)
		}
		if other, err := Report(ctx, w.log.KV(), stage, &stagev1.UpkeepRequest{Kind: kind, Partition: 1}); err != nil || other.GetId() != "" {
			t.Errorf("about a partition of somebody else: %v, %v", other, err)
		}
		return said
	}
	said := ask("1", stagev1.UpkeepKind_UPKEEP_KIND_SNAPSHOT)
	if said.GetPhase() != stagev1.UpkeepPhase_UPKEEP_PHASE_DONE || said.GetSequence() != w.last || len(w.listed()) != 1 {
		t.Errorf("a snapshot was asked for: %v, %d", said, len(w.listed()))
	}
	before := contentOf(t, w.store)
	w.keeper.ports.Store = &mended{Store: w.store, by: before}
	said = ask("2", stagev1.UpkeepKind_UPKEEP_KIND_REBUILD)
	if said.GetPhase() != stagev1.UpkeepPhase_UPKEEP_PHASE_DONE || said.GetSequence() != w.last {
		t.Errorf("a rebuild was asked for: %v", said)
	}
	w.log.SetFaults(func(op log.Op) log.Fault { return lost(op.Name == "last") })
	said = ask("3", stagev1.UpkeepKind_UPKEEP_KIND_SNAPSHOT)
	if said.GetPhase() != stagev1.UpkeepPhase_UPKEEP_PHASE_FAILED || !strings.Contains(said.GetWhy(), "read the end of prf.0") {
		t.Errorf("it could not be done: %v", said)
	}
}

// mended is a store whose owner makes what was thrown away again at the next look.
type mended struct {
	state.Store

	by content
}

// Read implements state.Store.
func (m *mended) Read(ctx context.Context, partition int, q state.Query) (state.View, error) {
	v, err := m.Store.Read(ctx, partition, q)
	if err == nil && v.Metas[stage].Applied == 0 {
		b := state.Batch{Meta: m.by.Meta}
		for i, k := range m.by.Keys {
			b.Writes = append(b.Writes, state.Write{Key: k, Value: bytes.Clone(m.by.View.Rows[i])})
		}
		return v, m.Store.Apply(ctx, shard, b)
	}
	return v, err
}
