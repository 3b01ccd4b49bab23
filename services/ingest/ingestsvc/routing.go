package ingestsvc

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/consent"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/source"
	"refrain.dev/pkg/telemetry"
)

// routing is the identifier kinds of every tenant's catalog that was applied last. Kinds of one generation never
// change their strength or normaliser, new ones only join; so it may lag behind an apply by a moment.
type routing struct {
	catalogs *source.Catalogs[*kindsOf]
	clock    clock.Clock
	every    time.Duration
	logger   *slog.Logger
	now      atomic.Pointer[string] // what applies, prepared; nil while that is not known
}

// kindsOf is what ingest needs of a tenant's catalog.
type kindsOf struct {
	kinds *event.Kinds
	zone  *time.Location
	names *consent.Names
}

func newRouting(cfg Config, deps run.Deps) *routing {
	return &routing{
		catalogs: source.New(deps.Bundles, deps.Clock, decodeKinds), clock: deps.Clock,
		every: cfg.SampleEvery.Std(), logger: deps.Logger,
	}
}

func decodeKinds(bundle []byte) (*kindsOf, error) {
	b := &definitionv1.Bundle{}
	if err := b.UnmarshalVT(bundle); err != nil {
		return nil, fault.As(fault.Invalid, fmt.Errorf("decode bundle: %w", err))
	}
	region, zone, declared := "", time.UTC, map[string]*definitionv1.IdentifierKind{}
	var channels, topics []string
	for _, r := range b.GetResources() {
		if w := r.GetWorkspace(); w != nil {
			region = w.GetRegion()
			if known, err := time.LoadLocation(w.GetDefaultZone()); err == nil {
				zone = known
			}
		}
		if k := r.GetIdentifier(); k != nil {
			declared[r.GetMetadata().GetName()] = k
		}
		if r.GetChannel() != nil {
			channels = append(channels, r.GetMetadata().GetName())
		}
		if r.GetTopic() != nil {
			topics = append(topics, r.GetMetadata().GetName())
		}
	}
	return &kindsOf{kinds: event.KindsFrom(declared).In(region), zone: zone, names: consent.NewNames(channels, topics)}, nil
}

// of is what a tenant has defined; nil if nothing.
func (r *routing) of(tenant string) *kindsOf {
	id := r.now.Load()
	if id == nil {
		return nil
	}
	held, _ := r.catalogs.At(*id, tenant)
	return held.Catalog
}

// Kinds implements kinds.
func (r *routing) Kinds(tenant string) *event.Kinds {
	if defined := r.of(tenant); defined != nil {
		return defined.kinds
	}
	return event.DefaultKinds()
}

// Zone implements kinds.
func (r *routing) Zone(tenant string) *time.Location {
	if defined := r.of(tenant); defined != nil {
		return defined.zone
	}
	return time.UTC
}

// Names implements kinds.
func (r *routing) Names(tenant string) *consent.Names {
	if defined := r.of(tenant); defined != nil {
		return defined.names
	}
	return nil
}

// Look implements kinds.
func (r *routing) Look(ctx context.Context) {
	if err := r.refresh(ctx); err != nil && ctx.Err() == nil {
		r.logger.WarnContext(ctx, "cannot read the definitions", telemetry.KeyError, err)
	}
}

// Know implements kinds.
func (r *routing) Know(ctx context.Context) error {
	if r.now.Load() != nil {
		return nil
	}
	if err := r.refresh(ctx); err != nil {
		return unavailable(fmt.Errorf("read the definitions: %w", err))
	}
	return nil
}

// run follows the catalog until ctx ends; known is called whenever the current one is known.
func (r *routing) run(ctx context.Context, known func()) error {
	for {
		if err := r.refresh(ctx); err == nil {
			known()
		} else if ctx.Err() == nil {
			r.logger.WarnContext(ctx, "cannot read the identifier kinds", telemetry.KeyError, err)
		}
		if err := clock.Sleep(ctx, r.clock, r.every); err != nil {
			return nil //nolint:nilerr // told to stop
		}
	}
}

// refresh takes what applies; "" is that nothing was applied yet. An error leaves what did before.
func (r *routing) refresh(ctx context.Context) error {
	id, err := r.catalogs.Current(ctx)
	if err != nil {
		return err //nolint:wrapcheck // source says what it was reading
	}
	if err := r.catalogs.Prepare(ctx, id); err != nil {
		return err //nolint:wrapcheck // source names the id
	}
	r.now.Store(&id)
	return nil
}
