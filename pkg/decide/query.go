package decide

import (
	"slices"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
)

// Contact is a contact that a candidate would make.
type Contact struct {
	// Proposal that the candidate comes from; empty for none.
	Proposal  string
	Action    *Action
	Treatment *decisionv1.TreatmentRef
}

// Check says why a contact would not be allowed now; nothing if it would. In Explain mode it gives every
// reason, in Fast mode one is enough. It is pure: the ledger and the policies are inside it. Its answer is
// advisory, suppression's counts.
type Check func(c Contact, mode Mode) []*reasonv1.Reason

// Question is what a query asks.
type Question struct {
	Placement *Placement
	// Limit is the greatest number of chosen candidates; 0 means the placement's size.
	Limit int
	Mode  Mode
	// Check of the contact policy; nil checks nothing.
	Check Check
}

// Query ranks what could be done now in a placement: its own actions and every open proposal with a
// treatment for it. It has no effect. Every candidate is there exactly once, chosen or with a reason; an
// action that has an open proposal takes part through its proposals only.
func Query(s *decisionv1.State, q Question, r Rules, env Env) *decisionv1.DecisionMade {
	t := &turn{s: s, rules: r, env: env}
	entrants := make([]entrant, 0, len(q.Placement.Actions)+len(s.GetProposals()))
	proposed := make(map[string]bool, cap(entrants))
	for _, p := range s.GetProposals() {
		if p.GetStatus() != open || t.over(p.GetValidUntil()) {
			continue
		}
		if a := r.Actions[p.GetAction()]; a == nil || len(q.Placement.Treatments(a, r.Pull)) == 0 {
			continue
		}
		proposed[p.GetAction()] = true
		entrants = append(entrants, t.judged(q, p.GetAction(), p))
	}
	for _, name := range q.Placement.Actions {
		if !proposed[name] {
			proposed[name] = true
			entrants = append(entrants, t.judged(q, name, nil))
		}
	}
	size := q.Placement.Size
	if q.Limit > 0 {
		size = q.Limit
	}
	d := t.decision(q.Placement, t.slate(q.Placement, size, entrants), entrants)
	return d
}

// judged runs the gates and the contact policy: the treatments that may be used remain.
func (t *turn) judged(q Question, action string, p *decisionv1.Proposal) entrant {
	e := t.entrant(q.Placement, action, p, q.Mode)
	if q.Check == nil || e.action == nil || (len(e.reasons) > 0 && q.Mode == Fast) {
		return e
	}
	var refused []*reasonv1.Reason
	allowed := slices.DeleteFunc(slices.Clone(e.treatments), func(tr *decisionv1.TreatmentRef) bool {
		no := q.Check(Contact{Proposal: p.GetId(), Action: e.action, Treatment: tr}, q.Mode)
		refused = append(refused, no...)
		return len(no) > 0
	})
	if len(allowed) > 0 {
		e.treatments = allowed
		return e
	}
	e.reasons = append(e.reasons, refused...)
	return e
}
