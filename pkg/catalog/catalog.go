// Package catalog compiles a bundle of definitions into one immutable catalog, or says everything that is
// wrong with it.
//
// It collects: each kind of resource is compiled by the package that runs it, and keeps its type there.
// What catalog adds is what no resource can know alone: the types that expressions see, that names refer
// to something, and that there is exactly one Workspace.
package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/consent"
	"refrain.dev/pkg/contact"
	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/journey"
	"refrain.dev/pkg/profile"
)

// DefaultTenant is whose definitions they are if the Workspace does not say.
const DefaultTenant = "default"

// DefaultFreshness is how old an event may be and still start something, if its definition does not say.
const DefaultFreshness = time.Hour

// Catalog is what a bundle compiles to. It is immutable and safe for concurrent use; slices are sorted by
// name.
type Catalog struct {
	// Revision of the bundle; empty before any was applied.
	Revision string
	// Tenant whose definitions they are.
	Tenant string
	// Workspace, never nil.
	Workspace *definitionv1.Workspace
	// Events by type, as event.TypeOf has it: the declared ones, and those that are referred to without being declared.
	Events map[string]*Event
	// Kinds of identifiers, with those that are there from the start.
	Kinds *event.Kinds
	// Traits, Placements, Journeys and Policies in the order of their names.
	Traits     []*profile.TraitRule
	Placements []*decide.Placement
	Journeys   []*journey.Definition
	Policies   []*contact.Policy
	// Actions, Topics and Channels by name.
	Actions  map[string]*decide.Action
	Topics   map[string]*definitionv1.Topic
	Channels map[string]*definitionv1.Channel
}

// Event is an event type.
type Event struct {
	// Name of the definition, by which other definitions refer to it.
	Name string
	// Type as published.
	Type string
	// Spec is nil if Dynamic.
	Spec *definitionv1.EventType
	// Freshness is how old an event may be and still start something.
	Freshness time.Duration
	// Dynamic says that the type is not declared.
	Dynamic bool
}

// Empty returns the catalog that applies before any bundle was applied: profiles are kept under the
// identifier kinds that are there from the start, and nothing is decided.
func Empty() *Catalog {
	return &Catalog{
		Tenant: DefaultTenant, Workspace: &definitionv1.Workspace{}, Kinds: event.DefaultKinds(),
		Events: map[string]*Event{}, Actions: map[string]*decide.Action{},
		Topics: map[string]*definitionv1.Topic{}, Channels: map[string]*definitionv1.Channel{},
	}
}

// Event returns the event of a type, as event.TypeOf has it, a dynamic one if the type is not known.
func (c *Catalog) Event(known string) *Event {
	if e, ok := c.Events[known]; ok {
		return e
	}
	return dynamic(known)
}

func dynamic(name string) *Event {
	return &Event{Name: name, Type: name, Freshness: DefaultFreshness, Dynamic: true}
}

// Journey returns a journey by name, nil if there is none.
func (c *Catalog) Journey(name string) *journey.Definition {
	i, ok := slices.BinarySearchFunc(c.Journeys, name, func(d *journey.Definition, name string) int { return cmp.Compare(d.Name, name) })
	if !ok {
		return nil
	}
	return c.Journeys[i]
}

// JourneyByHash returns the journey with a content hash, to which enrollments are pinned; nil if this
// revision does not have it. Look in the catalogs of all revisions that are kept.
func (c *Catalog) JourneyByHash(hash string) *journey.Definition {
	for _, d := range c.Journeys {
		if d.Hash == hash {
			return d
		}
	}
	return nil
}

// Reach says where a channel reaches people.
func (c *Catalog) Reach(channel string) contact.Reach {
	return contact.ReachOf(c.Channels[channel], c.Kinds)
}

// Addresses lists the traits whose values are addresses of channels, by name.
func (c *Catalog) Addresses() []string {
	var names []string
	for name := range c.Channels {
		if r := c.Reach(name); r.Trait {
			names = append(names, r.Endpoint)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Names are the channels and topics that are defined.
func (c *Catalog) Names() *consent.Names {
	return consent.NewNames(slices.Sorted(maps.Keys(c.Channels)), slices.Sorted(maps.Keys(c.Topics)))
}

// Decode compiles a stored bundle. Any error in it is an error that lists them all; warnings are none.
func Decode(bundle []byte) (*Catalog, error) {
	var b definitionv1.Bundle
	if err := b.UnmarshalVT(bundle); err != nil {
		return nil, fault.As(fault.Invalid, fmt.Errorf("decode bundle: %w", err))
	}
	c, diagnostics := Compile(&b)
	if c != nil {
		return c, nil
	}
	lines := make([]string, 0, len(diagnostics))
	for _, d := range diagnostics {
		if d.Severity == definition.Error {
			lines = append(lines, d.String())
		}
	}
	return nil, fault.As(fault.Invalid, errors.New("compile bundle:\n"+strings.Join(lines, "\n")))
}
