package decisionsvc

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/stage"
)

// What stands beside a state.
const keepDecisions = 5

func timelineList(key string) string  { return key + "/timeline" }
func decisionsList(key string) string { return key + "/decisions" }

type deltas []*stagev1.Delta

func (d *deltas) add(list string, value []byte, keep uint32) {
	*d = append(*d,
		&stagev1.Delta{Name: list, Kind: stagev1.DeltaKind_DELTA_KIND_APPEND, Value: value},
		&stagev1.Delta{Name: list, Kind: stagev1.DeltaKind_DELTA_KIND_TRIM, Keep: keep})
}

// outcome encodes the turn as one cell. A turn that changed nothing leaves none, but a timer that came too
// early: its row keeps its wake-up.
func (t *turn) outcome(timer bool) (stage.Outcome, error) {
	cell := stage.Cell{Key: t.key}
	for _, f := range t.facts {
		raw, err := f.MarshalVT()
		if err != nil {
			return stage.Outcome{}, fmt.Errorf("encode fact: %w", err)
		}
		cell.Facts = append(cell.Facts, raw)
		if err := t.tell(f); err != nil {
			return stage.Outcome{}, err
		}
	}
	cell.Deltas = t.deltas
	if err := t.encodeState(&cell, timer); err != nil {
		return stage.Outcome{}, err
	}
	if len(cell.Facts) == 0 && len(cell.Deltas) == 0 && cell.State == nil && !cell.Deleted {
		return stage.Outcome{}, nil
	}
	return stage.Outcome{Cells: []stage.Cell{cell}}, nil
}

// encodeState writes the state if it changed; one that says nothing is not kept.
func (t *turn) encodeState(cell *stage.Cell, timer bool) error {
	t.state = withRefresh(t.state, t.refresh, t.env.Now)
	wake := decide.Wake(t.state)
	switch {
	case t.state == nil:
		return nil
	case empty(t.state):
		cell.Deleted = t.before != nil
		return nil
	case t.before.EqualVT(t.state) && (!timer || wake.IsZero()):
		return nil
	}
	if t.seen > t.state.GetProfileVersion() {
		t.state = t.state.CloneVT()
		t.state.ProfileVersion = t.seen
	}
	raw, err := t.state.MarshalVT()
	if err != nil {
		return fmt.Errorf("encode decision state: %w", err)
	}
	cell.State, cell.Wake = raw, ceil(wake)
	return nil
}

// refreshMark stands among the placements of a state whose customer's basis has to be read again and told
// to suppression. No placement can have this name.
const refreshMark = "!basis"

func isRefresh(p *decisionv1.PlacementState) bool { return p.GetPlacement() == refreshMark }

// takeRefresh returns the state without the mark, which package decide does not know, and whether it was
// there.
func takeRefresh(s *decisionv1.State) (*decisionv1.State, bool) {
	if !slices.ContainsFunc(s.GetPlacements(), isRefresh) {
		return s, false
	}
	s = s.CloneVT()
	s.Placements = slices.DeleteFunc(s.GetPlacements(), isRefresh)
	return s, true
}

// withRefresh returns the state with the mark, due at now, if a refresh is asked for.
func withRefresh(s *decisionv1.State, asked bool, now time.Time) *decisionv1.State {
	if !asked {
		return s
	}
	s = s.CloneVT()
	s.Placements = append([]*decisionv1.PlacementState{{Placement: refreshMark, ClosesAt: timestamppb.New(now)}}, s.GetPlacements()...)
	return s
}

// ceil rounds a wake-up up to what the timer index keeps, so that it never fires before it is due.
func ceil(at time.Time) time.Time {
	if down := at.Truncate(time.Microsecond); down.Before(at) {
		return down.Add(time.Microsecond)
	}
	return at
}

func empty(s *decisionv1.State) bool {
	return len(s.GetEnrollments()) == 0 && len(s.GetProposals()) == 0 && len(s.GetPlacements()) == 0 &&
		len(s.GetEntries()) == 0 && len(s.GetWaiting()) == 0 && !s.GetClosed()
}

