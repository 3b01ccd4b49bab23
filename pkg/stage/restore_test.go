package stage

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/snapshot"
	"refrain.dev/pkg/state"
)

// kept is a stage whose snapshots are kept, looked after often.
func (m *mesh) kept(name string) *Stage {
	s := m.stage(name, m.broker, clock.Wall{})
	s.ports.Objects = m.broker.Objects()
	s.library = snapshot.NewLibrary(s.ports.Objects, m.broker.KV(), m.gen.Number)
	s.cfg.Retention = snapshot.Settings{Look: 5 * time.Millisecond, Audit: 5 * time.Millisecond, History: time.Millisecond, Margin: 1}
	return s
}

var requests sync.Map // ids, so that no two are alike

// ask asks the owner of partition 0 and waits until it is done.
func (m *mesh) ask(stage string, kind stagev1.UpkeepKind) *stagev1.UpkeepReport {
	m.t.Helper()
	r := &stagev1.UpkeepRequest{Id: fmt.Sprint(m.t.Name(), time.Now().UnixNano()), Kind: kind}
	if _, again := requests.LoadOrStore(r.GetId(), true); again {
		m.t.Fatal("an id came twice")
	}
	if err := snapshot.Ask(m.t.Context(), m.broker.KV(), stage, []*stagev1.UpkeepRequest{r}); err != nil {
		m.t.Fatal(err)
	}
	var said *stagev1.UpkeepReport
	eventually(m.t, "the owner did what was asked", func() bool {
		var err error
		if said, err = snapshot.Report(m.t.Context(), m.broker.KV(), stage, r); err != nil {
			m.t.Fatal(err)
		}
		return said.GetId() == r.GetId() && said.GetPhase() > stagev1.UpkeepPhase_UPKEEP_PHASE_RUNNING
	})
	if said.GetPhase() != stagev1.UpkeepPhase_UPKEEP_PHASE_DONE {
		m.t.Fatalf("it could not be done: %v", said)
	}
	return said
}

// snapshots are those of prf.0, the newest first.
func (m *mesh) snapshots() []*stagev1.SnapshotListing {
	m.t.Helper()
	l, err := snapshot.NewLibrary(m.broker.Objects(), m.broker.KV(), m.gen.Number).List(m.t.Context(), "prf.0")
	if err != nil {
		m.t.Fatal(err)
	}
	return l
}

// adds publishes entries of one customer and waits for them.
func (m *mesh) adds(who string, n int) {
	m.t.Helper()
	want := m.row("profile", who).Sum + n
	for range n {
		m.publish(m.broker, nil, m.add(who, 1))
	}
	eventually(m.t, who+"'s entries are there", func() bool { return m.row("profile", who).Sum == want })
}

// trim purges prf.0 below a snapshot, whoever else reads it.
func (m *mesh) trim(below uint64) {
	m.t.Helper()
	if err := m.broker.Purge(m.t.Context(), "prf.0", below); err != nil {
		m.t.Fatal(err)
	}
}

// twoSnapshots leaves a chain with two snapshots, entries before, between and after, and nobody who owns it.
func (m *mesh) twoSnapshots() {
	m.t.Helper()
	stop := m.run(m.kept("profile"))
	m.adds("ann", 3)
	later := m.add("tim", 1)
	later.e.Later = time.Hour
	m.publish(m.broker, nil, later)
	eventually(m.t, "tim is there", func() bool { return m.row("profile", "tim").Sum == 1 })
	m.ask("profile", stagev1.UpkeepKind_UPKEEP_KIND_SNAPSHOT)
	m.adds("bob", 2)
	m.ask("profile", stagev1.UpkeepKind_UPKEEP_KIND_SNAPSHOT)
	m.adds("ann", 2)
	stop()
	if n := len(m.snapshots()); n != 2 {
		m.t.Fatalf("%d snapshots were taken", n)
	}
}

// whole says that all that was added is there, and that it goes on.
func (m *mesh) whole() {
	m.t.Helper()
	eventually(m.t, "the states are back", func() bool {
		return m.row("profile", "ann").Sum == 5 && m.row("profile", "bob").Sum == 2 && m.row("profile", "tim").Sum == 1
	})
	dues, err := m.store.Due(m.t.Context(), state.Shard{Stage: "profile"}, farFuture(), 10)
	if err != nil || len(dues) != 1 || dues[0].Key != key("tim") {
		m.t.Errorf("timers: %v, %v; want tim's", dues, err)
	}
	m.adds("eve", 1)
}

// "When the store is empty or behind the first record that is still there": the snapshot, then the records after.
func TestAnEmptyStoreIsRestoredOverATrimmedChain(t *testing.T) {
	m := newMesh(t, 1, 4)
	m.twoSnapshots()
	m.trim(m.snapshots()[0].GetSequence())
	m.loseStates("profile")
	defer m.run(m.kept("profile"))()
	m.whole()
}

