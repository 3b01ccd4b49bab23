package decide_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/journey"
	"refrain.dev/pkg/journey/scripttest"
)

// model drives one customer at random and remembers what was promised about every proposal.
type model struct {
	env        *expr.Env
	rules      decide.Rules
	pinned     map[string]*journey.Definition
	now        time.Time
	state      *decisionv1.State
	made       map[string]int
	dispatched map[string]int
	resolved   map[string]int
	// entries counts, per event and journey, the entries that were made or refused.
	entries map[string]int
	orders  []string
	events  int
}

func newModel(t *rapid.T, env *expr.Env) *model {
	m := &model{
		env: env, now: time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), pinned: map[string]*journey.Definition{},
		state: &decisionv1.State{Tenant: "default", Customer: []byte("customer-0123456")},
		made:  map[string]int{}, dispatched: map[string]int{}, resolved: map[string]int{}, entries: map[string]int{},
		rules: decide.Rules{Revision: "r", Actions: map[string]*decide.Action{}, Pull: map[string]bool{"web": true}},
	}
	for i, value := range []string{"1.0", "traits.spent", "5.0"} {
		a, _ := decide.CompileAction(&definitionv1.Metadata{Name: fmt.Sprintf("a%d", i)}, &definitionv1.Action{
			Purpose: "marketing", Value: value, Class: int32(i % 2), Eligibility: rapid.SampledFrom([]string{"", "traits.vip"}).Draw(t, "gate"),
			Treatments: []*definitionv1.Treatment{{Id: "t", Channel: rapid.SampledFrom([]string{"email", "push", "web"}).Draw(t, "channel")}},
		}, env)
		m.rules.Actions[a.Name] = a
	}
	period := rapid.SampledFrom([]string{"PT0S", "PT10M", "P1D"})
	for _, name := range []string{"out", "push"} {
		spec := &definitionv1.Placement{
			Filled: "by_mesh", Collect: period.Draw(t, "collect"), Losers: &definitionv1.Losers{Wait: period.Draw(t, "wait")},
			Size: rapid.Uint32Range(1, 2).Draw(t, "size"),
		}
		if name == "out" {
			spec.Takes = &definitionv1.Takes{Channel: []string{"email"}}
		}
		p, _ := decide.CompilePlacement(&definitionv1.Metadata{Name: name}, spec)
		m.rules.Placements = append(m.rules.Placements, p)
	}
	for i := range 3 {
		d, problems := journey.Compile(fmt.Sprintf("j%d", i), &definitionv1.Journey{
			Entry:   &definitionv1.Entry{Event: "order_placed"},
			Reentry: rapid.SampledFrom([]string{"never", "always", "after P1D"}).Draw(t, "reentry"),
			Exit:    []*definitionv1.Exit{{Event: "cancelled"}},
			Steps: []*definitionv1.Step{
				{Id: "one", Action: fmt.Sprintf("a%d", i), Until: "P2D"}, {Id: "w", Wait: period.Draw(t, "w")}, {Id: "two", Action: "a0"},
			},
		}, env)
		if len(problems) > 0 {
			t.Fatalf("compile: %v", problems)
		}
		m.rules.Journeys = append(m.rules.Journeys, d)
		m.pinned[d.Hash] = d
	}
	return m
}

func (m *model) deciding() decide.Env {
	env := decide.Env{Now: m.now, Pinned: m.pinned}
	env.Traits = append(env.Traits, scripttest.Trait("spent", "0.0"), scripttest.Trait("vip", fmt.Sprint(m.events%2 == 0)))
	return env
}

type call func(*decisionv1.State) (*decisionv1.State, []*decisionv1.Fact, error)

// do runs a call twice: the results are equal and the argument is as it was.
func (m *model) do(t *rapid.T, run call) {
	before := m.state.CloneVT()
	s, facts, err := run(m.state)
	again, moreFacts, _ := run(m.state)
	if err != nil {
		t.Fatalf("decide: %v", err)
	}
	if !m.state.EqualVT(before) {
		t.Fatal("the argument was changed")
	}
	if !s.EqualVT(again) || len(facts) != len(moreFacts) {
		t.Fatal("equal arguments gave different results")
	}
	for i := range facts {
		if !facts[i].EqualVT(moreFacts[i]) {
			t.Fatalf("equal arguments gave different facts: %v and %v", facts[i], moreFacts[i])
		}
	}
	m.state = s
	m.note(t, facts)
	if n := len(s.GetProposals()); n > decide.MaxProposals {
		t.Fatalf("%d proposals are open", n)
	}
}

