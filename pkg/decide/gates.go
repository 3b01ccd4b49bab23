package decide

import (
	"fmt"

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

type gate struct {
	part    string
	code    reasonv1.Code
	program *expr.Program
}

// gates are an action's own conditions, in their order.
func (a *Action) gates() [3]gate {
	return [3]gate{
		{"eligibility", reasonv1.Code_CODE_NOT_ELIGIBLE, a.Eligibility},
		{"applicability", reasonv1.Code_CODE_NOT_APPLICABLE, a.Applicability},
		{"suitability", reasonv1.Code_CODE_NOT_SUITABLE, a.Suitability},
	}
}

// refusals runs the action's gates. A gate that fails while it runs says no, with the error as evidence.
func (t *turn) refusals(a *Action, mode Mode) []*reasonv1.Reason {
	var out []*reasonv1.Reason
	for _, g := range a.gates() {
		if g.program == nil {
			continue
		}
		ok, err := g.program.Bool(expr.Input{Traits: t.env.Traits})
		if ok && err == nil {
			continue
		}
		reason := t.reason(g.code, "Action/"+a.Name+"."+g.part)
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
