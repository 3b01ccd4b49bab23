package profilesvc

import (
	"context"
	"fmt"

	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/stage"
)

// Service is the profile stage with its gRPC service.
type Service struct {
	stage  *stage.Stage
	runner stage.Runner
}

var _ run.New[Config] = New

// New builds the service and registers what it serves. It starts nothing.
func New(_ context.Context, cfg Config, deps run.Deps) (run.Component, error) {
	hasher := identity.NewHasher(deps.Generation.Secret, deps.Generation.Partitions)
	rules := newRulebook(deps, cfg.Catalogs, hasher)
	m, err := newMetrics(deps.Meter)
	if err != nil {
		return nil, fmt.Errorf("build profile service: %w", err)
	}
	s := stage.New(stage.Config{
		Spec: log.Stage(stageName), Generation: deps.Generation, Ownership: deps.Ownership, Replica: deps.Replica, Batch: cfg.Batch,
		Retention: deps.Retention,
	}, &fold{hasher: hasher, rules: rules, metrics: m}, stage.Ports{
		Broker: deps.Broker, KV: deps.KV, Objects: deps.Objects, Store: deps.Store, Clock: deps.Clock, Logger: deps.Logger,
		Tracer: deps.Tracer, Meter: deps.Meter, Points: deps.Points, Preparer: rules, Ready: func() { deps.Ready(stageName, true) },
		Halted: deps.HaltedOf(stageName),
		Timely: deps.Timely,
	})
	profilev1.RegisterProfileServiceServer(deps.GRPC, &server{
		engine: &engine{
			store: deps.Store, rules: rules, hasher: hasher,
			clock: deps.Clock, partitions: deps.Generation.Partitions, wait: cfg.ReadWait.Std(),
		},
		metrics: m,
	})
	return &Service{stage: s, runner: deps.Runner}, nil
}

// Run runs the stage until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if err := s.runner.Run(ctx, s.stage); err != nil {
		return fmt.Errorf("run profile stage: %w", err)
	}
	return nil
}
