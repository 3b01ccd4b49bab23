package decide

import (
	"fmt"

	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/arbitration"
	"refrain.dev/pkg/expr"
)

// Mode says how far the gates are run.
type Mode int

// The modes.
const (
	// Fast stops at the first no of each candidate.
	Fast Mode = iota
	// Explain runs every gate of every candidate.
	Explain
)

// Defaults of the factors.
const (
	defaultPropensity = 0.5
	neutral           = 1.0
)

// gate is one of an action's own conditions.
type gate struct {
	rule    string
	code    reasonv1.Code
	program *expr.Program
}

// newGates lists the gates that an action has, in their order.
func newGates(a *Action) []gate {
	all := []gate{
		{"eligibility", reasonv1.Code_CODE_NOT_ELIGIBLE, a.Eligibility},
		{"applicability", reasonv1.Code_CODE_NOT_APPLICABLE, a.Applicability},
		{"suitability", reasonv1.Code_CODE_NOT_SUITABLE, a.Suitability},
	}
	var out []gate
	for _, g := range all {
		if g.program != nil {
			out = append(out, gate{rule: "Action/" + a.Name + "." + g.rule, code: g.code, program: g.program})
		}
	}
	return out
}

func (t *turn) refusals(a *Action, mode Mode) []*reasonv1.Reason {
	return a.Refusals(t.env.Traits, t.rules.Revision, mode)
}

// Refusals runs the action's own gates (eligibility, applicability, suitability) on a customer's traits, sorted by
// name, and returns why they say no; nothing if they do not. A gate that fails while it runs says no, with the error
// as evidence. Revision is the catalog's, for the reasons.
func (a *Action) Refusals(traits []*profilev1.Trait, revision string, mode Mode) []*reasonv1.Reason {
	var out []*reasonv1.Reason
	for _, g := range a.gates {
		ok, err := g.program.Bool(expr.Input{Traits: traits})
		if ok && err == nil {
			continue
		}
		reason := &reasonv1.Reason{Code: g.code, Rule: g.rule, Revision: revision}
		if err != nil {
			reason.Evidence = []string{err.Error()}
			reason.Remedy = "mend the expression so that it has a value for every customer"
		}
		out = append(out, reason)
		if mode == Fast {
			break
		}
	}
	return out
}

// factors are what the action's score is made of. An expression that fails counts as nothing.
func (t *turn) factors(a *Action) arbitration.Factors {
	return arbitration.Factors{
		Propensity: t.number(a.Propensity, defaultPropensity),
		Context:    neutral,
		Value:      t.number(a.Value, neutral),
		Levers:     neutral,
	}
}

func (t *turn) number(p *expr.Program, otherwise float64) float64 {
	if p == nil {
		return otherwise
	}
	n, err := p.Number(expr.Input{Traits: t.env.Traits})
	if err != nil {
		return 0
	}
	return n
}

func (t *turn) noTreatment(action, evidence string) *reasonv1.Reason {
	return t.reason(reasonv1.Code_CODE_NO_TREATMENT, "Action/"+action, evidence)
}

func scored(name string, total float64, class int32) string {
	return fmt.Sprintf("%s scored %.3f in class %d", name, total, class)
}
