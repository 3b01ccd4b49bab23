package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/journey"
	"refrain.dev/pkg/liquid"
)

// templates holds what templates read against what is declared: the traits, and the properties of the events by
// which journeys come to propose the action. What has a default may be undeclared.
func (c *compiler) templates() {
	proposing := c.proposingEvents()
	for _, r := range c.byKind["Action"] {
		a := c.actions[name(r)]
		if a == nil {
			continue
		}
		for i, t := range r.GetAction().GetTreatments() {
			for path, uses := range a.Templates(t.GetId()).Uses(t) {
				for _, u := range uses {
					c.use(r, fmt.Sprintf("spec.treatments[%d].%s", i, path), u, proposing[name(r)])
				}
			}
		}
	}
}

// need tells a journey what the templates of its actions read of the event, so that its enrollments keep that.
func (c *compiler) need(j *journey.Definition, spec *definitionv1.Journey) {
	for _, action := range proposed(spec.GetSteps()) {
		a := c.actions[action]
		if a == nil {
			continue
		}
		for _, t := range a.Treatments {
			for _, uses := range a.Templates(t.GetId()).Uses(t) {
				j.Need(eventReads(uses))
			}
		}
	}
}

// eventReads is what a template reads of the event.
func eventReads(uses []liquid.Use) expr.Reads {
	var out expr.Reads
	for _, u := range uses {
		switch {
		case len(u.Path) == 0:
			out.All = true
		case u.Path[0] == "event" && len(u.Path) == 1:
			out.All = true
		case u.Path[0] == "event":
			out.Properties = append(out.Properties, u.Path[1])
		}
	}
	return out
}

// proposingEvents are the entry events of the journeys that propose each action.
func (c *compiler) proposingEvents() map[string][]string {
	out := map[string][]string{}
	for _, r := range c.byKind["Journey"] {
		entry := r.GetJourney().GetEntry().GetEvent()
		for _, action := range proposed(r.GetJourney().GetSteps()) {
			if !slices.Contains(out[action], entry) {
				out[action] = append(out[action], entry)
			}
		}
	}
	return out
}

// proposed lists the actions of steps and of the steps inside them.
func proposed(steps []*definitionv1.Step) []string {
	var out []string
	for _, s := range steps {
		if s.GetAction() != "" {
			out = append(out, s.GetAction())
		}
		for _, arm := range s.GetBranch() {
			out = append(out, proposed(arm.GetSteps())...)
		}
	}
	return out
}

// templateNames are the variables that every template has.
func templateNames() []string {
	return []string{"action", "customer", "event", "traits", "unsubscribe_url"}
}

func (c *compiler) use(r *definitionv1.Resource, path string, u liquid.Use, events []string) {
	if u.Guarded {
		return
	}
	undeclared := func(what, why string) {
		c.report(r, definition.Problem{Path: path, Line: u.Line, Col: u.Column, What: what, Why: why}, definition.Error)
	}
	written := strings.Join(u.Path, ".")
	switch {
	case len(u.Path) == 0:
		undeclared("a variable whose name is worked out cannot be checked", "write event[name] or traits[name]")
	case !slices.Contains(templateNames(), u.Path[0]):
		undeclared(fmt.Sprintf("the variable %s is not declared", written), declare(u.Path[0], templateNames()))
	case u.Path[0] == "customer" && len(u.Path) > 1 && u.Path[1] != "id" && u.Path[1] != "identifiers":
		undeclared(fmt.Sprintf("the variable %s is not declared", written), "of the customer there are customer.id and customer.identifiers; the rest is in traits")
	case u.Path[0] == "traits" && len(u.Path) > 1 && !c.names["Trait"][u.Path[1]]:
		undeclared(fmt.Sprintf("the trait %s is not declared", u.Path[1]), declare(u.Path[1], slices.Sorted(maps.Keys(c.names["Trait"]))))
	case u.Path[0] == "event" && len(u.Path) > 1:
		for _, e := range events {
			if why := c.undeclaredProperty(e, u.Path[1]); why != "" {
				undeclared(fmt.Sprintf("the property %s of the event %s is not declared", u.Path[1], e), why)
			}
		}
	}
}

// undeclaredProperty says how to mend a property that an event does not declare; empty if it does, or if the event is
// not declared itself, so that it may have any.
func (c *compiler) undeclaredProperty(event, property string) string {
	if fields := expr.OutcomeFields(event); fields != nil {
		if _, ok := fields[property]; ok {
			return ""
		}
		return declare(property, slices.Sorted(maps.Keys(fields)))
	}
	for _, r := range c.byKind["Event"] {
		if name(r) != event {
			continue
		}
		declared := r.GetEvent().GetProperties()
		if _, ok := declared[property]; ok {
			return ""
		}
		return declare(property, slices.Sorted(maps.Keys(declared)))
	}
	return ""
}

func declare(name string, known []string) string {
	why := "declare it, or give it a default:"
	if best := definition.Nearest(name, known); best != "" {
		why = "did you mean " + best + "? Else " + why
	}
	return why
}
