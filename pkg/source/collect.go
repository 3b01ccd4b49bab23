package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/snapshot"
)

// Chains reads the ends of chains.
type Chains interface {
	// Last returns the last message on subject, read from the stream's leader.
	Last(ctx context.Context, subject string) (log.Message, error)
}

// Pinning says which revisions the states of a chain name.
type Pinning interface {
	// Pins reads what is noted of a chain; of order 0 if nothing is.
	Pins(ctx context.Context, chain string) (snapshot.Pins, error)
}

// Collector removes bundles and sets that nothing needs: not those in force of any tenant, nor one that some state names,
// nor one that some chain has not gone past yet. It holds nothing, and any number may work at once.
type Collector struct {
	Store  Store
	Chains Chains
	Pins   Pinning
	Clock  clock.Clock
	Logger *slog.Logger
	// All are the chains, which are to be under the set in force before anything goes; Naming are those whose states
	// name catalogs.
	All, Naming []string
	// Unused is how long a bundle must have been out of force before it goes; 0 is the default of package snapshot.
	Unused time.Duration
}

// Collect removes what can go. What cannot be read counts as needed.
func (c *Collector) Collect(ctx context.Context) error {
	now, err := current(ctx, c.Store.KV)
	if err != nil || now.Order == 0 {
		return err
	}
	idle, err := c.idle(ctx, now)
	if err != nil || len(idle) == 0 {
		return err
	}
	passed, err := c.passed(ctx, now)
	if err != nil || !passed {
		return err
	}
	named, known, err := c.named(ctx, now.Order)
	if err != nil || !known {
		return err
	}
	for _, revision := range idle {
		if slices.Contains(named, revision) {
			continue
		}
		if err := c.remove(ctx, revision, now); err != nil {
			return err
		}
	}
	return nil
}

// idle lists the bundles and sets that have been out of force for long enough and are there still, and notes since when
// the others are.
func (c *Collector) idle(ctx context.Context, now pointer) ([]string, error) {
	keys, err := c.Store.KV.Keys(ctx, bundlePrefix)
	if err != nil {
		return nil, fmt.Errorf("list bundles: %w", err)
	}
	unused := (snapshot.Settings{Unused: c.Unused}).WithDefaults().Unused
	var out []string
	for _, key := range keys {
		revision := strings.TrimPrefix(key, bundlePrefix)
		e, _, err := c.Store.entry(ctx, revision)
		switch {
		case err != nil:
			return nil, err
		case e.Removed:
		case now.has(revision):
			err = c.Store.use(ctx, revision)
		case e.Idle.IsZero():
			e.Idle = c.Clock.Now()
			err = write(ctx, c.Store.KV, key, e, e.at)
		case c.Clock.Now().Sub(e.Idle) >= unused:
			out = append(out, revision)
		}
		if err != nil && !conflict(err) { // who was faster uses it
			return nil, err
		}
	}
	return out, nil
}

// passed says whether every chain is under the set in force: then no record or message that names another makes
// any stage load it any more, because it is of a smaller order.
func (c *Collector) passed(ctx context.Context, now pointer) (bool, error) {
	for _, chain := range c.All {
		msg, err := c.Chains.Last(ctx, chain)
		if err != nil {
			return false, fmt.Errorf("read the end of %s: %w", chain, err)
		}
		rec := &stagev1.Record{}
		if err := rec.UnmarshalVT(msg.Data); err != nil {
			return false, fault.New(fault.Internal, "read the end of %s: record %d: %w", chain, msg.Sequence, err)
		}
		if rec.GetRevisionOrder() != now.Order {
			return false, nil
		}
	}
	return true, nil
}

// named lists the revisions that states name; known is false if that was noted before the set in force applied:
// states may name others since.
func (c *Collector) named(ctx context.Context, order uint64) (out []string, known bool, err error) {
	for _, chain := range c.Naming {
		p, err := c.Pins.Pins(ctx, chain)
		if err != nil || p.Order != order {
			return nil, false, err
		}
		out = append(out, p.Revisions...)
	}
	return out, true, nil
}

// remove takes a bundle away. First its entry says so, then the pointer is written again as it was: an Activate that
// has read either before fails, and one that reads them now sees that the bundle is gone. Only then the object goes.
func (c *Collector) remove(ctx context.Context, revision string, seen pointer) error {
	e, _, err := c.Store.entry(ctx, revision)
	if err != nil || e.Idle.IsZero() || e.Removed {
		return err
	}
	if !e.Leaving {
		e.Leaving = true
		if err := write(ctx, c.Store.KV, bundlePrefix+revision, e, e.at); err != nil {
			return quiet(err)
		}
	}
	now, err := current(ctx, c.Store.KV)
	if err != nil || now.Order != seen.Order {
		return err
	}
	if err := write(ctx, c.Store.KV, currentKey, now, now.at); err != nil {
		return quiet(err)
	}
	if e, _, err = c.Store.entry(ctx, revision); err != nil || !e.Leaving {
		return err
	}
	if err := c.Store.Objects.Delete(ctx, e.Object); err != nil {
		return fmt.Errorf("remove bundle %s: %w", revision, err)
	}
	e.Removed = true
	if err := write(ctx, c.Store.KV, bundlePrefix+revision, e, e.at); err != nil {
		return quiet(err)
	}
	c.Logger.InfoContext(ctx, "catalog removed: nothing needs it", "revision", revision)
	return nil
}

// quiet is an error unless somebody else was faster, or may have been oneself: the next pass sees.
func quiet(err error) error {
	if conflict(err) || errors.Is(err, log.ErrUnknown) {
		return nil
	}
	return err
}
