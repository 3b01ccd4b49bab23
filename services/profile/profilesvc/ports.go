package profilesvc

import (
	"context"
	"time"

	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/state"
)

// Rulebook has the rules of all tenants at the revisions that were made ready.
type Rulebook interface {
	// At returns a tenant's rules at a revision, those that hold without any definitions if the tenant has none; false
	// if the revision was not made ready. Revision "" is always there.
	At(revision, tenant string) (*profile.Rules, bool)
}

// CurrentRules knows the rules in force now, for reads.
type CurrentRules interface {
	// Current returns the rules of a tenant.
	Current(ctx context.Context, tenant string) (*profile.Rules, error)
}

// Counting knows since when computed traits count.
type Counting interface {
	// CountedSince returns it for a tenant's computed traits, by name.
	CountedSince(ctx context.Context, tenant string) (map[string]time.Time, error)
}

// Reader reads states.
type Reader interface {
	// Read answers a query on one partition in one round trip, consistently.
	Read(ctx context.Context, partition int, q state.Query) (state.View, error)
}