// tell writes a fact on the customer's timeline, and a decision into the list that Explain looks at. Steps
// that made a proposal are in the log only: the timeline would say everything twice.
func (t *turn) tell(f *decisionv1.Fact) error {
	switch x := f.GetFact().(type) {
	case *decisionv1.Fact_EnrollmentStarted:
		t.note(&profilev1.TimelineEntry{What: "journey_entered", Subject: x.EnrollmentStarted.GetJourney(), Id: x.EnrollmentStarted.GetEnrollment()})
	case *decisionv1.Fact_StepEntered:
		if e := x.StepEntered; !t.proposedBy(e) {
			t.note(&profilev1.TimelineEntry{What: "step_entered", Subject: e.GetJourney() + "/" + e.GetStep(), Id: e.GetEnrollment(), Until: e.GetUntil(), Zone: e.GetZone()})
		}
	case *decisionv1.Fact_EnrollmentEnded:
		t.note(&profilev1.TimelineEntry{What: "journey_ended_" + x.EnrollmentEnded.GetAs(), Subject: x.EnrollmentEnded.GetJourney(), Id: x.EnrollmentEnded.GetEnrollment()})
	case *decisionv1.Fact_EntryRefused:
		t.note(&profilev1.TimelineEntry{What: "entry_refused", Subject: x.EntryRefused.GetJourney(), Id: x.EntryRefused.GetEvent(),
			Reasons: []*reasonv1.Reason{x.EntryRefused.GetReason()}})
	case *decisionv1.Fact_EntryPostponed:
		t.note(&profilev1.TimelineEntry{What: "entry_postponed", Subject: x.EntryPostponed.GetJourney(), Id: x.EntryPostponed.GetEvent(),
			Reasons: []*reasonv1.Reason{x.EntryPostponed.GetReason()}})
	case *decisionv1.Fact_ProposalMade:
		p := x.ProposalMade.GetProposal()
		t.note(&profilev1.TimelineEntry{What: "proposal_made", Subject: p.GetAction(), Id: p.GetId()})
	case *decisionv1.Fact_DecisionMade:
		raw, err := x.DecisionMade.MarshalVT()
		if err != nil {
			return fmt.Errorf("encode decision: %w", err)
		}
		t.deltas.add(decisionsList(t.key), raw, keepDecisions)
		t.note(&profilev1.TimelineEntry{What: "decision_made", Subject: x.DecisionMade.GetPlacement(), Id: x.DecisionMade.GetId()})
	case *decisionv1.Fact_DispatchTreatment:
		d := x.DispatchTreatment
		t.note(&profilev1.TimelineEntry{What: "proposal_chosen", Subject: d.GetProposal().GetAction(), Id: d.GetProposal().GetId()})
	case *decisionv1.Fact_WithdrawProposal:
		w := x.WithdrawProposal
		t.note(&profilev1.TimelineEntry{What: "proposal_asked_back", Id: w.GetProposal(), Reasons: []*reasonv1.Reason{w.GetReason()}})
	case *decisionv1.Fact_ProposalResolved:
		r := x.ProposalResolved
		t.note(&profilev1.TimelineEntry{What: "proposal_" + resolutionName(r.GetResolution()), Subject: r.GetAction(), Id: r.GetProposal(), Reasons: r.GetReasons()})
	}
	return nil
}

func (t *turn) proposedBy(e *decisionv1.StepEntered) bool {
	for _, f := range t.facts {
		if c := f.GetProposalMade().GetProposal().GetCause(); c != nil && c.GetEnrollment() == e.GetEnrollment() && c.GetVisit() == e.GetVisit() {
			return true
		}
	}
	return false
}

func (t *turn) note(e *profilev1.TimelineEntry) {
	e.At, e.Round, e.Stage = timestamppb.New(t.env.Now), t.env.Round, decisionStage
	raw, err := profile.EncodeLine(e)
	if err != nil {
		panic(fmt.Sprintf("encode timeline entry: %v", err)) // strings of our own making are valid
	}
	t.deltas.add(timelineList(t.key), raw, profile.TimelineLength)
}

// resolutionName is the past participle of a resolution.
func resolutionName(r decisionv1.Resolution) string {
	switch r {
	case decisionv1.Resolution_RESOLUTION_SENT:
		return "sent"
	case decisionv1.Resolution_RESOLUTION_UNKNOWN:
		return "unknown"
	case decisionv1.Resolution_RESOLUTION_SUPPRESSED:
		return "suppressed"
	case decisionv1.Resolution_RESOLUTION_SUPERSEDED:
		return "superseded"
	case decisionv1.Resolution_RESOLUTION_EXPIRED:
		return "expired"
	case decisionv1.Resolution_RESOLUTION_WITHDRAWN:
		return "withdrawn"
	case decisionv1.Resolution_RESOLUTION_UNSPECIFIED:
	}
	return "resolved"
}
