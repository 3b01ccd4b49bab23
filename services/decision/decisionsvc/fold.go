package decisionsvc

import (
	"fmt"
	"slices"
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/journey"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/state"
	"refrain.dev/pkg/window"
)

// Names of the stages whose rows and chains this one reads.
const (
	profileStage     = "profile"
	decisionStage    = "decision"
	suppressionStage = "suppression"
	dispatchStage    = "dispatch"
)

// blindRetry is how long a timer waits for a profile that cannot be read, or is older than the row.
const blindRetry = time.Second

// Fold is the decision stage's pure half: it decodes, lets package decide decide, and encodes.
type Fold struct {
	book  Book
	zones *window.Zones
}

// NewFold returns a fold that finds its rules in the book.
func NewFold(book Book) Fold { return Fold{book: book, zones: &window.Zones{}} }

// Needs implements stage.Fold.
func (Fold) Needs(in stage.Input, _ time.Time) (stage.Needs, error) {
	if _, space, _, err := identity.ParseKey(in.Key); err != nil || space != "c" {
		return stage.Needs{}, nil //nolint:nilerr // rows of identifiers are none of ours
	}
	needs := stage.Needs{Rows: []string{in.Key}}
	if in.Source == stage.FromTimer {
		needs.Foreign = []state.Row{{Stage: profileStage, Key: in.Key}}
	}
	return needs, nil
}

// Decide implements stage.Fold.
func (f Fold) Decide(in stage.Input, rows stage.Rows, env stage.Env) (stage.Outcome, error) {
	tenant, space, customer, err := identity.ParseKey(in.Key)
	if err != nil || space != "c" {
		return stage.Outcome{}, nil //nolint:nilerr // rows of identifiers are none of ours
	}
	t, err := f.turn(tenant, in.Key, rows.Own(in.Key), env)
	if err != nil {
		return stage.Outcome{}, err
	}
	if t.before == nil {
		t.state = &decisionv1.State{Tenant: tenant, Customer: customer}
	}
	switch origin(in) {
	case stage.FromBefore:
		err = t.learned(in)
	case stage.FromAfter:
		err = t.answered(in.Facts)
	case stage.FromTimer:
		row, ok := rows.Foreign(profileStage, in.Key)
		if t.before == nil || !t.refresh && decide.Wake(t.state).IsZero() { // the row knows of no wake-up
			return stage.Outcome{}, nil
		}
		if !ok {
			return t.again(rows.Own(in.Key)), nil
		}
		var p *profilev1.Profile
		if p, err = decodeProfile(row); err == nil && p.GetVersion() < t.before.GetProfileVersion() {
			return t.again(rows.Own(in.Key)), nil // the log is ahead of the store: what is missing there is on its way
		}
		if err == nil {
			err = t.timer(p)
		}
	default:
		err = fault.New(fault.Invalid, "decide: the decision stage takes nothing from %s", in.Name)
	}
	if err != nil {
		return stage.Outcome{}, err
	}
	t.trace(in.Traceparent)
	out, err := t.outcome(origin(in) == stage.FromTimer)
	out.Links = t.links()
	return out, err
}

// origin says from where an input is, redriven or not.
func origin(in stage.Input) stage.Source {
	if in.Source != stage.FromRedrive {
		return in.Source
	}
	if in.Redriven == log.Stage(decisionStage).After {
		return stage.FromAfter
	}
	return stage.FromBefore
}

// Gap implements stage.Fold: what an input from before would have told about permission is unknown from now on, so
// contact is closed until a later input carries the whole basis. A timer, or what became of a proposal, tells nothing
// about permission: the timeline says that it was given up.
func (f Fold) Gap(in stage.Input, rows stage.Rows, env stage.Env, deadLetter string) stage.Outcome {
	tenant, space, customer, err := identity.ParseKey(in.Key)
	if err != nil || space != "c" {
		return stage.Outcome{}
	}
	basis := &decisionv1.ContactBasis{}
	if p, err := decodeProfile(in.State); err == nil && p != nil {
		basis = profile.Basis(p, f.addresses(env.Revision, tenant))
	}
	why := &reasonv1.Reason{
		Code: reasonv1.Code_CODE_GAP, Revision: f.revision(env.Revision, tenant), Evidence: []string{"dead letter " + deadLetter},
		Remedy: "refrain dlq redrive " + deadLetter,
	}
	if basis.GetClosed() == nil {
		basis.Closed = why
	}
	t := &turn{key: in.Key, env: env, state: &decisionv1.State{Tenant: tenant, Customer: customer}}
	if origin(in) == stage.FromBefore {
		t.facts = []*decisionv1.Fact{basisUpdated(basis)}
	}
	t.note(&profilev1.TimelineEntry{What: "input_given_up", Reasons: []*reasonv1.Reason{why}, Id: deadLetter})
	t.state = nil
	out, err := t.outcome(false)
	if err != nil {
		return stage.Outcome{}
	}
	return out
}

