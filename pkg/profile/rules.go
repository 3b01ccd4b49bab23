package profile

import (
	"fmt"
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/consent"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/identity"
)

// Bounds of a profile. A state must stay small, whatever is published.
const (
	// MaxIdentities is how many identifiers may resolve to one profile.
	MaxIdentities = 50
	// MaxTraits and MaxTraitBytes bound the published traits; what goes beyond is not kept.
	MaxTraits = 256
	// MaxTraitBytes is the room for all traits of a leaf together, encoded.
	MaxTraitBytes = 32 << 10
	// MaxRelations is how many accounts one person may belong to.
	MaxRelations = 50

	maxAddresses = 10 // per channel, the ones never to use again included
	maxGaps      = 50 // those that do not close contact
	// MaxClosing is how many gaps that close contact are named. One more is not: contact stays closed for good.
	MaxClosing = 512
)

// DefaultFreshness is how old an event may be and still start something, where its type does not say.
const DefaultFreshness = time.Hour

// EventType is what a catalog says of one event type as published.
type EventType struct {
	// Name under which it is declared.
	Name string
	// Freshness is how old an event may be and still start something.
	Freshness time.Duration
	// Properties that are declared, with their types.
	Properties map[string]expr.Type
}

// Rules is what the decisions of this package rest on beside states and inputs: the generation's hash
// and one revision of the catalog. It is immutable and safe for concurrent use.
type Rules struct {
	hasher   identity.Hasher
	kinds    *event.Kinds
	types    map[string]EventType
	computed map[string][]*TraitRule
	byName   map[string]*TraitRule
	endpoint []event.IdentifierKind // kinds of class endpoint
	address  map[string]bool        // traits whose values are addresses
	zone     *time.Location         // of instants that name none; nil: UTC
	names    *consent.Names
}

// NewRules puts rules together. Types are by event.TypeOf; traits must be sorted by name.
func NewRules(h identity.Hasher, kinds *event.Kinds, types map[string]EventType, traits []*TraitRule) *Rules {
	r := &Rules{hasher: h, kinds: kinds, types: types, computed: map[string][]*TraitRule{}, byName: map[string]*TraitRule{}}
	for _, t := range traits {
		r.byName[t.Name] = t
		if t.Compute != Published {
			r.computed[t.Event] = append(r.computed[t.Event], t)
		}
	}
	var channels []string
	for _, name := range kinds.Names() {
		if k, _ := kinds.Kind(name); k.Class == event.ClassEndpoint && k.Channel != "" {
			r.endpoint = append(r.endpoint, k)
			channels = append(channels, k.Channel)
		}
	}
	r.names = consent.NewNames(channels, nil)
	return r
}

// Reaching returns the rules with the traits named whose values are addresses: contact depends on them.
func (r *Rules) Reaching(traits []string) *Rules {
	next := *r
	next.address = make(map[string]bool, len(traits))
	for _, name := range traits {
		next.address[name] = true
	}
	return &next
}

// In returns the rules with instants among properties and traits that name no zone taken in zone.
func (r *Rules) In(zone *time.Location) *Rules {
	out := *r
	out.zone = zone
	return &out
}

// Naming returns the rules with the channels and topics that are defined: statements of permission name them. Without
// it the channels of the identifier kinds are known, and no topics.
func (r *Rules) Naming(names *consent.Names) *Rules {
	next := *r
	next.names = names
	return &next
}

// DefaultRules are the rules before any catalog was applied: the default kinds and no computed traits.
func DefaultRules(h identity.Hasher) *Rules {
	return NewRules(h, event.DefaultKinds(), nil, nil)
}

// rulesFor returns the computed traits that an event advances.
func (r *Rules) rulesFor(e *eventv1.Event) []*TraitRule {
	known := event.TypeOf(e)
	if t, ok := r.types[known]; ok {
		return r.computed[t.Name]
	}
	return r.computed[known]
}

func (r *Rules) late(e *eventv1.Event, now time.Time) bool {
	freshness := DefaultFreshness
	if t, ok := r.types[event.TypeOf(e)]; ok {
		freshness = t.Freshness
	}
	return now.Sub(e.GetAt().AsTime()) > freshness
}

func (r *Rules) class(kind string) event.Class {
	k, _ := r.kinds.Kind(kind)
	return k.Class
}

// isEndpoint says whether a trait is an address by which a channel reaches the customer.
func (r *Rules) isEndpoint(name string) bool {
	k, ok := r.kinds.Kind(name)
	return ok && k.Class == event.ClassEndpoint && k.Channel != ""
}

// Normalise returns an identifier as it is hashed and stored. One that addresses a profile directly
// stays as it is.
func (r *Rules) Normalise(id *eventv1.Identifier) (*eventv1.Identifier, error) {
	if id.GetKind() == event.KindProfile {
		return id, nil
	}
	value, err := r.kinds.Normalise(id.GetKind(), id.GetValue())
	if err != nil {
		return nil, fmt.Errorf("normalise %s: %w", id.GetKind(), err)
	}
	return &eventv1.Identifier{Kind: id.GetKind(), Value: value}, nil
}
