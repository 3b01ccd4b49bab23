package catalog

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/event"
)

// references checks what one resource says about others.
func (c *compiler) references() {
	for _, r := range c.byKind["Trait"] {
		c.traitReferences(r)
	}
	for _, r := range c.byKind["Journey"] {
		j := r.GetJourney()
		c.event(r, "spec.entry.event", j.GetEntry().GetEvent())
		for i, x := range j.GetExit() {
			c.event(r, fmt.Sprintf("spec.exit[%d].event", i), x.GetEvent())
		}
		c.steps(r, "spec.steps", j.GetSteps())
	}
	for _, r := range c.byKind["Action"] {
		c.actionReferences(r)
	}
	for _, r := range c.byKind["Placement"] {
		p := r.GetPlacement()
		for i, a := range p.GetActions() {
			c.exists(r, fmt.Sprintf("spec.actions[%d]", i), "Action", a)
		}
		c.channels(r, "spec.takes.channel", p.GetTakes().GetChannel())
	}
	for _, r := range c.byKind["ContactPolicy"] {
		p := r.GetContactPolicy()
		c.channels(r, "spec.applies.channel", p.GetApplies().GetChannel())
		for i, limit := range p.GetCaps() {
			c.exists(r, fmt.Sprintf("spec.caps[%d].channel", i), "Channel", limit.GetChannel())
			c.exists(r, fmt.Sprintf("spec.caps[%d].action", i), "Action", limit.GetAction())
		}
	}
	for _, r := range c.byKind["Topic"] {
		c.channels(r, "spec.channels", r.GetTopic().GetChannels())
	}
	for _, r := range c.byKind["Identifier"] {
		c.exists(r, "spec.channel", "Channel", r.GetIdentifier().GetChannel())
	}
	for _, r := range c.byKind["Channel"] {
		c.channel(r)
	}
}

// exists reports a name that is given and names nothing.
func (c *compiler) exists(r *definitionv1.Resource, path, kind, name string) bool {
	if name == "" || c.names[kind][name] {
		return true
	}
	known := slices.Sorted(maps.Keys(c.names[kind]))
	why := fmt.Sprintf("there is no %s at all", kind)
	if best := definition.Nearest(name, known); best != "" {
		why = "did you mean " + best + "?"
	} else if len(known) > 0 {
		why = "there are " + strings.Join(known[:min(len(known), 20)], ", ")
	}
	c.fail(r, path, fmt.Sprintf("there is no %s %q", kind, name), why)
	return false
}

func (c *compiler) channels(r *definitionv1.Resource, path string, names []string) {
	for i, n := range names {
		c.exists(r, fmt.Sprintf("%s[%d]", path, i), "Channel", n)
	}
}

func (c *compiler) traitReferences(r *definitionv1.Resource) {
	t := r.GetTrait()
	for compute, a := range map[string]*definitionv1.Aggregate{
		"latest": t.GetLatest(), "count": t.GetCount(), "sum": t.GetSum(), "first": t.GetFirst(), "last": t.GetLast(),
	} {
		if a != nil {
			c.event(r, "spec."+compute+".event", a.GetEvent())
		}
	}
}

// event takes an event that is not declared as a dynamic one, with a warning.
func (c *compiler) event(r *definitionv1.Resource, path, name string) {
	if name == "" || c.names["Event"][name] {
		return
	}
	if declared, ok := c.published[name]; ok {
		c.fail(r, path, fmt.Sprintf("%q is a published type", name), "refer to it by its name, "+declared)
		return
	}
	if _, known := c.catalog.Events[name]; !known {
		c.catalog.Events[name] = dynamic(name)
	}
	if isReserved(name) {
		return
	}
	why := "its properties are not checked; declare it as an Event"
	if best := definition.Nearest(name, slices.Sorted(maps.Keys(c.names["Event"]))); best != "" {
		why += ", or did you mean " + best + "?"
	}
	c.warn(r, path, fmt.Sprintf("the event %q is not declared", name), why)
}

// isReserved says whether an event type is there without being declared.
func isReserved(name string) bool {
	switch name {
	case "identify", "page", "screen", "group", "alias", event.TypeConsentGiven, event.TypeConsentWithdrawn:
		return true
	}
	return event.IsOutcome(name)
}

func (c *compiler) steps(r *definitionv1.Resource, path string, list []*definitionv1.Step) {
	for i, s := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		c.exists(r, at+".action", "Action", s.GetAction())
		for j, arm := range s.GetBranch() {
			c.steps(r, fmt.Sprintf("%s.branch[%d].steps", at, j), arm.GetSteps())
		}
	}
}

func (c *compiler) actionReferences(r *definitionv1.Resource) {
	for i, t := range r.GetAction().GetTreatments() {
		at := fmt.Sprintf("spec.treatments[%d]", i)
		c.exists(r, at+".channel", "Channel", t.GetChannel())
		if c.exists(r, at+".topic", "Topic", t.GetTopic()) && t.GetTopic() != "" {
			c.topic(r, at, t)
		}
	}
}

func (c *compiler) topic(r *definitionv1.Resource, at string, t *definitionv1.Treatment) {
	topic := c.catalog.Topics[t.GetTopic()]
	if list := topic.GetChannels(); len(list) > 0 && !slices.Contains(list, t.GetChannel()) {
		c.fail(r, at+".topic", fmt.Sprintf("the topic %s is not for the channel %s", t.GetTopic(), t.GetChannel()), "it is for "+strings.Join(list, ", "))
	}
}
