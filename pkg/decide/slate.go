package decide

import (
	"cmp"
	"slices"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/arbitration"
)

// NoAction is the name of doing nothing among the candidates.
const NoAction = arbitration.NoAction

// entrant is what wants to be in a slate: an action, perhaps put forward by a proposal, with the
// treatments that fit, or the reasons why it cannot take part.
type entrant struct {
	name       string
	action     *Action
	proposal   *decisionv1.Proposal
	treatments []*decisionv1.TreatmentRef
	reasons    []*reasonv1.Reason
}

// id orders entrants and breaks ties: the proposal's, or the action's name.
func (e *entrant) id() string {
	if e.proposal != nil {
		return e.proposal.GetId()
	}
	return e.name
}

func (e *entrant) fill(c *decisionv1.Candidate) *decisionv1.Candidate {
	c.Action, c.Proposal, c.Reasons = e.name, e.proposal.GetId(), e.reasons
	if len(e.treatments) > 0 {
		c.Treatment, c.Channel = e.treatments[0].GetId(), e.treatments[0].GetChannel()
	}
	return c
}

// slate ranks the entrants of a placement and chooses the best of them, at most size, no action twice.
// The candidates are all entrants and doing nothing, each exactly once: the ranked ones best first, then
// those that a gate refused, by id. Everyone who is not chosen has a reason.
func (t *turn) slate(p *Placement, size int, entrants []entrant) []*decisionv1.Candidate {
	able, unable := make([]*entrant, 0, len(entrants)), make([]*entrant, 0, len(entrants))
	for i := range entrants {
		if e := &entrants[i]; len(e.reasons) == 0 {
			able = append(able, e)
		} else {
			unable = append(unable, e)
		}
	}
	field := make([]arbitration.Candidate, len(able))
	for i, e := range able {
		field[i] = arbitration.Candidate{ID: e.id(), Class: e.action.Class, Factors: t.factors(e.action)}
		if e.proposal != nil {
			field[i].Deadline = e.proposal.GetValidUntil().AsTime()
		}
	}
	// One allocation for all candidates: a query may have hundreds.
	slab := make([]decisionv1.Candidate, len(entrants)+1)
	out := t.choose(p, size, able, arbitration.Rank(field, arbitration.Rule{}), slab)
	slices.SortFunc(unable, func(a, b *entrant) int { return cmp.Compare(a.id(), b.id()) })
	for _, e := range unable {
		out = append(out, e.fill(&slab[len(out)]))
	}
	return out
}

// choose turns places into candidates, which it takes from the slab in order.
func (t *turn) choose(p *Placement, size int, able []*entrant, places []arbitration.Place, slab []decisionv1.Candidate) []*decisionv1.Candidate {
	out := make([]*decisionv1.Candidate, 0, len(slab))
	taken := make(map[string]bool, size)
	var winner string
	var full []*reasonv1.Reason // the same for all who found no room; never changed
	for i, place := range places {
		c := &slab[i]
		c.Action = NoAction
		if place.Index >= 0 {
			able[place.Index].fill(c)
		}
		c.Rank, c.Score = uint32(i+1), place.Score //nolint:gosec // few candidates
		switch {
		case place.Index < 0 && len(taken) == 0:
			c.Chosen = true
		case place.Index < 0:
			c.Reasons = []*reasonv1.Reason{t.reason(reasonv1.Code_CODE_LOWER_PRIORITY, "Placement/"+p.Name, winner)}
		case !place.Worth:
			c.Reasons = []*reasonv1.Reason{t.reason(reasonv1.Code_CODE_BELOW_NO_ACTION, "Action/"+c.GetAction()+".value",
				scored(c.GetAction(), place.Score.GetTotal(), place.Score.GetClass())+" and is worth nothing")}
		case taken[c.GetAction()]:
			c.Reasons = []*reasonv1.Reason{t.reason(reasonv1.Code_CODE_DIVERSITY, "Placement/"+p.Name, "the same action is chosen already")}
		case len(taken) >= size:
			if full == nil {
				full = []*reasonv1.Reason{t.reason(reasonv1.Code_CODE_LOWER_PRIORITY, "Placement/"+p.Name+".size", winner)}
			}
			c.Reasons = full
		default:
			c.Chosen = true
			taken[c.GetAction()] = true
			if winner == "" {
				winner = scored(c.GetAction(), place.Score.GetTotal(), place.Score.GetClass())
			}
		}
		out = append(out, c)
	}
	return out
}
