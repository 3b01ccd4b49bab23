package decide

import (
	"fmt"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/journey"
)

// Happened returns what follows from an event: exits of running enrollments first, then entries, those of
// events that waited before the event's own. Ranking is left to Due, so that everything one input proposes
// competes. The error says that a running enrollment's journey is missing in env.
func Happened(s *decisionv1.State, ev journey.Event, r Rules, env Env) (*decisionv1.State, []*decisionv1.Fact, error) {
	t := newTurn(s, r, env)
	if t.s.GetClosed() {
		return t.s, nil, nil
	}
	if err := t.each(journey.Happened{Event: ev}); err != nil {
		return nil, nil, err
	}
	t.dropWaiting(ev)
	t.admit()
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
	for _, w := range t.s.GetWaiting() {
		t.fact(journey.Refused(w.GetJourney(), w.GetKey(), w.GetEvent(), reason))
	}
	t.s.Waiting, t.s.Closed = nil, true
	t.tidy()
	return t.s, t.facts, nil
}

// each gives one input to every running enrollment, in the order of entry. What is due may be left to the next turn.
func (t *turn) each(in journey.Input) error {
	running := t.s.GetEnrollments()
	t.s.Enrollments = nil
	_, timer := in.(journey.Due)
	sizes := make([]int, len(running))
	for n, e := range running {
		sizes[n] = e.SizeVT() + perEnrollment
		t.beside += sizes[n]
	}
	defer func() { t.beside = 0 }()
	for n, e := range running {
		if timer && t.full() {
			t.s.Enrollments = append(t.s.GetEnrollments(), running[n:]...)
			return nil
		}
		d, err := t.definition(e)
		if err != nil {
			return err
		}
		r, err := d.Step(e, in, t.journeyEnv())
		if err != nil {
			return err
		}
		t.beside -= sizes[n]
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
	past := journey.Past{Enrollments: t.s.GetEnrollments(), Entries: t.s.GetEntries(), Waiting: t.s.GetWaiting()}
	r, memory := d.Enter(ev, past, t.journeyEnv())
	if t.start(r) {
		t.remember(memory)
	}
}

// start carries out an entry, unless the customer's state has no capacity for it: then it is refused.
func (t *turn) start(r journey.Result) bool {
	if evidence := t.atLimit(r); evidence != "" {
		s := startedBy(r)
		if w := r.Wait; w != nil {
			s = &decisionv1.EnrollmentStarted{Journey: w.GetJourney(), Key: w.GetKey(), Event: w.GetEvent()}
		}
		t.fact(journey.Refused(s.GetJourney(), s.GetKey(), s.GetEvent(),
			t.reason(reasonv1.Code_CODE_ENROLLMENT_LIMIT, "Journey/"+s.GetJourney()+".entry", evidence)))
		return false
	}
	if r.Enrollment != nil {
		t.s.Enrollments = append(t.s.Enrollments, r.Enrollment)
	}
	if r.Wait != nil {
		t.s.Waiting = append(t.s.GetWaiting(), r.Wait)
	}
	t.follow(r, nil)
	return true
}

// atLimit returns why the state has no capacity for an entry; empty if it has.
func (t *turn) atLimit(r journey.Result) string {
	if startedBy(r) == nil && r.Wait == nil {
		return ""
	}
	if n := t.rules.maxEnrollments(); r.Wait == nil && len(t.s.GetEnrollments()) >= n {
		return fmt.Sprintf("%d enrollments are running", n)
	}
	if n := len(t.s.GetWaiting()); r.Wait != nil && n >= MaxWaiting {
		return fmt.Sprintf("%d events wait already", n)
	}
	if size := t.s.SizeVT() + r.Enrollment.SizeVT() + r.Wait.SizeVT(); size > MaxState {
		return fmt.Sprintf("the customer's enrollments and proposals would need %d bytes, of %d", size, MaxState)
	}
	// An action step copies what the enrollment keeps of its event into its proposal.
	copies := r.Enrollment.SizeVT()
	for _, e := range t.s.GetEnrollments() {
		if e.GetProposal() == "" {
			copies += contextSize(e.GetEvent())
		}
	}
	if size := t.s.SizeVT() + r.Wait.SizeVT() + copies + contextSize(r.Enrollment.GetEvent()); size > maxReserved {
		return fmt.Sprintf("the events of the customer's enrollments would need %d bytes, of %d", size, maxReserved)
	}
	return ""
}

func contextSize(properties []*eventv1.Property) int {
	n := 0
	for _, p := range properties {
		n += p.SizeVT() + 4 //nolint:mnd // a tag and a length
	}
	return n
}

func startedBy(r journey.Result) *decisionv1.EnrollmentStarted {
	if len(r.Facts) == 0 {
		return nil
	}
	return r.Facts[0].GetEnrollmentStarted()
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
		if d := t.journey(old.GetJourney()); d != nil && d.Forgettable(old, t.journeyEnv()) {
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
