package journey

import (
	"fmt"
	"strings"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/window"
)

const (
	// maxSteps bounds a journey, and with it what one input may set off.
	maxSteps = 200
	// maxDepth bounds branches inside branches.
	maxDepth = 8
	// defaultUntil is how long a proposal is valid if its step does not say.
	defaultUntil = "P7D"
)

// Compile checks and compiles a journey against the declared events and traits. It returns every problem
// it finds, with paths such as "spec.steps[2].when"; the definition is usable only if there are none.
// Whether the actions exist is for the caller to check, with Step.Path as the place.
func Compile(name string, spec *definitionv1.Journey, env *expr.Env) (*Definition, []definition.Problem) {
	c := &compiler{env: env, d: &Definition{Name: name, index: map[string]int{}}}
	c.entry(spec.GetEntry())
	scope := expr.Scope{Event: spec.GetEntry().GetEvent()}
	c.d.Key = c.program("spec.key", spec.GetKey(), scope, expr.WantValue)
	c.d.Reentry = c.reentry(spec.GetReentry())
	for i, x := range spec.GetExit() {
		c.exit(fmt.Sprintf("spec.exit[%d]", i), x)
	}
	if len(spec.GetSteps()) == 0 {
		c.problem("spec.steps", "the journey has no steps", "it would end where it begins")
	}
	c.when = expr.Scope{Event: spec.GetEntry().GetEvent(), Traits: true}
	c.steps(place{path: "spec.steps", next: Done}, spec.GetSteps())
	content, err := spec.MarshalVT()
	if err != nil {
		c.problem("spec", "the journey cannot be encoded", err.Error())
	}
	c.d.Hash = identity.Derive("journey", name, string(content))
	return c.d, c.problems
}

type compiler struct {
	env      *expr.Env
	d        *Definition
	when     expr.Scope
	problems []definition.Problem
	full     bool
}

// place is where a list of steps stands: its path, its depth and the step after it.
type place struct {
	path  string
	depth int
	next  int
}

func (c *compiler) problem(path, what, why string) {
	c.problems = append(c.problems, definition.Problem{Path: path, What: what, Why: why})
}

func (c *compiler) program(path, src string, scope expr.Scope, want expr.Want) *expr.Program {
	if strings.TrimSpace(src) == "" {
		return nil
	}
	p, err := c.env.Compile(src, scope, want)
	if err != nil {
		c.problem(path, "the expression does not compile", err.Error())
		return nil
	}
	return p
}

func (c *compiler) entry(e *definitionv1.Entry) {
	if e.GetEvent() == "" {
		c.problem("spec.entry.event", "the entry names no event", "a journey starts when an event happens")
		return
	}
	scope := expr.Scope{Event: e.GetEvent(), Traits: true}
	c.d.Entry = Entry{Event: e.GetEvent(), Where: c.program("spec.entry.where", e.GetWhere(), scope, expr.WantBool)}
}

func (c *compiler) exit(path string, x *definitionv1.Exit) {
	as := x.GetAs()
	switch as {
	case "":
		as = "exit"
	case "goal", "exit":
	default:
		c.problem(path+".as", fmt.Sprintf("%q is not a way to end", as), "goal or exit")
	}
	if x.GetEvent() == "" && x.GetWhere() == "" {
		c.problem(path, "the exit has neither event nor where", "it would end the journey with any event at all")
	}
	scope := expr.Scope{Event: x.GetEvent(), Traits: true}
	where := c.program(path+".where", x.GetWhere(), scope, expr.WantBool)
	c.d.Exits = append(c.d.Exits, Exit{Event: x.GetEvent(), Where: where, As: as})
}

func (c *compiler) reentry(text string) Reentry {
	kind, after, _ := strings.Cut(strings.TrimSpace(text), " ")
	switch {
	case kind == "" || (kind == "never" && after == ""):
		return Reentry{Kind: ReentryNever}
	case kind == "always" && after == "":
		return Reentry{Kind: ReentryAlways}
	case kind == "after":
		return Reentry{Kind: ReentryAfter, After: c.period("spec.reentry", strings.TrimSpace(after))}
	}
	c.problem("spec.reentry", fmt.Sprintf("%q is not a re-entry rule", text), "never, always, or after with a period such as after P30D")
	return Reentry{}
}

