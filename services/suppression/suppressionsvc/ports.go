package suppressionsvc

import (
	"context"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/contact"
	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/state"
)

// Definitions is what suppression takes from one catalog; immutable.
type Definitions struct {
	// Revision of the catalog; "" of a tenant that has none.
	Revision string
	// Policies in the order of their names.
	Policies []*contact.Policy
	// Actions and Channels by name.
	Actions  map[string]*decide.Action
	Channels map[string]*definitionv1.Channel
	// Topics that are defined.
	Topics map[string]*definitionv1.Topic
	// Kinds of identifiers; nil stands for those that are there from the start.
	Kinds *event.Kinds
	// DefaultZone is the workspace's.
	DefaultZone string
}

// Catalogs gives the definitions of all tenants at the revisions that were made ready.
type Catalogs interface {
	// At returns a tenant's definitions at a revision, blank ones if the tenant has none; ok is false if the revision is
	// not ready. Revision "" is always there.
	At(revision, tenant string) (d *Definitions, ok bool)
	// Prepare makes a revision ready.
	Prepare(ctx context.Context, revision string) error
	// Current is the revision that was applied last; "" before any was.
	Current(ctx context.Context) (string, error)
}

// Reader reads rows of a partition.
type Reader interface {
	// Read answers a query on one partition in one round trip, consistently.
	Read(ctx context.Context, partition int, q state.Query) (state.View, error)
}

// Owner hands requests to the fold of a partition.
type Owner interface {
	// Do returns the fold's reply after the record with its effect is stored; fault.Unavailable says that
	// the outcome is not known.
	Do(ctx context.Context, partition int, r stage.Request) (any, error)
}

// Peers finds the replica of this service that owns a partition.
type Peers interface {
	// Owner returns a client of that replica, nil if it is this one or nobody knows.
	Owner(partition int) (contactv1.ContactServiceClient, error)
}
