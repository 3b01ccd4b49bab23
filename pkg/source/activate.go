package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

// Activate makes a stored bundle the current one: it moves the pointer, which gives it a place in the order of all
// that were activated, and tells all partitions, in their control lanes, as received and happened at the given time.
// Whatever arrives there late, the one of the greatest order applies. It may be repeated; after an error it should
// be, because some partitions may know already. If another revision is activated meanwhile, that one applies, and
// the answer is Conflict.
func Activate(ctx context.Context, s Store, broker log.Broker, partitions int, revision string, at time.Time) error {
	if _, err := Get(ctx, s, revision); err != nil {
		return fmt.Errorf("activate %s: %w", revision, err)
	}
	order, err := s.point(ctx, revision)
	if err != nil {
		return fmt.Errorf("activate %s: move pointer: %w", revision, err)
	}
	if err := tell(ctx, broker, partitions, &stagev1.CatalogApplied{Revision: revision, Order: order}, at); err != nil {
		return fmt.Errorf("activate %s: %w", revision, err)
	}
	now, err := current(ctx, s.KV)
	if err != nil {
		return fmt.Errorf("activate %s: %w", revision, err)
	}
	if now.Order != order {
		return fault.New(fault.Conflict, "activate %s: %s was activated at the same time and applies now", revision, now.Revision)
	}
	return nil
}

// point moves the pointer to a revision and returns its order; if it is there already, the one that it has.
func (s Store) point(ctx context.Context, revision string) (uint64, error) {
	for {
		now, err := current(ctx, s.KV)
		if err != nil || now.Revision == revision {
			return now.Order, err
		}
		// After the pointer was read: a bundle that is removed says so first, and then the pointer is written again.
		e, _, err := s.entry(ctx, revision)
		if err != nil {
			return 0, err
		}
		if e.Leaving {
			return 0, fault.New(fault.NotFound, "it was not needed and is being removed; apply it again")
		}
		order := now.Order + 1
		if err = write(ctx, s.KV, currentKey, pointer{Revision: revision, Order: order}, now.at); err == nil {
			return order, nil
		}
		if !conflict(err) && !errors.Is(err, log.ErrUnknown) || ctx.Err() != nil {
			return 0, err
		}
	}
}

func tell(ctx context.Context, broker log.Broker, partitions int, applied *stagev1.CatalogApplied, at time.Time) error {
	when := timestamppb.New(at)
	data, err := (&stagev1.Arrivals{Items: []*stagev1.Arrival{{
		ReceivedAt: when, At: when, Item: &stagev1.Arrival_Catalog{Catalog: applied},
	}}}).MarshalVT()
	if err != nil {
		return fmt.Errorf("encode arrival: %w", err)
	}
	for p := range partitions {
		subject := log.Subject(log.Lane(log.LaneControl), p)
		if _, err := broker.Publish(ctx, subject, data); err != nil {
			return fmt.Errorf("tell partition %d: %w", p, err)
		}
	}
	return nil
}
