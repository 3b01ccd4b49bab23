package decisionsvc

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/contact"
	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/profile"
)

// engine answers queries: it reads, lets package decide decide, and puts the answer together.
type engine struct {
	cfg        Config
	book       Book
	store      Reader
	clock      clock.Clock
	reserver   Reserver
	log        *answerLog
	publicURL  string
	metrics    *metrics
	hasher     identity.Hasher
	generation uint32
}

// next answers NextBestActions within the deadline; where it rests on less than it should, it says so.
func (e *engine) next(ctx context.Context, req *decisionv1.NextBestActionsRequest) (*decisionv1.NextBestActionsResponse, error) {
	began := e.clock.Elapsed()
	if req.GetReserve() && e.reserver == nil {
		return nil, status.Error(codes.FailedPrecondition, "reserve: no contact service is configured; set suppression to its address, or call ContactService.Reserve yourself")
	}
	within, cancel := e.within(ctx)
	defer cancel()
	res, err := e.answer(within, req)
	if err != nil {
		if k := fault.Of(err); k == fault.Invalid || k == fault.NotFound {
			return nil, err
		}
		res = &decisionv1.NextBestActionsResponse{Degraded: []*reasonv1.Reason{blind(within, err)}}
	}
	e.metrics.answered(ctx, e.clock.Elapsed()-began, res.GetDegraded())
	return res, nil
}

// within leaves a tenth of the time for the way back.
func (e *engine) within(ctx context.Context) (context.Context, context.CancelFunc) {
	budget := e.cfg.Deadline.Std()
	if left, ok := e.clock.Left(ctx); ok {
		budget = left - left/10
	}
	return e.clock.Within(ctx, budget)
}

// blind is why an answer had to be given without having seen the customer.
func blind(ctx context.Context, err error) *reasonv1.Reason {
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
		return &reasonv1.Reason{Code: reasonv1.Code_CODE_DEADLINE_DEGRADED, Remedy: "ask again, or with a longer deadline"}
	}
	return &reasonv1.Reason{Code: reasonv1.Code_CODE_PROFILE_UNAVAILABLE, Evidence: []string{"the state store did not answer"}, Remedy: "ask again"}
}

func (e *engine) answer(ctx context.Context, req *decisionv1.NextBestActionsRequest) (*decisionv1.NextBestActionsResponse, error) {
	of, err := e.subject(req.GetTenant(), req.GetIdentifier())
	if err != nil {
		return nil, err
	}
	v, fresh, err := e.await(ctx, of, req.GetAtLeast())
	if err != nil {
		return nil, err
	}
	if !v.known {
		return &decisionv1.NextBestActionsResponse{Degraded: []*reasonv1.Reason{unknown(v)}}, nil
	}
	rules, err := e.rules(ctx, v, of.tenant)
	if err != nil {
		return nil, err
	}
	placement, err := onRequest(rules, req.GetPlacement())
	if err != nil {
		return nil, err
	}
	res := &decisionv1.NextBestActionsResponse{Revision: rules.Revision}
	if !fresh {
		res.Degraded = append(res.Degraded, &reasonv1.Reason{Code: reasonv1.Code_CODE_STALE_VIEW, Remedy: "ask again with the same position"})
	}
	if v.profile == nil { // an unknown visitor gets what needs nothing of a customer: no trait, no consent, no endpoint
		res.Degraded = append(res.Degraded, unknown(v))
	}
	now := e.clock.Now()
	made := e.query(v, rules, placement, ask{now: now, limit: int(req.GetLimit())})
	a := answering{engine: e, of: of, view: v, rules: rules, now: now, made: made}
	if req.GetReserve() {
		a.reserve(ctx)
	}
	res.Decision = made.GetId()
	if res.Items, err = a.items(); err != nil {
		return nil, err
	}
	for _, c := range made.GetCandidates() {
		if !c.GetChosen() {
			res.Others = append(res.Others, c)
		}
	}
	e.log.add(ctx, v.partition, &decisionv1.DecisionLogged{
		Tenant: of.tenant, Customer: v.customer, Decision: made, At: timestamppb.New(now), Revision: rules.Revision, Reserved: req.GetReserve(),
	})
	return res, nil
}

