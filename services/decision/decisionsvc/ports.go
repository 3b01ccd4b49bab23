package decisionsvc

import (
	"context"
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/contact"
	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/journey"
	"refrain.dev/pkg/state"
)

// Rules is what this service takes from one catalog; immutable.
type Rules struct {
	decide.Rules
	// Tenant whose definitions they are; empty before any catalog.
	Tenant string
	// EventNames maps a type as published to the name of its definition.
	EventNames map[string]string
	// Freshness is how old an event may be and still start something, by its definition's name.
	Freshness map[string]time.Duration
	// Policies for the advisory check.
	Policies []*contact.Policy
	// Reach maps a channel that needs an address to where it reaches people.
	Reach map[string]contact.Reach
	// Addresses are the traits whose values are addresses.
	Addresses []string
	// DefaultZone is the workspace's.
	DefaultZone string
}

// freshness is how old an event may be and still start something.
func (r *Rules) freshness(name string) time.Duration {
	if f, ok := r.Freshness[name]; ok {
		return f
	}
	return catalog.DefaultFreshness
}

// of returns the rules for a tenant's customers: nothing is decided by another tenant's definitions.
func (r *Rules) of(tenant string) *Rules {
	if r.Tenant == "" || r.Tenant == tenant {
		return r
	}
	return &Rules{Rules: decide.Rules{Revision: r.Revision}, Tenant: tenant}
}

// Book holds the rules of all catalogs that anything may still refer to.
type Book interface {
	// At returns the rules of a revision; the empty revision has empty rules.
	At(revision string) (*Rules, bool)
	// Journey returns the definition with a content hash, if the given revision is loaded and has it.
	Journey(revision, hash string) (*journey.Definition, bool)
	// Kinds are the widest identifier kinds of all catalogs that are loaded; they only ever grow.
	Kinds() *event.Kinds
	// Prepare loads a revision so that At finds it.
	Prepare(ctx context.Context, revision string) error
}

// Reader reads rows of a partition in one round trip.
type Reader interface {
	Read(ctx context.Context, partition int, q state.Query) (state.View, error)
}

// Publisher appends to the decision log.
type Publisher interface {
	Publish(ctx context.Context, subject string, data []byte) (uint64, error)
}

// Reserver takes room for a contact at suppression.
type Reserver interface {
	Reserve(ctx context.Context, req *contactv1.ReserveRequest) (*contactv1.ReserveResponse, error)
}
