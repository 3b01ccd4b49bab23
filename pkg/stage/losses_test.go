package stage

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/state"
)

func (m *mesh) loseStates(stage string) {
	m.t.Helper()
	if err := m.store.Reset(m.t.Context(), state.Shard{Stage: stage, Partition: 0}); err != nil {
		m.t.Fatal(err)
	}
}

// A store that loses everything loses no timer, also when nothing else happens that would notice the loss.
func TestTimersOutliveTheStore(t *testing.T) {
	m := newMesh(t, 1, 4)
	defer m.run(m.stage("profile", m.broker, clock.Wall{}))()
	later := m.add("ann", 1)
	later.e.Later = 400 * time.Millisecond
	m.publish(m.broker, nil, later)
	eventually(t, "the entry is there", func() bool { return m.row("profile", "ann").Sum == 1 })
	m.loseStates("profile")
	eventually(t, "the timer has fired", func() bool { return m.row("profile", "ann").Sum == 2 })
}

// Other stages read an owner's rows: it repairs them even if it has nothing to do itself.
func TestAnIdleOwnerRepairsItsStates(t *testing.T) {
	m := newMesh(t, 1, 4)
	defer m.run(m.stage("profile", m.broker, clock.Wall{}))()
	m.publish(m.broker, nil, m.add("ann", 3))
	eventually(t, "the entry is there", func() bool { return m.row("profile", "ann").Sum == 3 })
	m.loseStates("profile")
	eventually(t, "the state is back", func() bool { return m.row("profile", "ann").Sum == 3 })
}

// On the replay clock nobody sees a shard that has lost what was written to it.
func TestWholeStoreBringsBackWhatIsLost(t *testing.T) {
	m := newMesh(t, 1, 4)
	inner := m.store
	m.store = newWholeStore(inner, m.broker, nil, nil)
	stop := m.run(m.stage("profile", m.broker, clock.Wall{}))
	later := m.add("ann", 1)
	later.e.Later = time.Hour
	m.publish(m.broker, nil, later)
	for range 4 {
		m.publish(m.broker, nil, m.add("ann", 1))
	}
	eventually(t, "all are added", func() bool { return m.row("profile", "ann").Sum == 5 })
	stop()
	m.loseStates("profile")
	view, err := m.store.Read(t.Context(), 0, state.Query{Metas: []string{"profile"}, Rows: []state.Row{{Stage: "profile", Key: key("ann")}}})
	if err != nil || view.Rows[0] == nil {
		t.Fatalf("read after the loss: %v, %v", view, err)
	}
	m.loseStates("profile")
	dues, err := m.store.Due(t.Context(), state.Shard{Stage: "profile"}, farFuture(), 10)
	if err != nil || len(dues) != 1 {
		t.Fatalf("due after the loss: %v, %v; want ann's timer", dues, err)
	}
}

// dies starts a stage, lets it take one step on its own if step is set, and ends without CLOSE.
func (m *mesh) dies(step func(context.Context, *partition)) {
	m.t.Helper()
	ctx, cancel := context.WithCancel(m.t.Context())
	defer cancel()
	s := m.stage("decision", m.broker, clock.Wall{})
	if err := s.start(ctx); err != nil {
		m.t.Fatal(err)
	}
	step(ctx, s.owned()[0])
}