func unknown(v *view) *reasonv1.Reason {
	r := &reasonv1.Reason{Code: reasonv1.Code_CODE_PROFILE_UNAVAILABLE, Remedy: "ask again"}
	if v.known && !v.metas[profileStage].Unfinished { // else the profile may be about to come
		r.Evidence, r.Remedy = []string{"no event about this customer was applied yet"}, "publish an event with this identifier first"
	}
	return r
}

// rules returns the rules that apply to the customer now. A new catalog reaches the profile stage's row of
// meta at once, decision's own only with the next record that has something to say.
func (e *engine) rules(ctx context.Context, v *view, tenant string) (*Rules, error) {
	revision := v.metas[profileStage].Revision
	if rules, ok := e.book.At(revision, tenant); ok {
		return rules, nil
	}
	if err := e.book.Prepare(ctx, revision); err != nil {
		return nil, fault.As(fault.Unavailable, err)
	}
	rules, ok := e.book.At(revision, tenant)
	if !ok {
		return nil, fault.New(fault.Unavailable, "load catalog %s: it is not there", revision)
	}
	return rules, nil
}

func onRequest(rules *Rules, name string) (*decide.Placement, error) {
	p := rules.Placement(name)
	switch {
	case p == nil && rules.Revision == "":
		return nil, fault.New(fault.NotFound, "find placement %q: no catalog is applied yet; run refrain apply", name)
	case p == nil:
		return nil, fault.New(fault.NotFound, "find placement %q: catalog %s has none of that name", name, rules.Revision)
	case p.ByMesh:
		return nil, fault.New(fault.Invalid, "ask placement %q: it is filled by the mesh, not on request", name)
	}
	return p, nil
}

// ask says how a query is run.
type ask struct {
	now   time.Time
	limit int
	mode  decide.Mode
}

func (e *engine) query(v *view, rules *Rules, p *decide.Placement, a ask) *decisionv1.DecisionMade {
	env := decide.Env{Now: a.now, ProfileVersion: v.profile.GetVersion(), Traits: profile.Traits(v.profile)}
	q := decide.Question{Placement: p, Limit: a.limit, Mode: a.mode, Check: check(v.ledger(rules), rules, a.now)}
	return decide.Query(v.state, q, rules.Rules, env)
}

// check is the advisory contact check on the ledger as read.
func check(ledger *contactv1.State, rules *Rules, now time.Time) decide.Check {
	env := contact.Env{Now: now, DefaultZone: rules.DefaultZone, Revision: rules.Revision}
	return func(c decide.Contact, mode decide.Mode) []*reasonv1.Reason {
		how := contact.Fast
		if mode == decide.Explain {
			how = contact.All
		}
		verdict := contact.Check(ledger, contact.Contact{
			ID: c.Proposal, Action: c.Action.Name, Purpose: c.Action.Purpose, Obeys: c.Action.ObeysCaps, Counts: c.Action.CountsTowardCaps,
			Treatments: []contact.Treatment{{
				ID: c.Treatment.GetId(), Channel: c.Treatment.GetChannel(), Topic: c.Treatment.GetTopic(),
				Reach: rules.Reach[c.Treatment.GetChannel()], To: c.Treatment.GetTo(),
			}},
		}, rules.Policies, env, how)
		if verdict.Kind == contactv1.VerdictKind_VERDICT_KIND_APPROVED {
			return nil
		}
		return verdict.Reasons
	}
}

// answering turns one decision into items.
type answering struct {
	engine *engine
	of     subject
	view   *view
	rules  *Rules
	now    time.Time
	made   *decisionv1.DecisionMade
	texts  int // bytes of the items' texts so far
}