func (m *model) note(t *rapid.T, facts []*decisionv1.Fact) {
	for _, f := range facts {
		switch x := f.GetFact().(type) {
		case *decisionv1.Fact_ProposalMade:
			m.made[x.ProposalMade.GetProposal().GetId()]++
		case *decisionv1.Fact_DispatchTreatment:
			m.dispatched[x.DispatchTreatment.GetProposal().GetId()]++
		case *decisionv1.Fact_ProposalResolved:
			m.resolved[x.ProposalResolved.GetProposal()]++
		case *decisionv1.Fact_DecisionMade:
			total(t, x.DecisionMade)
		case *decisionv1.Fact_EnrollmentStarted:
			m.entries[x.EnrollmentStarted.GetEvent()+" "+x.EnrollmentStarted.GetJourney()]++
		case *decisionv1.Fact_EntryRefused:
			m.entries[x.EntryRefused.GetEvent()+" "+x.EntryRefused.GetJourney()]++
		}
	}
}

// total checks that every candidate is there once, chosen or with a reason, and no_action among them.
func total(t *rapid.T, d *decisionv1.DecisionMade) {
	seen := map[string]bool{}
	nothing := false
	for _, c := range d.GetCandidates() {
		id := c.GetAction() + "/" + c.GetProposal()
		if seen[id] {
			t.Fatalf("candidate %s is there twice", id)
		}
		seen[id] = true
		nothing = nothing || c.GetAction() == decide.NoAction
		if c.GetChosen() == (len(c.GetReasons()) > 0) {
			t.Fatalf("candidate %s: chosen=%v with reasons %v", id, c.GetChosen(), c.GetReasons())
		}
	}
	if !nothing {
		t.Fatal("doing nothing is not a candidate")
	}
}

func (m *model) due(t *rapid.T) {
	m.do(t, func(s *decisionv1.State) (*decisionv1.State, []*decisionv1.Fact, error) {
		return decide.Due(s, m.rules, m.deciding())
	})
}

// until fires every timer up to an instant; they must come to rest.
func (m *model) until(t *rapid.T, end time.Time) {
	for range 500 {
		wake := decide.Wake(m.state)
		if wake.IsZero() || wake.After(end) {
			m.now = end
			return
		}
		if wake.After(m.now) {
			m.now = wake
		}
		m.due(t)
	}
	t.Fatal("the timers do not come to rest")
}

func (m *model) event(t *rapid.T, name string, late bool) {
	m.events++
	ev := journey.Event{
		Name: name, Late: late, Fresh: m.now.Add(2 * time.Hour),
		Event: &eventv1.Event{Id: fmt.Sprint("e", m.events), Type: name, At: timestamppb.New(m.now)},
	}
	if name == "order_placed" {
		m.orders = append(m.orders, ev.Event.GetId())
	}
	m.do(t, func(s *decisionv1.State) (*decisionv1.State, []*decisionv1.Fact, error) {
		return decide.Happened(s, ev, m.rules, m.deciding())
	})
	m.due(t)
}

// verdict resolves a proposal that the chain after has; a repeat of it changes nothing.
func (m *model) verdict(t *rapid.T, p *decisionv1.Proposal, how decisionv1.Resolution) {
	f := &decisionv1.ProposalResolved{Proposal: p.GetId(), Resolution: how}
	resolve := func(s *decisionv1.State) (*decisionv1.State, []*decisionv1.Fact, error) {
		out, err := decide.Resolved(s, f, m.rules, m.deciding())
		return out, nil, err
	}
	m.resolved[p.GetId()]++
	m.do(t, resolve)
	once := m.state
	m.do(t, resolve)
	m.do(t, resolve)
	if !once.EqualVT(m.state) {
		t.Fatal("a repeated resolution changed the state")
	}
}

func (m *model) handed() []*decisionv1.Proposal {
	var out []*decisionv1.Proposal
	for _, p := range m.state.GetProposals() {
		if p.GetStatus() != decisionv1.ProposalStatus_PROPOSAL_STATUS_OPEN {
			out = append(out, p)
		}
	}
	return out
}

func TestEveryProposalIsResolvedExactlyOnce(t *testing.T) {
	env := schema(t)
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t, env)
		how := rapid.SampledFrom([]decisionv1.Resolution{
			decisionv1.Resolution_RESOLUTION_SENT, decisionv1.Resolution_RESOLUTION_SUPPRESSED, decisionv1.Resolution_RESOLUTION_UNKNOWN,
		})
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0, 1:
				m.event(t, rapid.SampledFrom([]string{"order_placed", "order_placed", "cancelled"}).Draw(t, "event"), rapid.IntRange(0, 9).Draw(t, "late") == 0)
			case 2:
				m.until(t, m.now.Add(rapid.SampledFrom([]time.Duration{time.Minute, time.Hour, 25 * time.Hour}).Draw(t, "by")))
			case 3:
				if all := m.handed(); len(all) > 0 {
					m.verdict(t, rapid.SampledFrom(all).Draw(t, "p"), how.Draw(t, "how"))
				}
			case 4:
				q := decide.Question{Placement: m.rules.Placements[0], Mode: decide.Mode(rapid.IntRange(0, 1).Draw(t, "mode"))}
				total(t, decide.Query(m.state, q, m.rules, m.deciding()))
			}
		}
		if rapid.Bool().Draw(t, "link") {
			m.do(t, func(s *decisionv1.State) (*decisionv1.State, []*decisionv1.Fact, error) {
				return decide.Link(s, "identify", m.rules, m.deciding())
			})
		}
		m.settle(t)
		for id, n := range m.made {
			if n != 1 || m.resolved[id] != 1 || m.dispatched[id] > 1 {
				t.Fatalf("proposal %s: made %d times, dispatched %d, resolved %d", id, n, m.dispatched[id], m.resolved[id])
			}
		}
		m.everyOrderEnteredOrRefused(t)
		if len(m.state.GetProposals())+len(m.state.GetEnrollments())+len(m.state.GetPlacements())+len(m.state.GetWaiting()) != 0 {
			t.Fatalf("something is left: %v", m.state)
		}
	})
}

