package suppressionsvc

import (
	"context"
	"fmt"
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"

	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/window"
)

// Service is the suppression stage with its gRPC service.
type Service struct {
	stage *stage.Stage
	peers *peers
	deps  run.Deps
}

// New builds the service and registers its gRPC service. Nothing runs before Run.
func New(ctx context.Context, cfg Config, deps run.Deps) (run.Component, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("check settings: %w", err)
	}
	m, err := newMetrics(deps.Meter)
	if err != nil {
		return nil, err
	}
	lasting := context.WithoutCancel(ctx) // instruments want a context, and a fold has none
	catalogs, zones := newCatalogs(deps, cfg.Catalogs), &window.Zones{}
	hasher := identity.NewHasher(deps.Generation.Secret, deps.Generation.Partitions)
	s := stage.New(stage.Config{
		Spec: log.Stage(stageName), Generation: deps.Generation, Ownership: deps.Ownership, Replica: deps.Replica, Batch: cfg.Batch,
		Retention: deps.Retention,
	}, counted{
		fold:   &fold{catalogs: catalogs, zones: zones, lease: time.Duration(cfg.Lease), hasher: hasher},
		judged: func(facts []*contactv1.Fact) { m.judged(lasting, facts) },
	}, stage.Ports{
		Broker: deps.Broker, KV: deps.KV, Objects: deps.Objects, Store: deps.Store, Clock: deps.Clock, Logger: deps.Logger,
		Tracer: deps.Tracer, Meter: deps.Meter, Points: deps.Points, Preparer: catalogs,
		Ready:  func() { deps.Ready(stageName, true) },
		Halted: deps.HaltedOf(stageName),
		Timely: deps.Timely,
	})
	others := newPeers(deps)
	contactv1.RegisterContactServiceServer(deps.GRPC, &server{metrics: m, engine: &engine{
		catalogs: catalogs, store: deps.Store, owner: s, peers: others, clock: s.Clock(), zones: zones,
		hasher: hasher,
	}})
	return &Service{stage: s, peers: others, deps: deps}, nil
}

// Run implements run.Component: it blocks until ctx ends and the stage is drained.
func (s *Service) Run(ctx context.Context) error {
	defer s.deps.Ready(stageName, false)
	defer s.peers.close()
	if err := s.deps.Runner.Run(ctx, s.stage); err != nil {
		return fmt.Errorf("run suppression: %w", err)
	}
	return nil
}
