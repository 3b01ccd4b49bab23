package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// Pins are the catalog revisions that the states of a partition of a stage named when its chain was under a catalog.
// Later states name no other, but for those of catalogs that were applied after it.
type Pins struct {
	// Order of the catalog that the chain was under.
	Order uint64 `json:"order"`
	// Revisions, sorted.
	Revisions []string `json:"revisions"`
}

// Pinned lists the revisions that a row names, whose catalogs are needed while it does. An error means that nobody
// knows: then all are.
type Pinned func(key string, value []byte) ([]string, error)

func (l *Library) pinsKey(chain string) string { return fmt.Sprintf("pins/%d/%s", l.generation, chain) }

// Pins reads what is pinned in the states of a chain; those of order 0 if nothing was noted yet.
func (l *Library) Pins(ctx context.Context, chain string) (Pins, error) {
	p, _, err := l.pins(ctx, chain)
	return p, err
}

func (l *Library) pins(ctx context.Context, chain string) (p Pins, at uint64, err error) {
	value, at, err := l.kv.Get(ctx, l.pinsKey(chain))
	if errors.Is(err, log.ErrNotFound) {
		return Pins{}, 0, nil
	}
	if err != nil {
		return Pins{}, 0, fmt.Errorf("read what %s pins: %w", chain, err)
	}
	if err := json.Unmarshal(value, &p); err != nil {
		return Pins{}, 0, fault.New(fault.Internal, "read what %s pins: %w", chain, err)
	}
	return p, at, nil
}

// pin notes what is pinned in the states of a partition: in its newest snapshot, and in the records after it. It is
// noted once for each catalog, and again while something is pinned that may come free.
func (k *Keeper) pin(ctx context.Context, partition int) error {
	chain := log.Subject(k.cfg.Spec.Chain, partition)
	known, at, err := k.library.pins(ctx, chain)
	if err != nil {
		return err
	}
	last, err := k.ports.Broker.Last(ctx, chain)
	if err != nil {
		return fmt.Errorf("read the end of %s: %w", chain, err)
	}
	tail := &stagev1.Record{}
	if err := tail.UnmarshalVT(last.Data); err != nil {
		return fault.New(fault.Internal, "read the end of %s: record %d: %w", chain, last.Sequence, err)
	}
	if known.Order == tail.GetRevisionOrder() && len(known.Revisions) == 0 {
		return nil
	}
	found, err := k.pinned(ctx, chain, last.Sequence)
	if err != nil {
		return err
	}
	now := Pins{Order: tail.GetRevisionOrder(), Revisions: slices.DeleteFunc(found, func(r string) bool { return r == tail.GetRevision() })}
	if now.Order == known.Order && slices.Equal(now.Revisions, known.Revisions) {
		return nil
	}
	value, err := json.Marshal(now)
	if err != nil {
		return fmt.Errorf("encode what %s pins: %w", chain, err)
	}
	if err := k.library.kv.Update(ctx, k.library.pinsKey(chain), value, at); err != nil {
		return fmt.Errorf("write what %s pins: %w", chain, err)
	}
	return nil
}

// pinned looks through the rows of a chain's states up to a sequence. A row that has changed since the snapshot may
// name less than it did: it counts all the same.
func (k *Keeper) pinned(ctx context.Context, chain string, upto uint64) ([]string, error) {
	found := map[string]bool{}
	look := func(key string, value []byte) error {
		revisions, err := k.ports.Pinned(key, value)
		if err != nil {
			return fmt.Errorf("read what %s pins: %w", chain, err)
		}
		for _, r := range revisions {
			found[r] = true
		}
		return nil
	}
	s, err := k.library.Newest(ctx, chain)
	if err != nil {
		return nil, err
	}
	if err := k.library.rows(ctx, s, look); err != nil {
		return nil, err
	}
	err = k.records.each(ctx, chain, s.at(), upto, func(b state.Batch) (bool, error) {
		for _, w := range b.Writes {
			if w.Value == nil {
				continue
			}
			if err := look(w.Key, w.Value); err != nil {
				return false, err
			}
		}
		return true, nil
	})
	return slices.Sorted(maps.Keys(found)), err
}

// at is the record that a snapshot was taken at; 0 without one.
func (s *Snapshot) at() uint64 {
	if s == nil {
		return 0
	}
	return s.Listing.GetSequence()
}

// rows shows the rows of a snapshot; none without one.
func (l *Library) rows(ctx context.Context, s *Snapshot, see func(key string, value []byte) error) error {
	if s == nil {
		return nil
	}
	for _, part := range s.Index.GetParts() {
		entries, err := l.Part(ctx, part)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.GetRow() == nil {
				continue
			}
			if err := see(string(e.GetName()), e.GetRow().GetValue()); err != nil {
				return err
			}
		}
	}
	return nil
}
