package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/journey"
)

const (
	open        = decisionv1.ProposalStatus_PROPOSAL_STATUS_OPEN
	chosen      = decisionv1.ProposalStatus_PROPOSAL_STATUS_CHOSEN
	withdrawing = decisionv1.ProposalStatus_PROPOSAL_STATUS_WITHDRAWING
)

// Resolved takes a resolution from the chain after: the proposal is over, what waits for it becomes ready,
// and where unchosen proposals of its placement still wait, they compete again: at once if it was blocked, and
// else when nothing that the placement chose is under way any more. Both are left to a wake-up that is due
// now, because going on needs the profile. A proposal that is not known any more changes nothing.
func Resolved(s *decisionv1.State, f *decisionv1.ProposalResolved, r Rules, env Env) (*decisionv1.State, error) {
	t := newTurn(s, r, env)
	p := t.find(f.GetProposal())
	if p == nil {
		return t.s, nil
	}
	t.remove(p.GetId())
	if err := t.each(journey.Resolved{Proposal: p.GetId()}); err != nil {
		return nil, err
	}
	blocked := f.GetResolution() == decisionv1.Resolution_RESOLUTION_SUPPRESSED
	if t.waiting(p.GetPlacement()) && (blocked || !t.underWay(p.GetPlacement())) {
		t.collect(p.GetPlacement(), env.Now)
	}
	t.tidy()
	return t.s, nil
}

// Wake is the earliest instant at which something in s is due; the zero time if nothing ever is.
func Wake(s *decisionv1.State) time.Time {
	var wake time.Time
	earlier := func(at *timestamppb.Timestamp) {
		if at != nil && (wake.IsZero() || at.AsTime().Before(wake)) {
			wake = at.AsTime()
		}
	}
	for _, e := range s.GetEnrollments() {
		if e.GetProposal() == "" {
			earlier(e.GetWakeAt())
		}
	}
	for _, p := range s.GetProposals() {
		if p.GetStatus() == open {
			earlier(p.GetValidUntil())
			earlier(p.GetSupersededAt())
		}
	}
	for _, p := range s.GetPlacements() {
		earlier(p.GetClosesAt())
	}
	for _, w := range s.GetWaiting() {
		earlier(w.GetUntil())
		if !running(s, w) {
			earlier(w.GetSince()) // it enters at once
		}
	}
	return wake
}

// propose makes a proposal and gives it to the first placement filled by the mesh that takes it. One that
// cannot be kept is resolved at once, so that every proposal made is resolved once.
func (t *turn) propose(j *journey.Proposal) {
	if t.find(j.ID) != nil {
		return
	}
	p := &decisionv1.Proposal{
		Id: j.ID, Action: j.Action, Cause: j.Cause, Context: j.Context, Status: open,
		ValidFrom: timestamppb.New(t.env.Now), ValidUntil: timestamppb.New(j.ValidUntil), MadeAt: timestamppb.New(t.env.Now),
	}
	a := t.rules.Actions[j.Action]
	if a != nil {
		p.Purpose, p.Class, p.Labels = a.Purpose, a.Class, a.Labels
		if m := t.rules.mesh(a); m != nil {
			p.Placement = m.Name
		}
	}
	t.fact(&decisionv1.Fact{Fact: &decisionv1.Fact_ProposalMade{ProposalMade: &decisionv1.ProposalMade{Proposal: p.CloneVT()}}})
	full := t.noRoom(p)
	t.s.Proposals = append(t.s.Proposals, p)
	switch {
	case a == nil:
		t.resolve(p, decisionv1.Resolution_RESOLUTION_SUPPRESSED,
			t.reason(reasonv1.Code_CODE_NO_TREATMENT, "Action/"+j.Action, "the action is not in the catalog"))
	case full != "":
		t.resolve(p, decisionv1.Resolution_RESOLUTION_SUPPRESSED, t.reason(reasonv1.Code_CODE_PLACEMENT_FULL, "", full))
	case p.GetPlacement() != "":
		t.gather(p.GetPlacement())
	}
}

// noRoom returns why the state has no room for one more proposal; empty if it has.
func (t *turn) noRoom(p *decisionv1.Proposal) string {
	if len(t.s.GetProposals()) >= MaxProposals {
		return fmt.Sprintf("%d proposals are open", MaxProposals)
	}
	if size := t.s.SizeVT() + t.beside + p.SizeVT(); size > maxProposed {
		return fmt.Sprintf("with it the customer's enrollments and proposals would need %d bytes, of %d", size, maxProposed)
	}
	return ""
}

