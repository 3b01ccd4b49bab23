package stage

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/state"
	"refrain.dev/pkg/telemetry/telemetrytest"
)

// shelf is a Preparer that has some revisions, and a fold's view of what was prepared.
type shelf struct {
	mu    sync.Mutex
	has   map[string]error
	ready map[string]bool
	asked []string
}

func newShelf(revisions ...string) *shelf {
	s := &shelf{has: map[string]error{}, ready: map[string]bool{}}
	for _, r := range revisions {
		s.has[r] = nil
	}
	return s
}

func (s *shelf) put(revision string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.has[revision] = err
}

func (s *shelf) Prepare(_ context.Context, revision string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, revision)
	err, ok := s.has[revision]
	if !ok {
		return fault.New(fault.NotFound, "there is no bundle %s", revision)
	}
	if err == nil {
		s.ready[revision] = true
	}
	return err
}

func (s *shelf) at(revision string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready[revision]
}

func (s *shelf) wasAsked(revision string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked) - len(slices.DeleteFunc(slices.Clone(s.asked), func(r string) bool { return r == revision }))
}

func (m *mesh) shelved(s *shelf, out *telemetrytest.Log) *Stage {
	st := m.stage("profile", m.broker, clock.Wall{})
	st.ports.Preparer, m.fold.at = s, s.at
	st.ports.Logger = slog.New(slog.NewTextHandler(out, nil))
	return st
}

// What a fold lacks is made ready by the shell and asked for again: no input is given up for it, and those that
// were decided before it are recorded meanwhile (RUNTIME, a new catalog).
func TestAFoldThatIsNotReadyIsWaitedFor(t *testing.T) {
	m := newMesh(t, 1, 8)
	var out telemetrytest.Log
	shelf := newShelf("r2")
	m.publish(m.broker, nil, m.add("ann", 1))
	for _, needs := range []string{"r2", "r3"} {
		a := m.add("ann", 10)
		a.e.Needs = needs
		m.publish(m.broker, nil, a)
	}
	m.publish(m.broker, nil, m.add("ann", 100))
	stop := m.run(m.shelved(shelf, &out))
	eventually(t, "r3 is asked for again and again", func() bool { return shelf.wasAsked("r3") > 2 })
	if got := m.row("profile", "ann").Sum; got != 11 {
		t.Errorf("before r3 is there: sum %d, want what came before it, 11", got)
	}
	if !strings.Contains(out.String(), "there is no bundle r3") {
		t.Errorf("nothing says what is waited for: %s", out.String())
	}
	shelf.put("r3", nil)
	eventually(t, "all is added", func() bool { return m.row("profile", "ann").Sum == 121 })
	stop()
	if letters := m.deadLetters("profile", 0); len(letters) != 0 {
		t.Errorf("got dead letters %v, want none", letters)
	}
}

// A catalog whose message is stored after that of one that was applied later does not come into force, in no stage
// and for no later owner.
func TestACatalogThatIsLateIsPassedOver(t *testing.T) {
	m := newMesh(t, 1, 8)
	m.fold.idle = true
	inForce := func(want string) {
		t.Helper()
		for _, name := range []string{"profile", "decision"} {
			eventually(t, name+" is at "+want, func() bool {
				view, err := m.store.Read(t.Context(), 0, state.Query{Metas: []string{name}})
				return err == nil && view.Metas[name].Revision == want
			})
		}
	}
	apply := func(revision string, order uint64) {
		m.raw(m.broker, "evt.control.0", &stagev1.Arrivals{Items: []*stagev1.Arrival{{
			Item: &stagev1.Arrival_Catalog{Catalog: &stagev1.CatalogApplied{Revision: revision, Order: order}},
		}}})
	}
	for n, step := range []struct {
		revision string
		order    uint64
		want     string
	}{{"r1", 1, "r1"}, {"r3", 3, "r3"}, {"r2", 2, "r3"}, {"r1", 4, "r1"}, {"r3", 3, "r1"}, {"r1", 4, "r1"}, {"r2", 5, "r2"}} {
		stops := []func(){m.run(m.stage("profile", m.broker, clock.Wall{})), m.run(m.stage("decision", m.broker, clock.Wall{}))}
		apply(step.revision, step.order)
		m.adds("ann", 1) // and what comes after it is decided
		inForce(step.want)
		for _, stop := range stops {
			stop()
		}
		last := m.records("prf.0")
		if got := last[len(last)-1].rec; got.GetRevision() != step.want {
			t.Errorf("step %d: the chain ends under %s, want %s", n, got.GetRevision(), step.want)
		}
	}
}

// A bundle that cannot be compiled is a decision: the old revision stays in force (RUNTIME, a new catalog).
func TestACatalogThatDoesNotCompileIsNotTaken(t *testing.T) {
	m := newMesh(t, 1, 8)
	var out telemetrytest.Log
	shelf := newShelf("r1", "r3")
	shelf.put("r2", fault.New(fault.Invalid, "compile catalog r2: it is bad"))
	stop := m.run(m.shelved(shelf, &out))
	for n, revision := range []string{"r1", "r2", "r3"} {
		m.raw(m.broker, "evt.control.0", &stagev1.Arrivals{Items: []*stagev1.Arrival{{
			Item: &stagev1.Arrival_Catalog{Catalog: &stagev1.CatalogApplied{Revision: revision}},
		}}})
		m.adds("ann", 1)
		want := []string{"r1", "r1", "r3"}[n]
		eventually(t, "in force after "+revision+": "+want, func() bool {
			view, err := m.store.Read(t.Context(), 0, state.Query{Metas: []string{"profile"}})
			return err == nil && view.Metas["profile"].Revision == want && (revision != "r2" || shelf.wasAsked("r2") > 0)
		})
	}
	stop()
	if !strings.Contains(out.String(), "revision=r2 in_force=r1") {
		t.Errorf("nothing says that r2 is not in force: %s", out.String())
	}
}