// reserve takes room for every chosen candidate; one that gets none is not chosen any more.
func (a *answering) reserve(ctx context.Context) {
	for _, c := range a.made.GetCandidates() {
		if !c.GetChosen() || c.GetAction() == decide.NoAction {
			continue
		}
		action := a.rules.Actions[c.GetAction()]
		req := &contactv1.ReserveRequest{
			Tenant: a.of.tenant, Identifier: a.of.identifier, Id: reservation(a.made, c),
			Contact: &contactv1.Contact{
				Action: c.GetAction(), Channel: c.GetChannel(), Purpose: action.Purpose,
				Topic: action.Treatment(c.GetTreatment()).GetTopic(),
			},
		}
		res, err := a.engine.reserver.Reserve(ctx, req)
		switch {
		case err != nil:
			c.Chosen = false
			c.Reasons = append(c.Reasons, &reasonv1.Reason{
				Code: reasonv1.Code_CODE_DEADLINE_DEGRADED, Evidence: []string{"no answer about the reservation"}, Remedy: "ask again",
			})
		case res.GetKind() != contactv1.VerdictKind_VERDICT_KIND_APPROVED:
			c.Chosen = false
			c.Reasons = append(c.Reasons, res.GetReasons()...)
		}
	}
}

// reservation is the id under which room is taken: the proposal's, so that asking twice takes room once,
// or one derived from the decision.
func reservation(d *decisionv1.DecisionMade, c *decisionv1.Candidate) string {
	if c.GetProposal() != "" {
		return c.GetProposal()
	}
	return identity.Derive("reservation", d.GetId(), c.GetAction())
}

func (a *answering) items() ([]*decisionv1.Item, error) {
	var out []*decisionv1.Item
	for _, c := range a.made.GetCandidates() {
		if !c.GetChosen() || c.GetAction() == decide.NoAction {
			continue
		}
		item, err := a.item(c, len(out)+1)
		if err != nil {
			return nil, err
		}
		out = append(out, item)
	}
	return out, nil
}

func (a *answering) item(c *decisionv1.Candidate, rank int) (*decisionv1.Item, error) {
	treatment := a.rules.Actions[c.GetAction()].Treatment(c.GetTreatment())
	shown := a.now.Add(a.engine.cfg.ShowFor.Std())
	var proposal *decisionv1.Proposal
	if i := slices.IndexFunc(a.view.state.GetProposals(), func(p *decisionv1.Proposal) bool { return p.GetId() == c.GetProposal() }); i >= 0 {
		proposal = a.view.state.GetProposals()[i]
		if until := proposal.GetValidUntil().AsTime(); until.Before(shown) {
			shown = until
		}
	}
	item := &decisionv1.Item{
		Action: c.GetAction(), Treatment: c.GetTreatment(), Channel: c.GetChannel(), Rank: uint32(rank), //nolint:gosec // at most 50
		Propensity: 1, ExpiresAt: timestamppb.New(shown), Proposal: c.GetProposal(),
	}
	token, err := a.engine.hasher.Sign(&decisionv1.Token{
		Tenant: a.of.tenant, Generation: a.engine.generation, Partition: uint32(a.view.partition), Customer: a.view.customer, //nolint:gosec // small
		Decision: a.made.GetId(), Proposal: c.GetProposal(), Action: c.GetAction(), Treatment: c.GetTreatment(), Channel: c.GetChannel(),
		Rank: item.GetRank(), Propensity: item.GetPropensity(), Revision: a.rules.Revision, Topic: treatment.GetTopic(),
		ExpiresAt: timestamppb.New(a.now.Add(a.engine.cfg.OutcomesFor.Std())),
		Journey:   proposal.GetCause().GetJourney(), Step: proposal.GetCause().GetStep(), Placement: a.made.GetPlacement(),
	})
	if err != nil {
		return nil, fault.As(fault.Internal, err)
	}
	item.Token = token
	a.render(item, proposal, treatment)
	return item, nil
}
