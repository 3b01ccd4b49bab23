package dispatchsvc

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/telemetry"
	"refrain.dev/services/dispatch/dispatchsvc/channel"
)

const name = "dispatch"

// Service is the dispatch stage with its gRPC service.
type Service struct {
	stage     *stage.Stage
	runner    stage.Runner
	engine    *engine
	providers *providers
	logger    *slog.Logger
}

// New builds the service and registers its gRPC service; it connects to no provider.
func New(ctx context.Context, cfg Config, deps run.Deps) (run.Component, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("check settings: %w", err)
	}
	ranges, err := cfg.ranges()
	if err != nil {
		return nil, err
	}
	metrics, err := newMetrics(deps.Meter)
	if err != nil {
		return nil, err
	}
	logger := deps.Logger.With(slog.String(telemetry.KeyComponent, name))
	reference := clock.NewReference(deps.Clock)
	told := reference.Clock()
	catalogs := newCatalogs(deps.Bundles, deps.Clock, cfg.Catalogs)
	hasher := identity.NewHasher(deps.Generation.Secret, deps.Generation.Partitions)
	pool := newProviders(channel.Options{
		DataDir: cfg.DataDir, NATSURL: cfg.NATSURL, NATS: deps.NATS, Secret: cfg.Secret, Allow: ranges,
	}, deps.Clock, cfg.Adapters)
	// A clock that takes the publishers' times as they are releases one instant after another.
	stepped := func() bool { return deps.Stamper != nil && !deps.Stamper.Skew() }
	barriers := newPings(deps.Broker, told, logger)
	barriers.reference = reference
	barriers.owner, barriers.points = deps.Replica, deps.Points
	fresh := newFreshness(deps.Store, barriers, hasher, told)
	fresh.released = stepped
	engine := &engine{
		catalogs: catalogs, providers: pool, freshness: fresh, space: newSpace(deps.Broker, deps.Clock), pacing: ctx, signer: hasher,
		workers: clock.NewGroup(deps.Clock, helpers), lookers: clock.NewGroup(deps.Clock, helpers), points: deps.Points,
		clock: told, generation: deps.Generation.Number, publicURL: strings.TrimRight(cmp.Or(cfg.PublicURL, DefaultPublicURL), "/"), identify: cfg.TaskIdentifiers, stepped: stepped,
		logger: logger, tracer: deps.Tracer.Tracer("refrain.dev/services/dispatch"), metrics: metrics,
	}
	dispatchv1.RegisterDispatchServiceServer(deps.GRPC, &rpcServer{
		reader: deps.Store, homes: hasher, kinds: catalogs,
		letters: &deadLetters{letters: deps.Broker, redrives: newRedrives(deps.Broker), states: deps.Store, clock: told, partitions: deps.Generation.Partitions, streams: deps.Generation.Streams},
	})
	s := stage.New(stage.Config{
		Spec: log.Stage(name), Generation: deps.Generation, Ownership: deps.Ownership, Replica: deps.Replica, Batch: cfg.Batch,
		Retention: deps.Retention,
	}, &fold{catalogs: catalogs, alone: stepped(), others: cfg.Adapters}, stage.Ports{
		Broker: deps.Broker, KV: deps.KV, Objects: deps.Objects, Store: deps.Store, Clock: deps.Clock, Reference: reference, Logger: logger,
		Tracer: deps.Tracer, Meter: deps.Meter, Points: deps.Points, Caller: engine, Preparer: catalogs,
		Orphans: orphans{publisher: deps.Broker, clock: told},
		Ready:   func() { deps.Ready(name, true) },
		Halted:  deps.HaltedOf(name),
		Timely:  deps.Timely,
		Pinned:  pinned,
	})
	return &Service{stage: s, runner: deps.Runner, engine: engine, providers: pool, logger: logger}, nil
}

// Run runs the stage until ctx ends, then gives the providers' connections back.
func (s *Service) Run(ctx context.Context) error {
	s.engine.pacing = ctx
	err := s.runner.Run(ctx, s.stage)
	if closed := s.providers.close(); closed != nil {
		s.logger.WarnContext(ctx, "channels not closed cleanly", slog.Any(telemetry.KeyError, closed))
	}
	if err != nil {
		return fmt.Errorf("run dispatch: %w", err)
	}
	return nil
}
