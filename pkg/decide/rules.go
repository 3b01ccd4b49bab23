package decide

import (
	"encoding/hex"
	"fmt"
	"time"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/journey"
)

// The bounds of one customer's state.
const (
	// MaxProposals is how many proposals are open, chosen or being withdrawn at once; one more is
	// suppressed with PLACEMENT_FULL, and so is one that the state has no room for.
	MaxProposals = 64
	// MaxEnrollments is how many enrollments of one customer run at once unless the workspace says otherwise; one
	// more is refused with ENROLLMENT_LIMIT.
	MaxEnrollments = 256
	// MaxState bounds a customer's state in encoded bytes when something is entered; beyond it an entry is refused
	// with ENROLLMENT_LIMIT. The rest of the 64 KiB that a row may have is for what the running enrollments propose.
	MaxState = 48 << 10
	// maxReserved bounds a state in which every running enrollment has made its proposal; a row may have 64 KiB.
	maxReserved = 60 << 10
	// maxProposed bounds the state with a proposal in it; one more is suppressed with PLACEMENT_FULL. The rest of the
	// row's 64 KiB is for what happens to proposals that are there.
	maxProposed = 62 << 10
	// perEnrollment is what an enrollment takes in a state beside itself.
	perEnrollment = 4
	// MaxWaiting is how many events wait in all for running enrollments to end, beside journey.MaxWaiting of each journey
	// and key; one more is refused with ENROLLMENT_LIMIT.
	MaxWaiting = 128
	// maxTurn is what the facts of one turn may come to before the rest is left to the next turn; perFact is what a fact
	// brings about beside itself at most, a line of the timeline above all.
	maxTurn = 128 << 10
	perFact = 1200
	// MaxEntries is how many entries are remembered for re-entry; the oldest is forgotten first.
	MaxEntries = 256
)

// Rules is the part of one catalog that deciding needs. It is read only and may be shared.
type Rules struct {
	// Revision of the catalog; every reason names it.
	Revision string
	// Actions by name.
	Actions map[string]*Action
	// Placements sorted by name.
	Placements []*Placement
	// Journeys that may be entered, sorted by name.
	Journeys []*journey.Definition
	// MaxEnrollments is the workspace's limit of running enrollments of one customer; 0 stands for the default.
	MaxEnrollments int
	// Pull names the channels that are only filled on request: the mesh never chooses them.
	Pull map[string]bool
}

func (r Rules) maxEnrollments() int {
	if r.MaxEnrollments == 0 {
		return MaxEnrollments
	}
	return r.MaxEnrollments
}

// Placement returns a placement by name, nil if there is none.
func (r Rules) Placement(name string) *Placement {
	for _, p := range r.Placements {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// mesh returns the first placement filled by the mesh that takes the action, nil if none does.
func (r Rules) mesh(a *Action) *Placement {
	for _, p := range r.Placements {
		if p.ByMesh && len(p.Treatments(a, r.Pull)) > 0 {
			return p
		}
	}
	return nil
}

// Env is what deciding may know beside state, input and rules.
type Env struct {
	// Now is the stage's time.
	Now time.Time
	// Traits of the customer, sorted by name.
	Traits []*profilev1.Trait
	// ProfileVersion is the version of the profile that the traits are from.
	ProfileVersion uint64
	// Zone is where the customer's days begin and end: the customer's own, else the workspace's. Nil is UTC.
	Zone *time.Location
	// Pinned holds the definitions that the running enrollments are pinned to, by hash.
	Pinned map[string]*journey.Definition
}

// turn is one input at work on a copy of the state.
type turn struct {
	s     *decisionv1.State
	rules Rules
	env   Env
	facts []*decisionv1.Fact

	size, measured int // of the facts, and how many of them are counted in it
	beside         int // bytes of the enrollments that are not in s because they have not had their turn
}

// full says that what follows so far is enough for one turn: what is left to do is due at once, in the next one.
func (t *turn) full() bool {
	for ; t.measured < len(t.facts); t.measured++ {
		t.size += t.facts[t.measured].SizeVT() + perFact
	}
	return t.size >= maxTurn
}

func newTurn(s *decisionv1.State, r Rules, env Env) *turn {
	return &turn{s: s.CloneVT(), rules: r, env: env}
}

func (t *turn) fact(f *decisionv1.Fact) { t.facts = append(t.facts, f) }

func (t *turn) customer() string { return hex.EncodeToString(t.s.GetCustomer()) }

func (t *turn) journeyEnv() journey.Env {
	return journey.Env{
		Now: t.env.Now, Tenant: t.s.GetTenant(), Customer: t.s.GetCustomer(),
		Traits: t.env.Traits, Zone: t.env.Zone, Revision: t.rules.Revision,
	}
}

func (t *turn) definition(e *decisionv1.Enrollment) (*journey.Definition, error) {
	d, ok := t.env.Pinned[e.GetJourneyHash()]
	if !ok {
		return nil, fmt.Errorf("find journey %s of enrollment %s: no catalog has its content %s", e.GetJourney(), e.GetId(), e.GetJourneyHash())
	}
	return d, nil
}

func (t *turn) reason(code reasonv1.Code, rule string, evidence ...string) *reasonv1.Reason {
	return &reasonv1.Reason{Code: code, Rule: rule, Revision: t.rules.Revision, Evidence: evidence}
}