// addresses are the traits whose values are addresses, as far as the rules are at hand.
func (f Fold) addresses(revision, tenant string) []string {
	if rules, ok := f.book.At(revision, tenant); ok {
		return rules.Addresses
	}
	return nil
}

// revision is that of the tenant's rules, as far as they are at hand.
func (f Fold) revision(revision, tenant string) string {
	if rules, ok := f.book.At(revision, tenant); ok {
		return rules.Revision
	}
	return ""
}

// turn is one input at work.
type turn struct {
	book   Book
	zones  *window.Zones
	rules  *Rules
	env    stage.Env
	tenant string
	key    string
	before *decisionv1.State
	state  *decisionv1.State
	facts  []*decisionv1.Fact
	deltas deltas
	// seen is the version of the profile that came with the input.
	seen uint64
	// refresh asks for the basis of the profile as it is now, by a timer.
	refresh bool
}

func (f Fold) turn(tenant, key string, own []byte, env stage.Env) (*turn, error) {
	rules, ok := f.book.At(env.Revision, tenant)
	if !ok {
		return nil, stage.NotReady("decide", env.Revision)
	}
	t := &turn{book: f.book, zones: f.zones, rules: rules, env: env, tenant: tenant, key: key}
	if own != nil {
		t.before = &decisionv1.State{}
		if err := t.before.UnmarshalVT(own); err != nil {
			return nil, fmt.Errorf("decode decision state: %w", err)
		}
		t.state, t.refresh = takeRefresh(t.before)
	}
	return t, nil
}

// deciding puts together what package decide may know; p is nil where the profile is not at hand.
func (t *turn) deciding(p *profilev1.Profile) (decide.Env, error) {
	env := decide.Env{Now: t.env.Now, ProfileVersion: p.GetVersion(), Pinned: map[string]*journey.Definition{}}
	if p != nil {
		env.Traits, env.Zone = profile.Traits(p), t.zone(p)
	}
	for _, e := range t.state.GetEnrollments() {
		d, err := t.pinned(e)
		if err != nil {
			return env, err
		}
		env.Pinned[d.Hash] = d
	}
	return env, nil
}

// pinned is the content that an enrollment was entered under: of the revision in force, if it has it still, else
// of the one that the enrollment names. So it does not depend on what else this process has seen.
func (t *turn) pinned(e *decisionv1.Enrollment) (*journey.Definition, error) {
	for _, revision := range []string{t.env.Revision, e.GetRevision()} {
		if d, ok := t.book.Journey(revision, t.tenant, e.GetJourneyHash()); ok {
			return d, nil
		}
	}
	if e.GetRevision() == "" {
		return nil, fault.New(fault.Internal, "decide: enrollment %s in journey %s names no revision", e.GetId(), e.GetJourney())
	}
	return nil, stage.NotReady(fmt.Sprintf("decide: journey %s with content %s", e.GetJourney(), e.GetJourneyHash()), e.GetRevision())
}

// zone is where the customer's days begin and end: the customer's own zone, else the workspace's.
func (t *turn) zone(p *profilev1.Profile) *time.Location {
	if loc := t.zones.Load(profile.Zone(p).GetName()); loc != nil {
		return loc
	}
	return t.zones.Load(t.rules.DefaultZone)
}

// took keeps what package decide answered.
func (t *turn) took(s *decisionv1.State, facts []*decisionv1.Fact, err error) error {
	if err != nil {
		return fault.As(fault.Internal, err)
	}
	t.state = s
	t.facts = append(t.facts, facts...)
	return nil
}

