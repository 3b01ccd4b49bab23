package decisionsvc

import (
	"context"
	"fmt"
	"slices"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/state"
)

// subject checks and normalises whom a request is about. The kind profile names a profile by its id, as
// the log does.
func (e *engine) subject(tenant string, id *eventv1.Identifier) (subject, error) {
	if id.GetKind() == event.KindProfile {
		return subject{tenant: tenantOf(tenant), identifier: id}, nil
	}
	value, err := e.book.Kinds(tenantOf(tenant)).Normalise(id.GetKind(), id.GetValue())
	if err != nil {
		return subject{}, fault.As(fault.Invalid, fmt.Errorf("read identifier: %w", err))
	}
	return subject{tenant: tenantOf(tenant), identifier: &eventv1.Identifier{Kind: id.GetKind(), Value: value}}, nil
}

// explain says why, without any effect: about an id, or about what would be decided now.
func (e *engine) explain(ctx context.Context, req *decisionv1.ExplainRequest) (*decisionv1.ExplainResponse, error) {
	if req.GetIdentifier() == nil {
		return nil, fault.New(fault.Invalid, "explain: the id alone does not say where to look; name the customer too (refrain explain --customer)")
	}
	of, err := e.subject(req.GetTenant(), req.GetIdentifier())
	if err != nil {
		return nil, err
	}
	of.lists = courseLists
	within, cancel := e.within(ctx)
	defer cancel()
	v, _, err := e.await(within, of, nil)
	if err != nil {
		return nil, err
	}
	if !v.known {
		return nil, fault.New(fault.Unavailable, "explain: the customer's partition cannot be read yet")
	}
	if v.profile == nil {
		return nil, fault.New(fault.NotFound, "explain: no event about this customer was applied yet")
	}
	rules, err := e.rules(ctx, v, of.tenant)
	if err != nil {
		return nil, err
	}
	if req.GetId() != "" {
		return explainID(v, rules, req.GetId())
	}
	return e.explainNow(v, rules, req.GetPlacement())
}

// explainNow decides a placement on the slow path: all gates of all candidates.
func (e *engine) explainNow(v *view, rules *Rules, placement string) (*decisionv1.ExplainResponse, error) {
	p := rules.Placement(placement)
	if p == nil {
		return nil, fault.New(fault.NotFound, "find placement %q: catalog %q has none of that name", placement, rules.Revision)
	}
	made := e.query(v, rules, p, ask{now: e.clock.Now(), mode: decide.Explain})
	return &decisionv1.ExplainResponse{Decision: made, Revision: rules.Revision}, nil
}

// explainID tells the course of a proposal or a decision, from what the stages noted on the timeline.
func explainID(v *view, rules *Rules, id string) (*decisionv1.ExplainResponse, error) {
	res := &decisionv1.ExplainResponse{Revision: rules.Revision}
	decisions, timelines := v.lists[0], v.lists[1:]
	var course []*profilev1.TimelineEntry
	for _, raw := range decisions {
		d := &decisionv1.DecisionMade{}
		if err := d.UnmarshalVT(raw); err != nil {
			return nil, fmt.Errorf("decode decision: %w", err)
		}
		if d.GetId() == id || slices.ContainsFunc(d.GetCandidates(), func(c *decisionv1.Candidate) bool { return c.GetProposal() == id }) {
			res.Decision = d // the newest is last
		}
	}
	for _, timeline := range timelines {
		for _, raw := range timeline {
			t := &profilev1.TimelineEntry{}
			if err := t.UnmarshalVT(raw); err != nil {
				return nil, fmt.Errorf("decode timeline: %w", err)
			}
			if t.GetId() == id {
				course = append(course, t)
			}
		}
	}
	if res.Decision == nil && len(course) == 0 {
		return nil, fault.New(fault.NotFound, "explain %s: this customer's timeline does not have it; answered queries are in the decision log only", id)
	}
	slices.SortStableFunc(course, profile.CompareLines)
	for _, t := range course {
		res.Course = append(res.Course, &decisionv1.Explanation{
			At: t.GetAt(), Stage: t.GetStage(), What: t.GetWhat(), Reasons: t.GetReasons(), Channel: t.GetChannel(), Revision: revisionOf(t),
		})
	}
	return res, nil
}

func revisionOf(t *profilev1.TimelineEntry) string {
	for _, r := range t.GetReasons() {
		if r.GetRevision() != "" {
			return r.GetRevision()
		}
	}
	return ""
}

// courseLists are the decisions and the timelines of all stages, in the order that a proposal passes them.
func courseLists(key string) []state.List {
	lists := []state.List{{Stage: decisionStage, Name: decisionsList(key), Newest: keepDecisions}}
	for _, stage := range []string{profileStage, decisionStage, suppressionStage, dispatchStage} {
		lists = append(lists, state.List{Stage: stage, Name: timelineList(key), Newest: profile.TimelineLength})
	}
	return lists
}
