package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

// Put stores a bundle under its revision. Storing the same bytes again does nothing; other bytes under a
// revision that is taken are Conflict, and a bundle over MaxBundle or without a revision is Invalid.
func Put(ctx context.Context, kv log.KV, revision string, bundle []byte) error {
	if !regexp.MustCompile(`^[0-9a-zA-Z._-]{1,64}$`).MatchString(revision) {
		return fault.New(fault.Invalid, "store bundle: %q is no revision", revision)
	}
	if len(bundle) > MaxBundle {
		return fault.New(fault.Invalid, "store bundle %s: it has %d bytes, and %d are allowed; template files count, so make these smaller",
			revision, len(bundle), MaxBundle)
	}
	err := kv.Update(ctx, bundlePrefix+revision, bundle, 0)
	if err == nil {
		return nil
	}
	// It is there already, or the answer was lost: what is stored decides.
	stored, _, getErr := kv.Get(ctx, bundlePrefix+revision)
	if getErr == nil && bytes.Equal(stored, bundle) {
		return nil
	}
	if _, ok := errors.AsType[*log.ConflictError](err); ok && getErr == nil {
		return fault.New(fault.Conflict, "store bundle %s: there is another bundle of this revision", revision)
	}
	return fmt.Errorf("store bundle %s: %w", revision, err)
}

// Activate makes a stored bundle the current one: it moves the pointer and tells all partitions, in their
// control lanes, as received and happened at the given time. It may be repeated; after an error it should
// be, because some partitions may know already. If another revision is activated at the same time, all
// partitions end with the same one, and the call whose revision that is not returns Conflict.
func Activate(ctx context.Context, kv log.KV, broker log.Broker, partitions int, revision string, at time.Time) error {
	if _, err := Get(ctx, kv, revision); err != nil {
		return fmt.Errorf("activate %s: %w", revision, err)
	}
	if err := kv.Put(ctx, currentKey, []byte(revision)); err != nil {
		return fmt.Errorf("activate %s: move pointer: %w", revision, err)
	}
	// Whoever told the partitions last has read the pointer after that: they end with its last value.
	told := revision
	for {
		if err := tell(ctx, broker, partitions, told, at); err != nil {
			return fmt.Errorf("activate %s: %w", revision, err)
		}
		current, err := Current(ctx, kv)
		if err != nil {
			return fmt.Errorf("activate %s: %w", revision, err)
		}
		if current == told {
			break
		}
		told = current
	}
	if told != revision {
		return fault.New(fault.Conflict, "activate %s: %s was activated at the same time and applies now", revision, told)
	}
	return nil
}

func tell(ctx context.Context, broker log.Broker, partitions int, revision string, at time.Time) error {
	when := timestamppb.New(at)
	data, err := (&stagev1.Arrivals{Items: []*stagev1.Arrival{{
		ReceivedAt: when, At: when,
		Item: &stagev1.Arrival_Catalog{Catalog: &stagev1.CatalogApplied{Revision: revision}},
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
