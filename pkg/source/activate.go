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

// Activate makes a stored bundle its tenant's current one and leaves all other tenants theirs: it moves the pointer,
// which gives what applies then a place in the order of all that were activated, and tells all partitions, in their
// control lanes, as received and happened at the given time. Whatever arrives there late, the one of the greatest order
// applies. It may be repeated; after an error it should be, because some partitions may know already. If another bundle
// of the tenant is activated meanwhile, that one applies, and the answer is Conflict. The first bundle of a tenant is
// Invalid where MaxTenants have one. Since when each computed trait counts is noted for CountedSince.
func Activate(ctx context.Context, s Store, broker log.Broker, partitions int, revision string, at time.Time) error {
	if _, err := Get(ctx, s, revision); err != nil {
		return fmt.Errorf("activate %s: %w", revision, err)
	}
	tenant, to, err := s.point(ctx, revision)
	if err != nil {
		return fmt.Errorf("activate %s: move pointer: %w", revision, err)
	}
	if err := tell(ctx, broker, partitions, &stagev1.CatalogApplied{Revision: to.ID, Order: to.Order}, at); err != nil {
		return fmt.Errorf("activate %s: %w", revision, err)
	}
	if err := s.noteCounting(ctx, tenant, revision, to.Order, at); err != nil {
		return fmt.Errorf("activate %s: %w", revision, err)
	}
	now, err := current(ctx, s.KV)
	if err != nil {
		return fmt.Errorf("activate %s: %w", revision, err)
	}
	if now.Order != to.Order && now.Tenants[tenant] != revision {
		return fault.New(fault.Conflict, "activate %s: %s was activated at the same time and applies now", revision, now.Tenants[tenant])
	}
	return nil
}

// point moves the pointer to a set that has a bundle and of other tenants what the one before has, and returns it; if
// the bundle is in force already, the one that is there.
func (s Store) point(ctx context.Context, revision string) (tenant string, to pointer, err error) {
	for {
		now, err := current(ctx, s.KV)
		if err != nil {
			return "", now, err
		}
		// After the pointer was read: a bundle that is removed says so first, and then the pointer is written again.
		e, _, err := s.entry(ctx, revision)
		if err != nil || e.Tenant == "" || now.Tenants[e.Tenant] == revision {
			return e.Tenant, now, err
		}
		if e.Leaving {
			return "", now, fault.New(fault.NotFound, "it was not needed and is being removed; apply it again")
		}
		next := now.with(e.Tenant, revision)
		if len(next.Tenants) > MaxTenants {
			return "", now, fault.New(fault.Invalid, "%d tenants have definitions, and no more may", MaxTenants)
		}
		if err := s.putSet(ctx, next); err != nil {
			return "", now, err
		}
		if err = write(ctx, s.KV, currentKey, next, now.at); err == nil {
			return e.Tenant, next, nil
		}
		if !conflict(err) && !errors.Is(err, log.ErrUnknown) || ctx.Err() != nil {
			return "", now, err
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
