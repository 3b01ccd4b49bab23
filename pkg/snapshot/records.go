package snapshot

import (
	"context"
	"errors"
	"fmt"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// Decode turns a record into what a store writes: the stage's own way, the same for a live record.
type Decode func(rec *stagev1.Record, sequence uint64) (state.Batch, error)

// ErrGap says that records after a position are gone, or that the chain is another one.
var ErrGap = errors.New("records are missing")

// records reads a chain.
type records struct {
	broker log.Broker
	clock  clock.Clock
	decode Decode
}

// collect adds the records of a chain after the delta's position to it, up to a sequence or until it holds
// most bytes. It checks that each follows the one before.
func (r *records) collect(ctx context.Context, chain string, d *Delta, upto uint64, most int) error {
	if d.Size() >= most {
		return nil
	}
	return r.each(ctx, chain, d.Meta().Applied, upto, func(b state.Batch) (bool, error) {
		d.Add(b)
		return d.Size() < most, nil
	})
}

// each gives see the records of a chain after a sequence, up to another, until it wants no more. It checks that each
// follows the one before.
func (r *records) each(ctx context.Context, chain string, at, upto uint64, see func(state.Batch) (more bool, err error)) error {
	if at >= upto {
		return nil
	}
	feed, err := r.broker.Feed(ctx, map[string]uint64{chain: at})
	if err != nil {
		return fmt.Errorf("read %s: %w", chain, err)
	}
	defer feed.Close()
	tail := feed.Tail(chain)
	for more := true; more && at < upto; {
		msg, err := log.Take(ctx, r.clock, tail)
		if errors.Is(err, log.ErrGone) {
			return fault.As(fault.Conflict, fmt.Errorf("read %s after %d: %w: %w", chain, at, ErrGap, err))
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", chain, err)
		}
		rec := &stagev1.Record{}
		if err := rec.UnmarshalVT(msg.Data); err != nil {
			return fault.New(fault.Internal, "read %s: record %d cannot be read: %w", chain, msg.Sequence, err)
		}
		if rec.GetPrev() != at {
			return fault.As(fault.Conflict, fmt.Errorf("read %s: %w: record %d follows %d, not %d", chain, ErrGap, msg.Sequence, rec.GetPrev(), at))
		}
		b, err := r.decode(rec, msg.Sequence)
		if err != nil {
			return fault.New(fault.Internal, "read %s: record %d: %w", chain, msg.Sequence, err)
		}
		if more, err = see(b); err != nil {
			return err
		}
		at = msg.Sequence
	}
	return nil
}