func TestAStoreBehindATrimmedChainIsRestored(t *testing.T) {
	m := newMesh(t, 1, 4)
	stop := m.run(m.kept("profile"))
	m.adds("ann", 1)
	stop()
	old := m.store.(*state.Memory).Clone()
	m.adds0("ann", 2)
	m.twoSnapshotsAfter()
	m.trim(m.snapshots()[0].GetSequence())
	m.store = old
	defer m.run(m.kept("profile"))()
	m.whole()
}

// Nothing after the store's position is gone, but the record at it is, and what stands right after that is another
// partition's: a feed has nowhere to begin, so a snapshot has to lead over it.
func TestRecordsFollowOnlyARecordThatIsThere(t *testing.T) {
	m := newMesh(t, 2, 4)
	r := &rebuilder{broker: m.broker}
	appended := func(subject string) uint64 {
		t.Helper()
		last, err := m.broker.Last(t.Context(), subject)
		if err != nil {
			t.Fatal(err)
		}
		data, err := (&stagev1.Record{Kind: stagev1.RecordKind_RECORD_KIND_BATCH, Prev: last.Sequence}).MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		at, err := m.broker.Append(t.Context(), subject, last.Sequence, data)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	position := appended("prf.0")
	appended("prf.1")
	next := appended("prf.0")
	for _, want := range []bool{true, false} {
		got, err := r.follows(t.Context(), "prf.0", position)
		if err != nil || got != want {
			t.Errorf("records follow %d: %v, %v; want %v", position, got, err, want)
		}
		feed, err := m.broker.Feed(t.Context(), map[string]uint64{"prf.0": position})
		if err != nil {
			t.Fatal(err)
		}
		if gone := errors.Is(feed.Tail("prf.0").Err(), log.ErrGone); gone == want {
			t.Errorf("a feed from %d cannot begin: %v", position, gone)
		}
		feed.Close()
		m.trim(next)
	}
}

// adds0 publishes while nobody listens.
func (m *mesh) adds0(who string, n int) {
	m.t.Helper()
	for range n {
		m.publish(m.broker, nil, m.add(who, 1))
	}
}

// twoSnapshotsAfter goes on from three entries of ann as twoSnapshots does.
func (m *mesh) twoSnapshotsAfter() {
	m.t.Helper()
	stop := m.run(m.kept("profile"))
	eventually(m.t, "ann is there", func() bool { return m.row("profile", "ann").Sum == 3 })
	later := m.add("tim", 1)
	later.e.Later = time.Hour
	m.publish(m.broker, nil, later)
	eventually(m.t, "tim is there", func() bool { return m.row("profile", "tim").Sum == 1 })
	m.adds("bob", 2)
	m.ask("profile", stagev1.UpkeepKind_UPKEEP_KIND_SNAPSHOT)
	m.adds("ann", 2)
	stop()
}

// "The second newest … so that a damaged newest one can be survived."
func TestADamagedSnapshotIsPassedOver(t *testing.T) {
	m := newMesh(t, 1, 4)
	m.twoSnapshots()
	l := m.snapshots()
	m.trim(l[1].GetSequence())
	m.damage(l[0])
	m.loseStates("profile")
	defer m.run(m.kept("profile"))()
	m.whole()
}

// damage spoils the first part of a snapshot that is its own.
func (m *mesh) damage(l *stagev1.SnapshotListing) {
	m.t.Helper()
	s, err := snapshot.NewLibrary(m.broker.Objects(), m.broker.KV(), m.gen.Number).Open(m.t.Context(), "prf.0", l)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, p := range s.Index.GetParts() {
		if strings.Contains(p.GetObject(), fmt.Sprintf("/%d/", l.GetSequence())) && m.broker.Corrupt(p.GetObject()) {
			return
		}
	}
	m.t.Fatal("there is nothing to damage")
}

// Without a snapshot that leads over the gap the partition halts; so it does if the log ends before a snapshot.
func TestWhatNoSnapshotLeadsOverHalts(t *testing.T) {
	for name, harm := range map[string]func(m *mesh){
		"all are damaged": func(m *mesh) {
			l := m.snapshots()
			m.trim(l[0].GetSequence())
			m.damage(l[0])
			m.damage(l[1])
		},
		"the log lost records": func(m *mesh) { m.broker.Lose(m.broker.StreamOf("prf.0"), 20) },
		"letters are gone": func(m *mesh) {
			m.trim(m.snapshots()[0].GetSequence())
			if err := m.broker.KV().Put(m.t.Context(), "relay/prf.0", []byte{0, 0, 0, 0, 0, 0, 0, 2}); err != nil {
				m.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t, 1, 1)
			m.twoSnapshots()
			m.loseStates("profile")
			harm(m)
			s := m.kept("profile")
			err := s.start(t.Context())
			if halt, ok := errors.AsType[*HaltError](err); !ok {
				t.Fatalf("start = %v", err)
			} else {
				t.Log(halt)
			}
		})
	}
}

