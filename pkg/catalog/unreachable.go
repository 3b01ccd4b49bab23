package catalog

import (
	"fmt"
	"slices"
	"strings"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/window"
)

// unreachable warns about what is right by itself and will never happen: an action that is never chosen, a treatment
// that is never used, customers who are never contacted.
func (c *compiler) unreachable() {
	for _, r := range c.byKind["Action"] {
		if a := c.actions[name(r)]; a != nil && a.Worthless() {
			c.warn(r, "spec.value", "the value is never above zero", "doing nothing is always better, so it will never be chosen; write what the action is worth")
		}
		if a, ok := c.catalog.Actions[name(r)]; ok {
			c.placed(r, a)
		}
		c.worded(r)
	}
	for _, r := range c.byKind["ContactPolicy"] {
		c.alwaysQuiet(r)
	}
}

// placed warns about treatments that no placement takes in the way in which their channel reaches people.
func (c *compiler) placed(r *definitionv1.Resource, a *decide.Action) {
	if len(c.catalog.Placements) < len(c.byKind["Placement"]) {
		return // one that is not right might take it
	}
	pull := map[string]bool{}
	for n, def := range c.catalog.Channels {
		pull[n] = def.GetAdapter() == "none"
	}
	_, journeys := c.proposingEvents()[a.Name]
	sent, shown, taken := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, p := range c.catalog.Placements {
		for _, t := range p.Treatments(a, pull) {
			taken[t.GetChannel()] = true
			if p.ByMesh {
				sent[t.GetChannel()] = true
			} else if journeys || slices.Contains(p.Actions, a.Name) {
				shown[t.GetChannel()] = true
			}
		}
	}
	for i, t := range r.GetAction().GetTreatments() {
		channel, at := t.GetChannel(), fmt.Sprintf("spec.treatments[%d].channel", i)
		switch {
		case !c.names["Channel"][channel]:
		case !taken[channel]:
			c.warn(r, at, fmt.Sprintf("no placement takes %s on the channel %s", a.Name, channel), "it will never be chosen; let a placement filled "+way(pull[channel])+" take "+a.Purpose+" actions on "+channel)
		case !pull[channel] && !sent[channel] && (journeys || !shown[channel]):
			c.warn(r, at, fmt.Sprintf("no placement that sends takes %s on the channel %s", a.Name, channel), "it will never be sent: what is filled on_request is only shown; let a placement filled by_mesh take "+a.Purpose+" actions on "+channel)
		}
	}
}

// way is how a placement is filled that reaches people on a channel.
func way(pull bool) string {
	if pull {
		return "on_request"
	}
	return "by_mesh"
}

// worded warns about mail without a subject or text.
func (c *compiler) worded(r *definitionv1.Resource) {
	for i, t := range r.GetAction().GetTreatments() {
		if !mails(c.catalog.Channels[t.GetChannel()]) {
			continue
		}
		var without []string
		if t.GetSubject() == "" {
			without = append(without, "subject")
		}
		if t.GetBody().GetText() == "" {
			without = append(without, "body")
		}
		if list := strings.Join(without, " and "); list != "" {
			c.warn(r, fmt.Sprintf("spec.treatments[%d]", i), "a mail without "+list, "give the treatment a "+list)
		}
	}
}

func mails(def *definitionv1.Channel) bool {
	return def.GetAdapter() == "smtp" || def.GetAdapter() == "file" && def.GetConfig()["maildir"] != ""
}

// alwaysQuiet warns about quiet hours that an unknown time zone makes endless.
func (c *compiler) alwaysQuiet(r *definitionv1.Resource) {
	spec := r.GetContactPolicy().GetQuiet()
	if spec == nil || spec.GetUnknownZone() == "workspace" {
		return
	}
	q, err := window.NewQuiet(spec.GetFrom(), spec.GetTo())
	if err != nil || !q.AlwaysSomewhere() {
		return
	}
	who := "under this policy"
	if list := r.GetContactPolicy().GetApplies().GetChannel(); len(list) > 0 {
		who += " on " + strings.Join(list, ", ")
	}
	c.warn(r, "spec.quiet", "customers whose time zone is unknown are never contacted "+who,
		fmt.Sprintf("it is always %s somewhere; publish each customer's timezone, or write unknown_zone: workspace", q))
}
