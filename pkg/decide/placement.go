package decide

import (
	"fmt"
	"slices"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/window"
)

const (
	defaultSize = 1
	maxSize     = 50
)

// Placement is a compiled placement. It is immutable and safe for concurrent use.
type Placement struct {
	// Name of the placement.
	Name string
	// ByMesh says that the mesh fills it; otherwise it is filled on request.
	ByMesh bool
	// Purposes it takes; empty takes all.
	Purposes []string
	// Channels of which a treatment must be one; empty takes all.
	Channels []string
	// Collect is how long proposals gather before one is chosen.
	Collect window.Period
	// Size is how many are chosen per decision.
	Size int
	// LosersWait is how long a loser stays proposed.
	LosersWait window.Period
	// Actions that are candidates without a proposal, on request.
	Actions []string
}

// CompilePlacement checks and compiles a placement. It returns every problem it finds; the placement is
// usable only if there are none. Whether actions and channels exist is for the caller to check.
func CompilePlacement(meta *definitionv1.Metadata, spec *definitionv1.Placement) (*Placement, []definition.Problem) {
	c := &compiler{}
	p := &Placement{
		Name: meta.GetName(), ByMesh: spec.GetFilled() == "by_mesh", Size: defaultSize,
		Purposes: slices.Clone(spec.GetTakes().GetPurpose()), Channels: slices.Clone(spec.GetTakes().GetChannel()),
		Collect: c.period("spec.collect", spec.GetCollect()), LosersWait: c.period("spec.losers.wait", spec.GetLosers().GetWait()),
		Actions: slices.Clone(spec.GetActions()),
	}
	if spec.GetFilled() != "by_mesh" && spec.GetFilled() != "on_request" {
		c.problem("spec.filled", fmt.Sprintf("%q is not a way to fill a placement", spec.GetFilled()), "by_mesh or on_request")
	}
	if n := spec.GetSize(); n > maxSize {
		c.problem("spec.size", fmt.Sprintf("%d is too many", n), fmt.Sprintf("at most %d per decision", maxSize))
	} else if n > 0 {
		p.Size = int(n)
	}
	for i, name := range p.Purposes {
		if !slices.Contains([]string{PurposeMarketing, PurposeService, PurposeTransactional, PurposeLegal}, name) {
			c.problem(fmt.Sprintf("spec.takes.purpose[%d]", i), fmt.Sprintf("%q is not a purpose", name), "marketing, service, transactional or legal")
		}
	}
	c.onlyOneWay(p, spec)
	return p, c.problems
}

// onlyOneWay reports what is written for the other way of filling and would have no effect.
func (c *compiler) onlyOneWay(p *Placement, spec *definitionv1.Placement) {
	if p.ByMesh {
		if len(p.Actions) > 0 {
			c.problem("spec.actions", "a placement filled by_mesh has no actions of its own", "it ranks proposals; let a journey make them")
		}
		return
	}
	if spec.GetCollect() != "" {
		c.problem("spec.collect", "a placement filled on_request does not collect", "it ranks when it is asked")
	}
	if spec.GetLosers() != nil {
		c.problem("spec.losers", "a placement filled on_request has no losers", "reading is not contacting: proposals stay open")
	}
	seen := map[string]bool{}
	for i, name := range p.Actions {
		if seen[name] {
			c.problem(fmt.Sprintf("spec.actions[%d]", i), fmt.Sprintf("%q is there twice", name), "once is enough")
		}
		seen[name] = true
	}
}

func (c *compiler) period(path, text string) window.Period {
	if text == "" {
		return window.Period{}
	}
	p, err := window.ParsePeriod(text)
	if err != nil {
		c.problem(path, fmt.Sprintf("%q is not a period", text), err.Error())
	} else if _, err := p.Duration(); err != nil {
		c.problem(path, fmt.Sprintf("%q has no fixed length", text), err.Error())
	}
	return p
}

// Treatments returns the treatments of an action that the placement takes, in order of preference; none
// if it does not take the action's purpose. pull names channels that are only filled on request. The
// result may be shared; do not change it.
func (p *Placement) Treatments(a *Action, pull map[string]bool) []*decisionv1.TreatmentRef {
	if len(p.Purposes) > 0 && !slices.Contains(p.Purposes, a.Purpose) {
		return nil
	}
	takes := func(r *decisionv1.TreatmentRef) bool {
		return (len(p.Channels) == 0 || slices.Contains(p.Channels, r.GetChannel())) && (!p.ByMesh || !pull[r.GetChannel()])
	}
	refused := slices.IndexFunc(a.refs, func(r *decisionv1.TreatmentRef) bool { return !takes(r) })
	if refused < 0 {
		return a.refs
	}
	out := slices.Clone(a.refs[:refused])
	for _, r := range a.refs[refused:] {
		if takes(r) {
			out = append(out, r)
		}
	}
	return out
}