// A snapshot of records that an owner does not know is another owner's, not a loss.
func TestASnapshotOfAnotherOwnerHaltsNobody(t *testing.T) {
	m := newMesh(t, 1, 1)
	paused := m.kept("profile")
	if err := paused.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop := m.run(m.kept("profile"))
	m.adds("ann", 3)
	m.ask("profile", stagev1.UpkeepKind_UPKEEP_KIND_SNAPSHOT)
	stop()
	m.loseStates("profile")
	if err := paused.owned()[0].recover(t.Context()); !errors.Is(err, errLost) {
		t.Errorf("recover = %v, want to learn that the partition is lost", err)
	}
}

// "Works while the mesh is live": events go on, nothing is lost or counted twice.
func TestARebuildOfALiveStage(t *testing.T) {
	m := newMesh(t, 1, 4)
	defer m.run(m.kept("profile"))()
	m.adds("ann", 5)
	m.ask("profile", stagev1.UpkeepKind_UPKEEP_KIND_SNAPSHOT)
	m.adds0("bob", 10)
	said := m.ask("profile", stagev1.UpkeepKind_UPKEEP_KIND_REBUILD)
	if said.GetSequence() == 0 {
		t.Errorf("it says %v", said)
	}
	eventually(t, "all are there", func() bool { return m.row("profile", "ann").Sum == 5 && m.row("profile", "bob").Sum == 10 })
	m.adds("ann", 1)
}

// "Automatic rebuild when Redis is … WRONG": whoever has changed a row behind our back.
func TestWrongStatesAreMadeAgain(t *testing.T) {
	m := newMesh(t, 1, 4)
	defer m.run(m.kept("profile"))()
	m.adds("ann", 2)
	m.adds("bob", 2)
	m.ask("profile", stagev1.UpkeepKind_UPKEEP_KIND_SNAPSHOT)
	m.spoil("ann")
	eventually(t, "ann is as she was", func() bool { return m.row("profile", "ann").Sum == 2 })
	m.adds("ann", 1)
}

// spoil puts another customer's row, with another sequence, in the place of one.
func (m *mesh) spoil(who string) {
	m.t.Helper()
	ctx, shard := m.t.Context(), state.Shard{Stage: "profile"}
	view, err := m.store.Read(ctx, 0, state.Query{Metas: []string{"profile"}, Rows: []state.Row{{Stage: "profile", Key: key("bob")}}})
	if err != nil {
		m.t.Fatal(err)
	}
	meta := view.Metas["profile"]
	bob := state.Write{Key: key("bob"), Value: view.Rows[0], Sequence: view.Sequences[0]}
	as := state.Write{Key: key(who), Value: []byte(`{"sum":77}`), Sequence: 2}
	if _, err := m.store.Restore(ctx, shard, state.Piece{Image: "spoiled", Over: meta.Applied, Writes: []state.Write{bob, as}, Meta: &meta}); err != nil {
		m.t.Fatal(err)
	}
}

// A store that is a little behind a new snapshot gets the records, not the snapshot.
func TestALittleBehindIsCopied(t *testing.T) {
	for _, x := range []struct {
		position uint64
		listed   []*stagev1.SnapshotListing
		want     bool
	}{
		{5, nil, true},
		{5, []*stagev1.SnapshotListing{{Sequence: 5, Records: 1 << 40}}, true},
		{5, []*stagev1.SnapshotListing{{Sequence: 9000, Records: 900, Rows: 10}}, true},
		{5, []*stagev1.SnapshotListing{{Sequence: 9000, Records: 9000, Rows: 10}}, false},
		{5, []*stagev1.SnapshotListing{{Sequence: 9000, Records: 9000, Rows: 10_000}}, true},
		{8000, []*stagev1.SnapshotListing{{Sequence: 9000, Records: 9000, Rows: 10}, {Sequence: 8000, Records: 8500}}, true},
		{7999, []*stagev1.SnapshotListing{{Sequence: 9000, Records: 9000, Rows: 10}, {Sequence: 8000, Records: 8500}}, false},
	} {
		if got := near(x.position, x.listed); got != x.want {
			t.Errorf("near(%d, %v) = %t", x.position, x.listed, got)
		}
	}
}

// "Below … the relay.s saved position": before there is one nothing goes.
func TestTheChainIsWholeUntilTheRelayHasSavedItsPosition(t *testing.T) {
	m := newMesh(t, 1, 1)
	defer m.run(m.kept("profile"))()
	defer m.run(m.kept("decision"))()
	m.adds("ann", 4)
	m.ask("profile", stagev1.UpkeepKind_UPKEEP_KIND_SNAPSHOT)
	first := func() uint64 {
		msg, err := m.broker.Next(t.Context(), "prf.0", 0)
		if err != nil && !errors.Is(err, log.ErrUnknown) {
			t.Fatal(err)
		}
		return msg.Sequence
	}
	if got := first(); got != 1 {
		t.Fatalf("trimmed to %d before the relay has saved where it is", got)
	}
}