func (c *compiler) period(path, text string) window.Period {
	p, err := window.ParsePeriod(text)
	if err != nil {
		c.problem(path, fmt.Sprintf("%q is not a period", text), err.Error())
	}
	return p
}

// steps compiles a list and returns the index of its first step, or at.next if it is empty.
func (c *compiler) steps(at place, list []*definitionv1.Step) int {
	first, last := at.next, Done
	for i, s := range list {
		path := fmt.Sprintf("%s[%d]", at.path, i)
		n := c.add(path, s)
		if n == Done {
			continue
		}
		if last == Done {
			first = n
		} else {
			c.d.Steps[last].Next = n
		}
		last = n
	}
	if last != Done {
		c.d.Steps[last].Next = at.next
	}
	for i, s := range list {
		c.cases(place{path: fmt.Sprintf("%s[%d].branch", at.path, i), depth: at.depth}, s)
	}
	return first
}

// add compiles one step without its cases and returns its index, Done if it cannot be kept.
func (c *compiler) add(path string, s *definitionv1.Step) int {
	if len(c.d.Steps) >= maxSteps {
		if !c.full {
			c.full = true
			c.problem(path, fmt.Sprintf("the journey has more than %d steps", maxSteps), "split it")
		}
		return Done
	}
	if s.GetId() == "" {
		c.problem(path+".id", "the step has no id", "facts and explanations name it")
		return Done
	}
	if other, ok := c.d.index[s.GetId()]; ok {
		c.problem(path+".id", fmt.Sprintf("the id %q is taken", s.GetId()), "by "+c.d.Steps[other].Path)
		return Done
	}
	step, ok := c.body(path, s)
	if !ok {
		return Done
	}
	n := len(c.d.Steps)
	c.d.Steps = append(c.d.Steps, step)
	c.d.index[step.ID] = n
	return n
}

func (c *compiler) body(path string, s *definitionv1.Step) (Step, bool) {
	step := Step{ID: s.GetId(), Path: path, Next: Done}
	kinds := 0
	if s.GetAction() != "" {
		kinds++
		until := s.GetUntil()
		if until == "" {
			until = defaultUntil
		}
		step.Kind, step.Action, step.Until = StepAction, s.GetAction(), c.period(path+".until", until)
	}
	if s.GetWait() != "" {
		kinds++
		step.Kind, step.Wait = StepWait, c.period(path+".wait", s.GetWait())
	}
	if len(s.GetBranch()) > 0 {
		kinds++
		step.Kind = StepBranch
	}
	if kinds != 1 {
		c.problem(path, "the step does not do exactly one thing", "give it one of action, wait and branch")
		return Step{}, false
	}
	if s.GetUntil() != "" && s.GetAction() == "" {
		c.problem(path+".until", "only an action step has an until", "it is how long the proposal is valid")
	}
	return step, true
}

// later compiles a condition that is looked at after the entry: what it reads of the event is kept.
func (c *compiler) later(path, src string) *expr.Program {
	p := c.program(path, src, c.when, expr.WantBool)
	c.d.Need(p.Reads())
	return p
}

func (c *compiler) cases(at place, s *definitionv1.Step) {
	n, ok := c.d.index[s.GetId()]
	if !ok || len(s.GetBranch()) == 0 || c.d.Steps[n].Path+".branch" != at.path {
		return
	}
	if at.depth >= maxDepth {
		c.problem(at.path, fmt.Sprintf("branches are nested more than %d deep", maxDepth), "split the journey")
		return
	}
	after := c.d.Steps[n].Next
	var cases []Case
	for i, k := range s.GetBranch() {
		path := fmt.Sprintf("%s[%d]", at.path, i)
		if k.GetWhen() == "" && i < len(s.GetBranch())-1 {
			c.problem(path+".when", "only the last case may be without a condition", "the cases after it would never be taken")
		}
		if k.GetExit() && len(k.GetSteps()) > 0 {
			c.problem(path+".steps", "a case that exits has no steps", "put them before the branch or leave out exit")
		}
		cases = append(cases, Case{
			When:  c.later(path+".when", k.GetWhen()),
			First: c.steps(place{path: path + ".steps", depth: at.depth + 1, next: after}, k.GetSteps()),
			Exit:  k.GetExit(),
		})
	}
	c.d.Steps[n].Cases = cases
}
