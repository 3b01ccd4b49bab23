package decide

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/journey"
)

// Due does, with the profile at hand, everything that is due at env.Now, in this order: proposals whose
// validity ended expire; enrollments whose wait or proposal is over go on; events that waited for an
// enrollment to end enter; placements whose collection
// closes are decided; losers whose waiting time is over are superseded. Nothing due changes nothing. What
// this makes ready in turn is due at env.Now once more and left to the next call: one call does a bounded
// amount. If many enrollments are due, those beyond it go on with the next call, and nothing is ranked before all have.
func Due(s *decisionv1.State, r Rules, env Env) (*decisionv1.State, []*decisionv1.Fact, error) {
	t := newTurn(s, r, env)
	t.expire()
	if err := t.goOn(); err != nil {
		return nil, nil, err
	}
	t.admit()
	for _, st := range t.s.CloneVT().GetPlacements() {
		if t.over(st.GetClosesAt()) && !t.full() {
			t.close(st.GetPlacement())
		}
	}
	if !t.full() {
		t.supersede()
	}
	t.tidy()
	return t.s, t.facts, nil
}

func (t *turn) over(at *timestamppb.Timestamp) bool {
	return at != nil && !at.AsTime().After(t.env.Now)
}

func (t *turn) expire() {
	for _, p := range t.s.GetProposals() {
		if p.GetStatus() == open && t.over(p.GetValidUntil()) {
			t.resolve(p, decisionv1.Resolution_RESOLUTION_EXPIRED, t.expired(p))
		}
	}
}

func (t *turn) expired(p *decisionv1.Proposal) *reasonv1.Reason {
	evidence := "valid until " + p.GetValidUntil().AsTime().UTC().Format(time.RFC3339)
	if p.GetPlacement() == "" {
		evidence += "; no placement filled by the mesh takes it"
	}
	return t.reason(reasonv1.Code_CODE_PROPOSAL_EXPIRED, "Action/"+p.GetAction(), evidence)
}

// goOn lets every enrollment that waited long enough take its next steps.
func (t *turn) goOn() error { return t.each(journey.Due{}) }

func (t *turn) supersede() {
	for _, p := range t.s.GetProposals() {
		if p.GetStatus() == open && t.over(p.GetSupersededAt()) {
			t.resolve(p, decisionv1.Resolution_RESOLUTION_SUPERSEDED,
				t.reason(reasonv1.Code_CODE_SUPERSEDED, "Placement/"+p.GetPlacement()+".losers", "lost the ranking and was not chosen while it waited"))
		}
	}
}

// close ends a placement's collection and decides it.
func (t *turn) close(name string) {
	if st := t.placement(name); st != nil {
		st.ClosesAt = nil
	}
	p := t.rules.Placement(name)
	if p == nil || !p.ByMesh {
		t.replace(name)
		return
	}
	entrants := t.gathered(p)
	if len(entrants) == 0 {
		return
	}
	d := t.decision(p, t.slate(p, p.Size, entrants), entrants)
	t.fact(&decisionv1.Fact{Fact: &decisionv1.Fact_DecisionMade{DecisionMade: d}})
	treatments := map[string][]*decisionv1.TreatmentRef{}
	for i := range entrants {
		treatments[entrants[i].id()] = entrants[i].treatments
	}
	for _, c := range d.GetCandidates() {
		if q := t.find(c.GetProposal()); q != nil {
			t.settle(p, d.GetId(), q, c, treatments[q.GetId()])
		}
	}
}

// settle does with one proposal what the decision says about it.
func (t *turn) settle(p *Placement, decision string, q *decisionv1.Proposal, c *decisionv1.Candidate, refs []*decisionv1.TreatmentRef) {
	switch {
	case c.GetChosen():
		q.Status, q.SupersededAt = chosen, nil
		t.fact(&decisionv1.Fact{Fact: &decisionv1.Fact_DispatchTreatment{DispatchTreatment: &decisionv1.DispatchTreatment{
			Proposal: q.CloneVT(), Treatments: refs, Decision: decision,
		}}})
	case c.GetRank() == 0:
		t.resolve(q, decisionv1.Resolution_RESOLUTION_SUPPRESSED, c.GetReasons()...)
	case q.GetSupersededAt() == nil:
		until := p.LosersWait.AddTo(t.env.Now, time.UTC)
		if until.After(t.env.Now) {
			q.SupersededAt = timestamppb.New(until)
			return
		}
		t.resolve(q, decisionv1.Resolution_RESOLUTION_SUPERSEDED, c.GetReasons()...)
	}
}

// gathered returns the open proposals of a placement as entrants, in the order made.
func (t *turn) gathered(p *Placement) []entrant {
	var out []entrant
	for _, q := range t.s.GetProposals() {
		if q.GetStatus() != open || q.GetPlacement() != p.Name {
			continue
		}
		out = append(out, t.entrant(p, q.GetAction(), q, Fast))
	}
	return out
}

// entrant judges one action, or one proposal of it, for a placement, contact policy apart.
func (t *turn) entrant(p *Placement, action string, q *decisionv1.Proposal, mode Mode) entrant {
	e := entrant{name: action, proposal: q, action: t.rules.Actions[action]}
	if e.action == nil {
		e.reasons = append(e.reasons, t.noTreatment(action, "the action is not in the catalog"))
		return e
	}
	e.treatments = p.Treatments(e.action, t.rules.Pull)
	if len(e.treatments) == 0 {
		e.reasons = append(e.reasons, t.noTreatment(action, "placement "+p.Name+" takes none of its treatments"))
		if mode == Fast {
			return e
		}
	}
	e.reasons = append(e.reasons, t.refusals(e.action, mode)...)
	return e
}

// decision is the record of a ranking; its id derives from customer, placement, time and who took part.
func (t *turn) decision(p *Placement, candidates []*decisionv1.Candidate, entrants []entrant) *decisionv1.DecisionMade {
	parts := make([]string, 0, len(entrants)+5)
	parts = append(parts, "decision", t.s.GetTenant(), t.customer(), p.Name, t.env.Now.UTC().Format(time.RFC3339Nano))
	for i := range entrants {
		parts = append(parts, entrants[i].id())
	}
	return &decisionv1.DecisionMade{
		Id: identity.Derive(parts...), Placement: p.Name, Candidates: candidates, ProfileVersion: t.env.ProfileVersion,
	}
}

// replace gives the proposals of a placement that is gone to the placement that takes them now.
func (t *turn) replace(gone string) {
	for _, q := range t.s.GetProposals() {
		if q.GetStatus() != open || q.GetPlacement() != gone {
			continue
		}
		q.Placement = ""
		if a := t.rules.Actions[q.GetAction()]; a != nil {
			if m := t.rules.mesh(a); m != nil {
				q.Placement = m.Name
				t.gather(m.Name)
			}
		}
	}
}
