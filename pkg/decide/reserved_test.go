package decide_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/journey"
)

// largeEvents is a customer whose journey keeps everything of its events and proposes a day later.
type largeEvents struct {
	rules decide.Rules
	env   decide.Env
	state *decisionv1.State
	n     int
}

// failer is a test, of either kind.
type failer interface{ Fatal(args ...any) }

func newLargeEvents(t failer) *largeEvents {
	env, err := expr.NewEnv(expr.Schema{})
	if err != nil {
		t.Fatal(err)
	}
	a, problems := decide.CompileAction(&definitionv1.Metadata{Name: "a"}, &definitionv1.Action{
		Purpose: "service", Treatments: []*definitionv1.Treatment{{Id: "m", Channel: "email"}},
	}, env)
	p, more := decide.CompilePlacement(&definitionv1.Metadata{Name: "p"}, &definitionv1.Placement{Filled: "by_mesh", Collect: "P1D"})
	d, others := journey.Compile("j", &definitionv1.Journey{
		Entry: &definitionv1.Entry{Event: "order"}, Key: "event.id", Reentry: "always",
		Steps: []*definitionv1.Step{{Id: "w", Wait: "P1D"}, {Id: "a", Action: "a"}},
	}, env)
	if len(problems)+len(more)+len(others) > 0 {
		t.Fatal(problems, more, others)
	}
	d.Need(expr.Reads{All: true})
	return &largeEvents{
		rules: decide.Rules{Revision: "r", Actions: map[string]*decide.Action{"a": a}, Placements: []*decide.Placement{p}, Journeys: []*journey.Definition{d}},
		env:   decide.Env{Now: time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), Pinned: map[string]*journey.Definition{d.Hash: d}},
		state: &decisionv1.State{Tenant: "default", Customer: []byte("customer-0123456")},
	}
}

// order enters with a property of n bytes; the reason says why not.
func (l *largeEvents) order(t failer, n int) *reasonv1.Reason {
	l.n++
	e := &eventv1.Event{
		Id: fmt.Sprint(l.n), Type: "order", At: timestamppb.New(l.env.Now),
		Properties: []*eventv1.Property{{Name: "items", Value: event.Text(strings.Repeat("x", n))}},
	}
	s, facts, err := decide.Happened(l.state, journey.Event{Name: "order", Event: e, Fresh: l.env.Now.Add(time.Hour)}, l.rules, l.env)
	if err != nil {
		t.Fatal(err)
	}
	l.state = s
	for _, f := range facts {
		if r := f.GetEntryRefused().GetReason(); r != nil {
			return r
		}
	}
	return nil
}

// wake lets the waits end, so that every enrollment proposes.
func (l *largeEvents) wake(t failer) {
	l.env.Now = l.env.Now.Add(25 * time.Hour)
	s, _, err := decide.Due(l.state, l.rules, l.env)
	if err != nil {
		t.Fatal(err)
	}
	l.state = s
}

// What running enrollments keep of their events is copied into their proposals: an entry that would not leave capacity for
// the copies is refused, so that no step fails later.
func TestAnEntryLeavesCapacityForWhatEnrollmentsPropose(t *testing.T) {
	l := newLargeEvents(t)
	for range 2 {
		if no := l.order(t, 12<<10); no != nil {
			t.Fatalf("refused: %v", no)
		}
	}
	no := l.order(t, 12<<10)
	if no.GetCode() != reasonv1.Code_CODE_ENROLLMENT_LIMIT || !strings.Contains(strings.Join(no.GetEvidence(), " "), "of 61440") {
		t.Errorf("the third order of 12 KiB: %v, want ENROLLMENT_LIMIT at 61440 bytes", no)
	}
	if no := l.order(t, 100); no != nil {
		t.Errorf("a small order is refused: %v", no)
	}
	l.wake(t)
	if n := len(l.state.GetProposals()); n != 3 {
		t.Fatalf("%d proposals, want one for each of the three orders", n)
	}
	for i, want := range []int{12 << 10, 12 << 10, 100} {
		if got := len(l.state.GetProposals()[i].GetContext()[0].GetValue().GetText()); got != want {
			t.Errorf("proposal %d has %d bytes of its event, want %d", i, got, want)
		}
	}
}

func TestNoStateOutgrowsItsRowWhateverIsPublished(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLargeEvents(t)
		for range rapid.IntRange(1, 40).Draw(t, "orders") {
			if no := l.order(t, rapid.IntRange(0, journey.MaxContext+100).Draw(t, "bytes")); no != nil && len(no.GetEvidence()) == 0 {
				t.Fatal("refused without evidence")
			}
			if rapid.IntRange(0, 9).Draw(t, "wake") == 0 {
				l.wake(t)
			}
			if n := l.state.SizeVT(); n > 64<<10 {
				t.Fatalf("the state has %d bytes", n)
			}
		}
		l.wake(t)
		if n := l.state.SizeVT(); n > 64<<10 {
			t.Fatalf("with its proposals the state has %d bytes", n)
		}
	})
}
