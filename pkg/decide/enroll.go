package decide

import (
	"fmt"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/journey"
)

// Happened says what follows from an event: exits of running enrollments first, then entries. Ranking is
// left to Due, so that everything one input proposes competes. The error says that a running enrollment's
// journey is missing in env.
func Happened(s *decisionv1.State, ev journey.Event, r Rules, env Env) (*decisionv1.State, []*decisionv1.Fact, error) {
	t := newTurn(s, r, env)
	if t.s.GetClosed() {
		return t.s, nil, nil
	}
	if err := t.each(journey.Happened{Event: ev}); err != nil {
		return nil, nil, err
	}
	for _, d := range r.Journeys {
		t.enter(d, ev)
	}
	t.tidy()
	return t.s, t.facts, nil
}

// Link closes the state: its profile's identifier belongs to another profile now. Enrollments end,
// proposals are taken back, and nothing starts here any more.
func Link(s *decisionv1.State, cause string, r Rules, env Env) (*decisionv1.State, []*decisionv1.Fact, error) {
	t := newTurn(s, r, env)
	if err := t.each(journey.Linked{Cause: cause}); err != nil {
		return nil, nil, err
	}
	reason := t.reason(reasonv1.Code_CODE_IDENTITY_LINKED, "", "the identifier belongs to a known profile now")
	for _, p := range t.s.CloneVT().GetProposals() {
		t.withdraw(p.GetId(), reason)
	}
	t.s.Closed = true
	t.tidy()
	return t.s, t.facts, nil
}

// each gives one input to every running enrollment, in the order of entry.
func (t *turn) each(in journey.Input) error {
	running := t.s.GetEnrollments()
	t.s.Enrollments = nil
	for _, e := range running {
		d, err := t.definition(e)
		if err != nil {
			return err
		}
		r, err := d.Step(e, in, t.journeyEnv())
		if err != nil {
			return err
		}
		if r.Enrollment != nil {
			t.s.Enrollments = append(t.s.Enrollments, r.Enrollment)
		}
		t.follow(r, t.withdrawal(in, d))
	}
	return nil
}

// withdrawal is why an enrollment that ends takes its proposal back.
func (t *turn) withdrawal(in journey.Input, d *journey.Definition) *reasonv1.Reason {
	if _, ok := in.(journey.Linked); ok {
		return t.reason(reasonv1.Code_CODE_IDENTITY_LINKED, "", "the identifier belongs to a known profile now")
	}
	evidence := "the enrollment ended"
	if h, ok := in.(journey.Happened); ok {
		evidence = "the enrollment ended with " + h.Event.Name
	}
	return t.reason(reasonv1.Code_CODE_WITHDRAWN, "Journey/"+d.Name+".exit", evidence)
}

// follow carries out what a journey asks for.
func (t *turn) follow(r journey.Result, why *reasonv1.Reason) {
	t.facts = append(t.facts, r.Facts...)
	if r.Withdraw != "" {
		t.withdraw(r.Withdraw, why)
	}
	if r.Propose != nil {
		t.propose(r.Propose)
	}
}

func (t *turn) enter(d *journey.Definition, ev journey.Event) {
	past := journey.Past{Enrollments: t.s.GetEnrollments(), Entries: t.s.GetEntries()}
	r, memory := d.Enter(ev, past, t.journeyEnv())
	if started(r) && len(t.s.GetEnrollments()) >= MaxEnrollments {
		t.fact(&decisionv1.Fact{Fact: &decisionv1.Fact_EntryRefused{EntryRefused: &decisionv1.EntryRefused{
			Journey: d.Name,
			Reason:  t.reason(reasonv1.Code_CODE_PLACEMENT_FULL, "Journey/"+d.Name+".entry", fmt.Sprintf("%d enrollments are running", MaxEnrollments)),
		}}})
		return
	}
	if r.Enrollment != nil {
		t.s.Enrollments = append(t.s.Enrollments, r.Enrollment)
	}
	t.remember(memory)
	t.follow(r, nil)
}

func started(r journey.Result) bool {
	return len(r.Facts) > 0 && r.Facts[0].GetEnrollmentStarted() != nil
}

// remember notes an entry and forgets what has no effect any more.
func (t *turn) remember(m *decisionv1.EntryMemory) {
	if m == nil {
		return
	}
	var kept []*decisionv1.EntryMemory
	for _, old := range t.s.GetEntries() {
		if old.GetJourney() == m.GetJourney() && old.GetKey() == m.GetKey() {
			continue
		}
		if d := t.journey(old.GetJourney()); d != nil && d.Forgettable(old, t.env.Now) {
			continue
		}
		kept = append(kept, old)
	}
	kept = append(kept, m)
	t.s.Entries = kept[max(0, len(kept)-MaxEntries):]
}

func (t *turn) journey(name string) *journey.Definition {
	for _, d := range t.rules.Journeys {
		if d.Name == name {
			return d
		}
	}
	return nil
}
