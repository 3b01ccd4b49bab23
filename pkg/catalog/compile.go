package catalog

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/contact"
	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/journey"
	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/window"
)

// Compile compiles a bundle, which it does not keep or change. The diagnostics are all that is wrong and
// all that deserves a warning, at the positions of the resources; the catalog is nil if one of them is an
// error.
func Compile(bundle *definitionv1.Bundle) (*Catalog, []definition.Diagnostic) {
	b := bundle.CloneVT()
	c := &compiler{catalog: Empty(), byKind: map[string][]*definitionv1.Resource{}, names: map[string]map[string]bool{}, actions: map[string]*decide.Action{}}
	c.catalog.Revision = b.GetRevision()
	c.group(b.GetResources())
	c.workspace()
	c.identifiers()
	c.events()
	if env := c.env(); env != nil {
		c.collect(env)
	}
	c.references()
	c.unreachable()
	c.templates()
	c.diagnostics = definition.Sort(c.diagnostics)
	if definition.HasErrors(c.diagnostics) {
		return nil, c.diagnostics
	}
	return c.catalog, c.diagnostics
}

type compiler struct {
	catalog *Catalog
	// byKind holds the resources in the order of their names.
	byKind map[string][]*definitionv1.Resource
	// names tells which names exist, by kind.
	names map[string]map[string]bool
	// published maps event types to names.
	published map[string]string
	// actions are those that compiled and those that did not, so that all their templates are looked at.
	actions     map[string]*decide.Action
	diagnostics []definition.Diagnostic
}

func (c *compiler) fail(r *definitionv1.Resource, path, what, why string) {
	c.report(r, definition.Problem{Path: path, What: what, Why: why}, definition.Error)
}

func (c *compiler) warn(r *definitionv1.Resource, path, what, why string) {
	c.report(r, definition.Problem{Path: path, What: what, Why: why}, definition.Warning)
}

func (c *compiler) report(r *definitionv1.Resource, p definition.Problem, s definition.Severity) {
	c.diagnostics = append(c.diagnostics, definition.About(r, p, s))
}

func (c *compiler) problems(r *definitionv1.Resource, list []definition.Problem) bool {
	for _, p := range list {
		c.report(r, p, definition.Error)
	}
	return len(list) == 0
}

func name(r *definitionv1.Resource) string { return r.GetMetadata().GetName() }

func (c *compiler) group(resources []*definitionv1.Resource) {
	slices.SortStableFunc(resources, func(a, b *definitionv1.Resource) int { return cmp.Compare(name(a), name(b)) })
	for _, r := range resources {
		kind := definition.KindOf(r)
		if kind == "" || name(r) == "" {
			c.fail(r, "", "a resource without kind or name", "the bundle was not made by this program")
			continue
		}
		if c.names[kind] == nil {
			c.names[kind] = map[string]bool{}
		}
		if c.names[kind][name(r)] {
			c.fail(r, "metadata.name", "there is another "+kind+" "+name(r), "give one of the two another name")
			continue
		}
		c.names[kind][name(r)] = true
		c.byKind[kind] = append(c.byKind[kind], r)
	}
}

func (c *compiler) workspace() {
	list := c.byKind["Workspace"]
	if len(list) == 0 {
		c.diagnostics = append(c.diagnostics, definition.Diagnostic{
			What: "there is no Workspace", Why: "a directory has exactly one document of kind: Workspace",
		})
		return
	}
	for _, r := range list[1:] {
		c.fail(r, "", "there is another Workspace", "the first one is "+name(list[0])+" at "+list[0].GetPosition())
	}
	w := list[0].GetWorkspace()
	c.catalog.Workspace, c.catalog.Tenant = w, cmp.Or(w.GetTenant(), DefaultTenant)
	if strings.ContainsAny(c.catalog.Tenant, "/ \t\n.*>") {
		c.fail(list[0], "spec.tenant", fmt.Sprintf("%q is no tenant", w.GetTenant()), "lower case letters, digits and dashes")
	}
	var zones window.Zones
	if z := w.GetDefaultZone(); z != "" && zones.Load(z) == nil {
		c.fail(list[0], "spec.default_zone", fmt.Sprintf("%q is no time zone", z), "an IANA name such as Europe/London")
	}
	if region := w.GetRegion(); region != "" && !event.IsRegion(region) {
		c.fail(list[0], "spec.region", fmt.Sprintf("%q is no region", region), regionRemedy(region))
	}
}

// regionRemedy says what a region is, and which one was probably meant.
func regionRemedy(region string) string {
	meant := strings.ToUpper(strings.TrimSpace(region))
	if meant == "UK" {
		meant = "GB"
	}
	if event.IsRegion(meant) {
		return "write " + meant
	}
	return "an ISO 3166 code of two capitals, such as DE"
}