// gather starts a placement's collection, unless it collects already.
func (t *turn) gather(placement string) {
	if st := t.placement(placement); st != nil && st.GetClosesAt() != nil {
		return
	}
	closes := t.env.Now
	if p := t.rules.Placement(placement); p != nil {
		closes = p.Collect.AddTo(t.env.Now, time.UTC)
	}
	t.collect(placement, closes)
}

// collect lets a placement's collection close at a time, if it does not close earlier.
func (t *turn) collect(placement string, closes time.Time) {
	st := t.placement(placement)
	if st == nil {
		st = &decisionv1.PlacementState{Placement: placement}
		t.s.Placements = append(t.s.Placements, st)
		slices.SortFunc(t.s.GetPlacements(), func(a, b *decisionv1.PlacementState) int {
			return strings.Compare(a.GetPlacement(), b.GetPlacement())
		})
	}
	if st.GetClosesAt() == nil || closes.Before(st.GetClosesAt().AsTime()) {
		st.ClosesAt = timestamppb.New(closes)
	}
}

// withdraw takes a proposal back: at once while it is open; once it is chosen, suppression and dispatch
// are asked, and the answer comes with VERDICTS.
func (t *turn) withdraw(id string, why *reasonv1.Reason) {
	p := t.find(id)
	if p == nil {
		return
	}
	switch p.GetStatus() {
	case open:
		t.resolve(p, decisionv1.Resolution_RESOLUTION_WITHDRAWN, why)
	case chosen:
		p.Status = withdrawing
		t.fact(&decisionv1.Fact{Fact: &decisionv1.Fact_WithdrawProposal{WithdrawProposal: &decisionv1.WithdrawProposal{
			Proposal: id, Reason: why,
		}}})
	case withdrawing:
	case decisionv1.ProposalStatus_PROPOSAL_STATUS_UNSPECIFIED:
	}
}

// resolve ends a proposal that the chain after does not have.
func (t *turn) resolve(p *decisionv1.Proposal, how decisionv1.Resolution, reasons ...*reasonv1.Reason) {
	t.fact(&decisionv1.Fact{Fact: &decisionv1.Fact_ProposalResolved{ProposalResolved: &decisionv1.ProposalResolved{
		Proposal: p.GetId(), Action: p.GetAction(), Resolution: how, Reasons: reasons, Enrollment: p.GetCause().GetEnrollment(),
	}}})
	t.remove(p.GetId())
	for _, e := range t.s.GetEnrollments() {
		if e.GetProposal() == p.GetId() {
			e.Proposal, e.Ready, e.WakeAt = "", true, timestamppb.New(t.env.Now)
		}
	}
}

func (t *turn) find(id string) *decisionv1.Proposal {
	for _, p := range t.s.GetProposals() {
		if p.GetId() == id {
			return p
		}
	}
	return nil
}

func (t *turn) remove(id string) {
	t.s.Proposals = slices.DeleteFunc(slices.Clone(t.s.GetProposals()), func(p *decisionv1.Proposal) bool { return p.GetId() == id })
}

func (t *turn) placement(name string) *decisionv1.PlacementState {
	for _, st := range t.s.GetPlacements() {
		if st.GetPlacement() == name {
			return st
		}
	}
	return nil
}

// waiting says whether a placement has open proposals.
func (t *turn) waiting(placement string) bool {
	return placement != "" && slices.ContainsFunc(t.s.GetProposals(), func(p *decisionv1.Proposal) bool {
		return p.GetStatus() == open && p.GetPlacement() == placement
	})
}

// underWay reports whether something that a placement chose is not resolved yet.
func (t *turn) underWay(placement string) bool {
	return slices.ContainsFunc(t.s.GetProposals(), func(p *decisionv1.Proposal) bool {
		return p.GetStatus() != open && p.GetPlacement() == placement
	})
}

// tidy drops placements that have nothing to do any more.
func (t *turn) tidy() {
	t.s.Placements = slices.DeleteFunc(slices.Clone(t.s.GetPlacements()), func(st *decisionv1.PlacementState) bool {
		return !t.waiting(st.GetPlacement())
	})
}