// learned takes a cell of PROFILES: its facts, and the profile after them.
func (t *turn) learned(in stage.Input) error {
	p, err := decodeProfile(in.State)
	if err != nil {
		return err
	}
	t.seen = p.GetVersion()
	basis := false
	for _, raw := range in.Facts {
		f := &profilev1.Fact{}
		if err := f.UnmarshalVT(raw); err != nil {
			return fault.New(fault.Invalid, "decode profile fact: %w", err)
		}
		switch x := f.GetFact().(type) {
		case *profilev1.Fact_EventApplied:
			basis = basis || x.EventApplied.GetCreated()
			err = t.event(x.EventApplied, p, in.Source == stage.FromRedrive)
		case *profilev1.Fact_IdentityLinked:
			basis = true
			err = t.linked(x.IdentityLinked, p)
		case *profilev1.Fact_ConsentChanged, *profilev1.Fact_BasisChanged:
			basis = true
		}
		if err != nil {
			return err
		}
	}
	if in.Source == stage.FromRedrive {
		t.refresh = true // the profile that came with it is an old one
		return nil
	}
	if p == nil {
		return nil
	}
	if basis {
		t.facts = append([]*decisionv1.Fact{basisUpdated(t.basis(p))}, t.facts...)
	}
	if err := t.due(p); err != nil {
		return err
	}
	t.reach(p)
	return nil
}

func (t *turn) basis(p *profilev1.Profile) *decisionv1.ContactBasis {
	return profile.Basis(p, t.rules.Addresses)
}

// reach tells suppression the addresses among the traits with a proposal that goes to one: a catalog may name a trait
// long after the profile learned its value.
func (t *turn) reach(p *profilev1.Profile) {
	staff := func(f *decisionv1.Fact) bool {
		return slices.ContainsFunc(f.GetDispatchTreatment().GetTreatments(), func(ref *decisionv1.TreatmentRef) bool {
			return t.rules.Reach[ref.GetChannel()].Trait
		})
	}
	told := slices.ContainsFunc(t.facts, func(f *decisionv1.Fact) bool { return f.GetBasisUpdated() != nil })
	if p != nil && !told && slices.ContainsFunc(t.facts, staff) {
		t.facts = append([]*decisionv1.Fact{basisUpdated(t.basis(p))}, t.facts...)
	}
}

func (t *turn) event(a *profilev1.EventApplied, p *profilev1.Profile, redriven bool) error {
	env, err := t.deciding(p)
	if err != nil {
		return err
	}
	e := a.GetEvent()
	known := event.TypeOf(e)
	name, ok := t.rules.EventNames[known]
	if !ok {
		name = known
	}
	ev := journey.Event{Name: name, Event: e, Late: a.GetLate() || redriven, Fresh: e.GetAt().AsTime().Add(t.rules.freshness(name))}
	return t.took(decide.Happened(t.state, ev, t.rules.Rules, env))
}

func (t *turn) linked(l *profilev1.IdentityLinked, p *profilev1.Profile) error {
	env, err := t.deciding(p)
	if err != nil {
		return err
	}
	return t.took(decide.Link(t.state, l.GetCause(), t.rules.Rules, env))
}

// answered takes a cell of VERDICTS.
func (t *turn) answered(facts [][]byte) error {
	for _, raw := range facts {
		f := &contactv1.Fact{}
		if err := f.UnmarshalVT(raw); err != nil {
			return fault.New(fault.Invalid, "decode contact fact: %w", err)
		}
		r := f.GetProposalResolved()
		if r == nil {
			continue
		}
		env, err := t.deciding(nil)
		if err != nil {
			return err
		}
		s, err := decide.Resolved(t.state, r, t.rules.Rules, env)
		if err := t.took(s, nil, err); err != nil {
			return err
		}
	}
	return nil
}

func (t *turn) timer(p *profilev1.Profile) error {
	if t.refresh && p != nil {
		t.facts = append(t.facts, basisUpdated(t.basis(p)))
	}
	t.refresh = false
	if err := t.due(p); err != nil {
		return err
	}
	t.reach(p)
	return nil
}

func (t *turn) due(p *profilev1.Profile) error {
	env, err := t.deciding(p)
	if err != nil {
		return err
	}
	return t.took(decide.Due(t.state, t.rules.Rules, env))
}

// again keeps the state and comes back soon.
func (t *turn) again(own []byte) stage.Outcome {
	return stage.Outcome{Cells: []stage.Cell{{Key: t.key, State: own, Wake: t.env.Now.Add(blindRetry)}}}
}

func decodeProfile(raw []byte) (*profilev1.Profile, error) {
	if len(raw) == 0 {
		return nil, nil //nolint:nilnil // the profile did not change, or is not there
	}
	p := &profilev1.Profile{}
	if err := p.UnmarshalVT(raw); err != nil {
		return nil, fault.New(fault.Invalid, "decode profile: %w", err)
	}
	return p, nil
}

func basisUpdated(b *decisionv1.ContactBasis) *decisionv1.Fact {
	return &decisionv1.Fact{Fact: &decisionv1.Fact_BasisUpdated{BasisUpdated: &decisionv1.BasisUpdated{Basis: b}}}
}
