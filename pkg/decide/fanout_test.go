package decide_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/journey"
)

// perTurn is the most that one call may lead to: a record has 512 KiB, and beside the facts it has the state and a line
// of the timeline for each fact.
const perTurn = 440 << 10

// longWay is a customer with many enrollments that all take the same number of steps before they propose.
func longWay(t *testing.T, enrollments, steps int) *largeEvents {
	t.Helper()
	l := newLargeEvents(t)
	env, err := expr.NewEnv(expr.Schema{})
	if err != nil {
		t.Fatal(err)
	}
	spec := &definitionv1.Journey{
		Entry: &definitionv1.Entry{Event: "order"}, Key: "event.id", Reentry: "always", Steps: []*definitionv1.Step{{Id: "w", Wait: "P1D"}},
	}
	for n := range steps {
		spec.Steps = append(spec.Steps, &definitionv1.Step{Id: fmt.Sprint("b", n), Branch: []*definitionv1.Case{{When: "false", Exit: true}}})
	}
	spec.Steps = append(spec.Steps, &definitionv1.Step{Id: "a", Action: "a"})
	d, problems := journey.Compile("j", spec, env)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	l.rules.Journeys, l.env.Pinned = []*journey.Definition{d}, map[string]*journey.Definition{d.Hash: d}
	for n := range enrollments {
		if no := l.order(t, 1); no != nil {
			t.Fatalf("enrollment %d is refused: %v", n, no)
		}
	}
	return l
}

// turns lets everything happen that is due within a minute, one call after the other, and returns what each led to.
func (l *largeEvents) turns(t *testing.T) (all [][]*decisionv1.Fact) {
	t.Helper()
	for wake := decide.Wake(l.state); !wake.IsZero() && !wake.After(l.env.Now); wake = decide.Wake(l.state) {
		s, facts, err := decide.Due(l.state, l.rules, l.env)
		if err != nil {
			t.Fatal(err)
		}
		l.state = s
		all = append(all, facts)
		if len(all) > 1000 {
			t.Fatal("it does not come to rest")
		}
	}
	return all
}

func weight(s *decisionv1.State, facts []*decisionv1.Fact) int {
	n := s.SizeVT()
	for _, f := range facts {
		n += f.SizeVT() + 1200
	}
	return n
}

// What many enrollments that are due at once lead to does not fit a record: it goes into several turns, each due at once,
// and what competes is ranked when all have gone on.
func TestWhatIsDueAtOnceGoesIntoAsManyTurnsAsItNeeds(t *testing.T) {
	l := longWay(t, 60, 120)
	l.env.Now = l.env.Now.Add(25 * time.Hour)
	proposed := 0
	turns := l.turns(t)
	for n, facts := range turns {
		if w := weight(l.state, facts); w > perTurn {
			t.Errorf("turn %d leads to %d bytes, want at most %d", n, w, perTurn)
		}
		for _, f := range facts {
			if f.GetProposalMade() != nil {
				proposed++
			}
		}
	}
	if len(turns) < 10 || proposed != 60 {
		t.Errorf("%d turns have made %d proposals, want at least 10 and all 60", len(turns), proposed)
	}
	l.env.Now = l.env.Now.Add(25 * time.Hour)
	for _, facts := range l.turns(t) {
		if w := weight(l.state, facts); w > perTurn {
			t.Errorf("the ranking leads to %d bytes, want at most %d", w, perTurn)
		}
	}
	for _, p := range l.state.GetProposals() {
		if p.GetStatus() == decisionv1.ProposalStatus_PROPOSAL_STATUS_OPEN && p.GetSupersededAt() == nil {
			t.Errorf("proposal %s is open after the ranking", p.GetId())
		}
	}
}

// Events wait for running enrollments to end within a bound, and enter in as many turns as they need.
func TestEventsThatWaitAreBoundedAndAllEnterOrAreRefused(t *testing.T) {
	l := longWay(t, 0, 0)
	spec := &definitionv1.Journey{
		Entry: &definitionv1.Entry{Event: "order"}, Key: "event.type", Reentry: "always", Exit: []*definitionv1.Exit{{Event: "refund"}},
		Steps: []*definitionv1.Step{{Id: "w", Wait: "P1D"}},
	}
	env, err := expr.NewEnv(expr.Schema{})
	if err != nil {
		t.Fatal(err)
	}
	l.rules.Journeys = nil
	for n := range 20 {
		d, problems := journey.Compile(fmt.Sprint("j", n), spec, env)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		l.rules.Journeys = append(l.rules.Journeys, d)
		l.env.Pinned[d.Hash] = d
	}
	var limits int
	for range 12 {
		l.n++
		e := &eventv1.Event{Id: fmt.Sprint(l.n), Type: "order", At: timestamppb.New(l.env.Now)}
		s, facts, err := decide.Happened(l.state, journey.Event{Name: "order", Event: e, Fresh: l.env.Now.Add(48 * time.Hour)}, l.rules, l.env)
		if err != nil {
			t.Fatal(err)
		}
		l.state = s
		for _, f := range facts {
			if f.GetEntryRefused().GetReason().GetCode() == reasonv1.Code_CODE_ENROLLMENT_LIMIT {
				limits++
			}
		}
	}
	if n := len(l.state.GetWaiting()); n != decide.MaxWaiting || limits == 0 {
		t.Errorf("%d events wait and %d were refused, want %d and some", n, limits, decide.MaxWaiting)
	}
	l.env.Now = l.env.Now.Add(25 * time.Hour)
	entered := 0
	for _, facts := range l.turns(t) {
		for _, f := range facts {
			if f.GetEnrollmentStarted() != nil {
				entered++
			}
		}
		if w := weight(l.state, facts); w > perTurn {
			t.Errorf("a turn leads to %d bytes, want at most %d", w, perTurn)
		}
	}
	if entered != 20 {
		t.Errorf("%d of those that waited have entered, want one of each journey", entered)
	}
}

// However enrollments with large and with small events meet, the state has room for what they propose, or says why one is
// not kept; no turn leads to a row that cannot be written.
func TestProposalsFitTheStateOrSayWhyNot(t *testing.T) {
	for _, test := range [][]struct{ count, size int }{{{3, 9000}, {90, 1}}, {{5, 9000}, {70, 1}}, {{63, 330}, {1, 4000}}, {{40, 300}, {1, 9000}}} {
		l := newLargeEvents(t)
		for _, orders := range test {
			for range orders.count {
				l.order(t, orders.size)
			}
		}
		entered := len(l.state.GetEnrollments())
		l.env.Now = l.env.Now.Add(25 * time.Hour)
		made, ends := 0, map[reasonv1.Code]int{}
		for _, facts := range l.turns(t) {
			if n := l.state.SizeVT(); n > 64<<10 {
				t.Errorf("%+v: the state has %d bytes", test, n)
			}
			for _, f := range facts {
				if f.GetProposalMade() != nil {
					made++
				}
				for _, no := range f.GetProposalResolved().GetReasons() {
					ends[no.GetCode()]++
				}
			}
		}
		kept := len(l.state.GetProposals())
		if made != entered || kept == 0 || kept+ends[reasonv1.Code_CODE_PLACEMENT_FULL] != made {
			t.Errorf("%+v: of %d enrollments %d have proposed, %d proposals are kept, and %v are not", test, entered, made, kept, ends)
		}
	}
}
