package snapshot

import (
	"context"
	"fmt"
	"time"
)

// Clean removes the objects of a chain that no listed snapshot names and that were stored before a time:
// those of snapshots that are listed no more, and what builds left that were broken off. It returns how many.
//
// An object that is removed is never named again: its name holds the sequence of the snapshot that it was
// first stored for, and whoever builds that one once more, in another process, stores it anew and is younger.
func (l *Library) Clean(ctx context.Context, chain string, before time.Time) (int, error) {
	stored, err := l.objects.List(ctx, l.prefix(chain))
	if err != nil {
		return 0, fmt.Errorf("clean up after %s: %w", chain, err)
	}
	listed, err := l.List(ctx, chain)
	if err != nil {
		return 0, err
	}
	keep := map[string]bool{}
	for _, listing := range listed {
		s, err := l.Open(ctx, chain, listing)
		if err != nil {
			return 0, fmt.Errorf("clean up after %s: %w", chain, err)
		}
		keep[listing.GetObject()] = true
		for _, p := range s.Index.GetParts() {
			keep[p.GetObject()] = true
		}
	}
	removed := 0
	for _, o := range stored {
		if keep[o.Name] || !o.Stored.Before(before) {
			continue
		}
		if err := l.objects.Delete(ctx, o.Name); err != nil {
			return removed, fmt.Errorf("clean up after %s: %w", chain, err)
		}
		removed++
	}
	return removed, nil
}

// Sweep removes what uploads of any chain left behind that were broken off before a time.
func (l *Library) Sweep(ctx context.Context, before time.Time) error {
	if err := l.objects.Sweep(ctx, before); err != nil {
		return fmt.Errorf("clean up after uploads: %w", err)
	}
	return nil
}