// An input that was tried and led to nothing is done: ends of its process afterwards do not count against it.
func TestInputThatLeadsToNothingIsNotPoison(t *testing.T) {
	m := newMesh(t, 1, 8)
	m.fold.idle = true // as decision sees it: facts that are none of its business
	stop := m.run(m.stage("profile", m.broker, clock.Wall{}))
	m.publish(m.broker, nil, m.add("ann", 1))
	eventually(t, "the entry is there", func() bool { return m.row("profile", "ann").Sum == 1 })
	stop()
	for range maxAttempts + 3 {
		m.dies(func(ctx context.Context, p *partition) {
			for worked := true; worked; {
				var err error
				if worked, err = p.step(ctx, limit{}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	for _, r := range m.records("act.0") {
		if len(r.rec.GetGaps()) > 0 {
			t.Fatalf("it was given up: %v", r.rec)
		}
	}
}

// What fails because of the shell is tried again for as long as it takes: it is one attempt.
func TestAnUnreachableStoreIsNoAttempt(t *testing.T) {
	m := newMesh(t, 1, 8)
	m.publish(m.broker, nil, m.add("ann", 1))
	s := m.stage("profile", m.broker, clock.Wall{})
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = m.stage("profile", m.broker, clock.Wall{}) // after an unclean end
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := s.owned()[0]
	p.ports.Store = unreachable{m.store}
	if err := p.gather(t.Context(), limit{}); err != nil {
		t.Fatal(err)
	}
	for range maxAttempts + 2 {
		if _, err := p.stepPending(t.Context(), limit{}); fault.Of(err) != fault.Unavailable {
			t.Fatalf("step: got %v, want Unavailable", err)
		}
	}
	attempts := 0
	for _, r := range m.records("prf.0") {
		if r.rec.GetKind() == stagev1.RecordKind_RECORD_KIND_ATTEMPT {
			attempts++
		}
	}
	if attempts != 1 {
		t.Errorf("attempts on the chain: got %d, want 1", attempts)
	}
}

// unreachable is a store that takes writes and answers no reads.
type unreachable struct{ state.Store }

func (unreachable) Read(context.Context, int, state.Query) (state.View, error) {
	return state.View{}, fault.New(fault.Unavailable, "no answer")
}

// stumbling fails one write of a record that is copied.
type stumbling struct {
	state.Store

	at atomic.Uint64 // the sequence whose first write fails; 0 for none
}

func (s *stumbling) Apply(ctx context.Context, shard state.Shard, b state.Batch) error {
	if at := s.at.Load(); at != 0 && b.Meta.Applied == at && s.at.CompareAndSwap(at, 0) {
		return fault.New(fault.Unavailable, "stumbled")
	}
	return s.Store.Apply(ctx, shard, b)
}

// A repair that is cut off is ended before anything is decided: a record left out would never come back.
func TestARepairThatIsCutOffIsEnded(t *testing.T) {
	m := newMesh(t, 1, 4)
	store := &stumbling{Store: m.store}
	m.store = store
	defer m.run(m.stage("profile", m.broker, clock.Wall{}))()
	for _, who := range []string{"ann", "bob", "cid"} {
		m.publish(m.broker, nil, m.add(who, 1))
		eventually(t, who+" is there", func() bool { return m.row("profile", who).Sum == 1 })
	}
	all := m.records("prf.0")
	store.at.Store(all[len(all)-1].seq)
	m.loseStates("profile")
	m.publish(m.broker, nil, m.add("ann", 1))
	eventually(t, "ann's second is added", func() bool { return m.row("profile", "ann").Sum == 2 })
	for _, who := range []string{"bob", "cid"} {
		if m.row("profile", who).Sum != 1 {
			t.Errorf("%s is lost: %+v", who, m.row("profile", who))
		}
	}
	if store.at.Load() != 0 {
		t.Error("no copy failed: the test proves nothing")
	}
}

// An owner that has to leave in the middle of a repair says CLOSE on the chain; the store must not take that for
// the record after those that it has.
func TestAnOwnerThatLeavesInTheMiddleOfARepairLosesNothing(t *testing.T) {
	m := newMesh(t, 1, 4)
	store := &stumbling{Store: m.store}
	m.store = store
	s := m.stage("profile", m.broker, clock.Wall{})
	if err := s.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := s.owned()[0]
	step := func() error {
		t.Helper()
		var err error
		eventually(t, "there is something to do", func() bool {
			var did bool
			did, err = p.step(t.Context(), limit{})
			return did || err != nil
		})
		return err
	}
	for _, who := range []string{"ann", "bob", "cid"} {
		m.publish(m.broker, nil, m.add(who, 1))
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	all := m.records("prf.0")
	store.at.Store(all[len(all)-2].seq)
	m.loseStates("profile")
	m.publish(m.broker, nil, m.add("dan", 1))
	if err := step(); err == nil {
		t.Fatal("no copy failed: the test proves nothing")
	}
	if err := s.stop(t.Context(), limit{}); err != nil {
		t.Fatal(err)
	}
	defer m.run(m.stage("profile", m.broker, clock.Wall{}))()
	for _, who := range []string{"ann", "bob", "cid", "dan"} {
		eventually(t, who+" is there", func() bool { return m.row("profile", who).Sum == 1 })
	}
}
