package source

import (
	"context"
	"errors"
	"maps"
	"time"

	"refrain.dev/pkg/log"
)

// countingPrefix is what the keys begin with under which it stands since when a tenant's computed traits count.
const countingPrefix = "computed/"

// counting is since when a tenant's computed traits count.
type counting struct {
	// Order is that of what was activated last.
	Order  uint64             `json:"order"`
	Traits map[string]counted `json:"traits"`
}

// counted is one computed trait.
type counted struct {
	// How it is computed.
	How   string    `json:"how"`
	Since time.Time `json:"since"`
}

// CountedSince reads since when a tenant's computed traits have been computed as they are now, by name: what arrived
// before does not count. A trait that is not computed any more is not among them.
func CountedSince(ctx context.Context, kv log.KV, tenant string) (map[string]time.Time, error) {
	var c counting
	if _, _, err := read(ctx, kv, countingPrefix+tenant, &c); err != nil {
		return nil, err
	}
	since := make(map[string]time.Time, len(c.Traits))
	for name, t := range c.Traits {
		since[name] = t.Since
	}
	return since, nil
}

// noteCounting notes that a bundle's computed traits count from an instant on; those that were computed in the same way
// before go on. What was activated in a later place has said so already.
func (s Store) noteCounting(ctx context.Context, tenant, revision string, order uint64, at time.Time) error {
	e, _, err := s.entry(ctx, revision)
	if err != nil {
		return err
	}
	for {
		var before counting
		seen, _, err := read(ctx, s.KV, countingPrefix+tenant, &before)
		if err != nil || before.Order > order {
			return err
		}
		next := counting{Order: order, Traits: map[string]counted{}}
		for name, how := range e.Computed {
			next.Traits[name] = counted{How: how, Since: at.UTC()}
			if t := before.Traits[name]; t.How == how {
				next.Traits[name] = t
			}
		}
		if before.Order == order && maps.Equal(before.Traits, next.Traits) {
			return nil
		}
		err = write(ctx, s.KV, countingPrefix+tenant, next, seen)
		if err == nil || !conflict(err) && !errors.Is(err, log.ErrUnknown) || ctx.Err() != nil {
			return err
		}
	}
}
