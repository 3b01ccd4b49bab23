package contact

import (
	"cmp"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/event"
)

// Reach says at which addresses a channel reaches people. The zero Reach needs none.
type Reach struct {
	// Endpoint is the identifier kind or trait that is the address; empty if the channel needs none.
	Endpoint string
	// Channel is under which channel profiles keep the addresses of the kind; empty with a trait.
	Channel string
	// Trait says that the address is the value of a trait: it is of the staff, and customers may share it.
	Trait bool
}

// ReachOf describes a channel; nil kinds are those that are there from the start. What names an identifier kind
// and a trait is the kind.
func ReachOf(c *definitionv1.Channel, kinds *event.Kinds) Reach {
	name := c.GetEndpoint()
	if name == "" {
		return Reach{}
	}
	if kinds == nil {
		kinds = event.DefaultKinds()
	}
	if kind, ok := kinds.Kind(name); ok {
		return Reach{Endpoint: name, Channel: cmp.Or(kind.Channel, name)}
	}
	return Reach{Endpoint: name, Trait: true}
}

// has says whether an endpoint of a basis is one of the channel's.
func (r Reach) has(e *profilev1.Endpoint) bool {
	if r.Trait {
		return e.GetTrait() == r.Endpoint
	}
	return e.GetTrait() == "" && e.GetChannel() == r.Channel
}

// Address is the address that a contact over the channel is made at: of those that may be used the one learned last;
// nil if there is none.
func Address(basis *decisionv1.ContactBasis, r Reach) *profilev1.Endpoint {
	var best *profilev1.Endpoint
	for _, e := range basis.GetEndpoints() {
		if r.Endpoint == "" || !r.has(e) || e.GetDoNotContact() != nil {
			continue
		}
		if best == nil || e.GetSince().AsTime().After(best.GetSince().AsTime()) {
			best = e
		}
	}
	return best
}