func (c *compiler) identifiers() {
	declared := map[string]*definitionv1.IdentifierKind{}
	for _, r := range c.byKind["Identifier"] {
		spec := r.GetIdentifier()
		normalisers := []string{event.NormaliserNone, event.NormaliserLower, event.NormaliserEmail, event.NormaliserPhone}
		if n := spec.GetNormaliser(); n != "" && !slices.Contains(normalisers, n) {
			c.fail(r, "spec.normaliser", fmt.Sprintf("%q is no normaliser", n), "one of "+strings.Join(normalisers, ", "))
		}
		declared[name(r)] = spec
	}
	c.catalog.Kinds = event.KindsFrom(declared).In(c.catalog.Workspace.GetRegion())
}

func (c *compiler) events() {
	c.published = map[string]string{}
	for _, r := range c.byKind["Event"] {
		spec := r.GetEvent()
		e := &Event{Name: name(r), Type: cmp.Or(spec.GetType(), name(r)), Spec: spec, Freshness: DefaultFreshness}
		known := event.PlainType(e.Type)
		if event.IsOutcome(name(r)) {
			c.outcome(r)
			e.Type, known = name(r), name(r)
		}
		if text := spec.GetFreshness(); text != "" {
			var err error
			if e.Freshness, err = window.Fixed(text); err != nil {
				c.fail(r, "spec.freshness", fmt.Sprintf("%q is no duration", text), err.Error())
			}
		}
		if other, taken := c.published[known]; taken {
			c.fail(r, "spec.type", fmt.Sprintf("events of the type %q are %s already", e.Type, other), "a published type has one definition")
			continue
		}
		c.published[known] = e.Name
		c.catalog.Events[known] = e
	}
}

// outcome checks what is declared of an outcome: what is read of it is given.
func (c *compiler) outcome(r *definitionv1.Resource) {
	why := fmt.Sprintf("%s is an outcome, reported with a token; for events that are published under this type, give the Event another name and type: %s", name(r), cmp.Or(r.GetEvent().GetType(), name(r)))
	for _, property := range slices.Sorted(maps.Keys(r.GetEvent().GetProperties())) {
		c.fail(r, "spec.properties."+property, "an outcome has no properties of its own", why)
	}
	if t := r.GetEvent().GetType(); t != "" && t != name(r) {
		c.fail(r, "spec.type", "an outcome has no type of its own", why)
	}
}

// env makes the environment in which all expressions are compiled.
func (c *compiler) env() *expr.Env {
	schema := expr.Schema{Events: map[string]map[string]expr.Type{}, Traits: map[string]expr.Type{}}
	for _, r := range c.byKind["Event"] {
		properties := map[string]expr.Type{}
		for property, text := range r.GetEvent().GetProperties() {
			t, ok := expr.ParseType(text)
			if !ok {
				c.fail(r, "spec.properties."+property, fmt.Sprintf("%q is no type", text), "string, int, double, bool, timestamp, strings or any")
				t = expr.String
			}
			properties[property] = t
		}
		schema.Events[name(r)] = properties
	}
	for _, r := range c.byKind["Trait"] {
		t, ok := expr.ParseType(r.GetTrait().GetType())
		if !ok {
			t = expr.String // its own compiler complains
		}
		schema.Traits[name(r)] = t
	}
	env, err := expr.NewEnv(schema)
	if err != nil {
		c.diagnostics = append(c.diagnostics, definition.Diagnostic{What: "expressions cannot be compiled", Why: err.Error()})
		return nil
	}
	return env
}

// collect hands each resource to the package that runs it.
func (c *compiler) collect(env *expr.Env) {
	out := c.catalog
	for _, r := range c.byKind["Trait"] {
		if t, problems := profile.CompileTrait(name(r), r.GetTrait(), env); c.problems(r, problems) {
			out.Traits = append(out.Traits, t)
		}
	}
	for _, r := range c.byKind["Action"] {
		a, problems := decide.CompileAction(r.GetMetadata(), r.GetAction(), env)
		c.actions[name(r)] = a
		if c.problems(r, problems) {
			out.Actions[name(r)] = a
		}
	}
	for _, r := range c.byKind["Placement"] {
		if p, problems := decide.CompilePlacement(r.GetMetadata(), r.GetPlacement()); c.problems(r, problems) {
			out.Placements = append(out.Placements, p)
		}
	}
	for _, r := range c.byKind["Journey"] {
		if j, problems := journey.Compile(name(r), r.GetJourney(), env); c.problems(r, problems) {
			c.need(j, r.GetJourney())
			out.Journeys = append(out.Journeys, j)
		}
	}
	for _, r := range c.byKind["ContactPolicy"] {
		if p, problems := contact.Compile(name(r), r.GetContactPolicy()); c.problems(r, problems) {
			out.Policies = append(out.Policies, p)
		}
	}
	for _, r := range c.byKind["Topic"] {
		out.Topics[name(r)] = r.GetTopic()
	}
	for _, r := range c.byKind["Channel"] {
		out.Channels[name(r)] = r.GetChannel()
	}
}
