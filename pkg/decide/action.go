package decide

import (
	"fmt"
	"slices"
	"strings"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/expr"
)

// The purposes of an action.
const (
	PurposeMarketing     = "marketing"
	PurposeService       = "service"
	PurposeTransactional = "transactional"
	PurposeLegal         = "legal"
)

// The recipients of a treatment, by role.
const (
	ToCustomer = "customer"
	ToTeam     = "team"
)

// Action is a compiled action. It is immutable and safe for concurrent use.
type Action struct {
	// Name of the action.
	Name string
	// Group it is reported under.
	Group string
	// Purpose is marketing, service, transactional or legal.
	Purpose string
	// Class goes before any score.
	Class int32
	// Labels sorted by name.
	Labels []*decisionv1.Label
	// Eligibility, Applicability and Suitability are its gates over traits; nil says yes.
	Eligibility, Applicability, Suitability *expr.Program
	// Value and Propensity are numbers over traits; nil means 1 and 0.5.
	Value, Propensity *expr.Program
	// Treatments in order of preference, with To filled in.
	Treatments []*definitionv1.Treatment
	// ObeysCaps says whether caps, gaps and quiet hours apply.
	ObeysCaps bool
	// CountsTowardCaps says whether a contact uses up room.
	CountsTowardCaps bool

	templates map[string]*Templates // by treatment

	gates []gate
	refs  []*decisionv1.TreatmentRef // the treatments as facts name them
}

// Treatment returns a treatment by id, nil if the action has none of that id.
func (a *Action) Treatment(id string) *definitionv1.Treatment {
	for _, t := range a.Treatments {
		if t.GetId() == id {
			return t
		}
	}
	return nil
}

// CompileAction checks and compiles an action. It returns every problem it finds; the action is usable
// only if there are none. Whether channels and topics exist is for the caller to check.
func CompileAction(meta *definitionv1.Metadata, spec *definitionv1.Action, env *expr.Env) (*Action, []definition.Problem) {
	c := &compiler{env: env}
	marketing := spec.GetPurpose() == PurposeMarketing
	a := &Action{
		Name: meta.GetName(), Group: spec.GetGroup(), Purpose: spec.GetPurpose(), Class: spec.GetClass(),
		Labels: labels(meta.GetLabels()), ObeysCaps: marketing, CountsTowardCaps: marketing,
		Eligibility:   c.program("spec.eligibility", spec.GetEligibility(), expr.WantBool),
		Applicability: c.program("spec.applicability", spec.GetApplicability(), expr.WantBool),
		Suitability:   c.program("spec.suitability", spec.GetSuitability(), expr.WantBool),
		Value:         c.program("spec.value", spec.GetValue(), expr.WantNumber),
		Propensity:    c.program("spec.propensity", spec.GetPropensity(), expr.WantNumber),
	}
	c.probability(a.Propensity)
	if spec.ObeysCaps != nil {
		a.ObeysCaps = spec.GetObeysCaps()
	}
	if spec.CountsTowardCaps != nil {
		a.CountsTowardCaps = spec.GetCountsTowardCaps()
	}
	switch spec.GetPurpose() {
	case PurposeMarketing, PurposeService, PurposeTransactional, PurposeLegal:
	default:
		c.problem("spec.purpose", fmt.Sprintf("%q is not a purpose", spec.GetPurpose()), "marketing, service, transactional or legal")
	}
	a.Treatments = c.treatments(spec.GetTreatments())
	a.templates = make(map[string]*Templates, len(a.Treatments))
	for i, t := range a.Treatments {
		a.templates[t.GetId()] = c.texts(fmt.Sprintf("spec.treatments[%d]", i), t)
	}
	a.gates = newGates(a)
	for _, t := range a.Treatments {
		a.refs = append(a.refs, &decisionv1.TreatmentRef{Id: t.GetId(), Channel: t.GetChannel(), To: t.GetTo(), Topic: t.GetTopic()})
	}
	return a, c.problems
}

type compiler struct {
	env      *expr.Env
	problems []definition.Problem
}

func (c *compiler) problem(path, what, why string) {
	c.problems = append(c.problems, definition.Problem{Path: path, What: what, Why: why})
}

func (c *compiler) program(path, src string, want expr.Want) *expr.Program {
	if strings.TrimSpace(src) == "" {
		return nil
	}
	p, err := c.env.Compile(src, expr.Scope{Traits: true}, want)
	if err != nil {
		c.problem(path, "the expression does not compile", err.Error())
		return nil
	}
	return p
}

// probability refuses a propensity that is, in some case, certainly not in (0,1].
func (c *compiler) probability(p *expr.Program) {
	for _, s := range p.Spans() {
		if s.High > 0 && s.Low <= 1 {
			continue
		}
		c.problem("spec.propensity", "the propensity is "+spanned(s), "a probability is above 0 and at most 1: write 0.3 for 30 %; what is never wanted belongs into suitability")
		return
	}
}

// Worthless reports whether the value of an action is zero or less for every customer, so that it is never chosen.
func (a *Action) Worthless() bool {
	spans := a.Value.Spans()
	return len(spans) > 0 && !slices.ContainsFunc(spans, func(s expr.Span) bool { return s.High > 0 })
}

func spanned(s expr.Span) string {
	if s.Low == s.High {
		return fmt.Sprint(s.Low)
	}
	if s.High <= 0 {
		return fmt.Sprintf("at most %v", s.High)
	}
	return fmt.Sprintf("at least %v", s.Low)
}

func (c *compiler) treatments(list []*definitionv1.Treatment) []*definitionv1.Treatment {
	if len(list) == 0 {
		c.problem("spec.treatments", "the action has no treatment", "nothing could carry it out")
	}
	var out []*definitionv1.Treatment
	seen := map[string]bool{}
	for i, t := range list {
		path := fmt.Sprintf("spec.treatments[%d]", i)
		switch {
		case t.GetId() == "":
			c.problem(path+".id", "the treatment has no id", "explanations and outcomes name it")
		case seen[t.GetId()]:
			c.problem(path+".id", fmt.Sprintf("the id %q is taken", t.GetId()), "by another treatment of this action")
		}
		seen[t.GetId()] = true
		if t.GetChannel() == "" {
			c.problem(path+".channel", "the treatment has no channel", "name a Channel")
		}
		t = t.CloneVT()
		switch t.GetTo() {
		case "":
			t.To = ToCustomer
		case ToCustomer, ToTeam:
		default:
			c.problem(path+".to", fmt.Sprintf("%q is not a recipient", t.GetTo()), "customer or team")
		}
		out = append(out, t)
	}
	return out
}

func labels(m map[string]string) []*decisionv1.Label {
	var out []*decisionv1.Label
	for name, value := range m {
		out = append(out, &decisionv1.Label{Name: name, Value: value})
	}
	slices.SortFunc(out, func(a, b *decisionv1.Label) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out
}
