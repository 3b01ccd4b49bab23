package profilesvc

import (
	"context"

	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/state"
)

// Rulebook has the rules of the catalog revisions that were made ready.
type Rulebook interface {
	// At returns the rules of a revision; false if it was not made ready. Revision "" is always there.
	At(revision string) (*profile.Rules, bool)
}

// CurrentRules knows the rules in force now, for reads.
type CurrentRules interface {
	// Current returns the rules of the revision applied last.
	Current(ctx context.Context) (*profile.Rules, error)
}

// Reader reads states.
type Reader interface {
	// Read answers a query on one partition in one round trip, consistently.
	Read(ctx context.Context, partition int, q state.Query) (state.View, error)
}
