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

// Book holds the rules of all catalogs that anything may still refer to. A revision names what applied for all tenants, or
// one tenant's catalog.
type Book interface {
	// At returns a tenant's rules at a revision: empty ones if it had none then, as at the empty revision; false if the
	// revision is not loaded.
	At(revision, tenant string) (*Rules, bool)
	// Journey returns the tenant's definition with a content hash, if the given revision is loaded and has it.
	Journey(revision, tenant, hash string) (*journey.Definition, bool)
	// Kinds are the widest identifier kinds of all of a tenant's catalogs that are loaded; they only ever grow.
	Kinds(tenant string) *event.Kinds
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