// everyOrderEnteredOrRefused checks that no event that starts a journey was passed over in silence.
func (m *model) everyOrderEnteredOrRefused(t *rapid.T) {
	for _, order := range m.orders {
		for _, d := range m.rules.Journeys {
			if n := m.entries[order+" "+d.Name]; n != 1 {
				t.Fatalf("event %s: %d entries or refusals of journey %s, want 1", order, n, d.Name)
			}
		}
	}
}

// settle lets everything end.
func (m *model) settle(t *rapid.T) {
	for range 200 {
		m.until(t, m.now.Add(30*24*time.Hour))
		all := m.handed()
		if len(all) == 0 && decide.Wake(m.state).IsZero() {
			return
		}
		for _, p := range all {
			m.verdict(t, p, decisionv1.Resolution_RESOLUTION_SENT)
		}
	}
	t.Fatal("it does not settle")
}

// The explained query and the fast one agree on what is chosen, and what the fast one refuses has its
// first reason.
func TestExplainAgreesWithTheFastPath(t *testing.T) {
	env := schema(t)
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t, env)
		p, _ := decide.CompilePlacement(&definitionv1.Metadata{Name: "web"}, &definitionv1.Placement{
			Filled: "on_request", Actions: []string{"a0", "a1", "a2", "nobody"}, Size: rapid.Uint32Range(1, 3).Draw(t, "size"),
		})
		for range rapid.IntRange(0, 3).Draw(t, "orders") {
			m.event(t, "order_placed", false)
		}
		refused := rapid.SampledFrom([]string{"", "a0", "a2"}).Draw(t, "refused")
		q := decide.Question{Placement: p, Check: func(c decide.Contact, _ decide.Mode) []*reasonv1.Reason {
			if c.Action.Name == refused {
				return []*reasonv1.Reason{{Code: reasonv1.Code_CODE_CAP_REACHED}}
			}
			return nil
		}}
		fast := decide.Query(m.state, q, m.rules, m.deciding())
		q.Mode = decide.Explain
		slow := decide.Query(m.state, q, m.rules, m.deciding())
		total(t, fast)
		total(t, slow)
		if len(fast.GetCandidates()) != len(slow.GetCandidates()) {
			t.Fatalf("got %d candidates, want %d", len(fast.GetCandidates()), len(slow.GetCandidates()))
		}
		for i, c := range fast.GetCandidates() {
			s := slow.GetCandidates()[i]
			if c.GetAction() != s.GetAction() || c.GetChosen() != s.GetChosen() || c.GetRank() != s.GetRank() {
				t.Fatalf("fast %v, slow %v", c, s)
			}
			if len(c.GetReasons()) > 0 && !c.GetReasons()[0].EqualVT(s.GetReasons()[0]) {
				t.Fatalf("%s: the fast path says %v, the slow one %v", c.GetAction(), c.GetReasons()[0], s.GetReasons()[0])
			}
		}
	})
}

func BenchmarkQuery(b *testing.B) {
	env := schema(b)
	rules := decide.Rules{Revision: "r", Actions: map[string]*decide.Action{}}
	spec := &definitionv1.Placement{Filled: "on_request"}
	for i := range 100 {
		name := fmt.Sprintf("a%03d", i)
		a, problems := decide.CompileAction(&definitionv1.Metadata{Name: name}, &definitionv1.Action{
			Purpose: "marketing", Eligibility: fmt.Sprintf("traits.spent > %d.0", i), Value: "traits.spent * 0.1", Propensity: "traits.p",
			Treatments: []*definitionv1.Treatment{{Id: "t", Channel: "web"}},
		}, env)
		if len(problems) > 0 {
			b.Fatal(problems)
		}
		rules.Actions[name] = a
		spec.Actions = append(spec.Actions, name)
	}
	p, _ := decide.CompilePlacement(&definitionv1.Metadata{Name: "web"}, spec)
	deciding := decide.Env{Now: time.Unix(1, 0)}
	deciding.Traits = append(deciding.Traits, scripttest.Trait("p", "0.25"), scripttest.Trait("spent", "50.5"))
	s := &decisionv1.State{Tenant: "default", Customer: []byte("customer-0123456")}
	b.ReportAllocs()
	for b.Loop() {
		decide.Query(s, decide.Question{Placement: p}, rules, deciding)
	}
}
