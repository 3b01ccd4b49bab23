package profilesvc

import (
	"context"
	"fmt"

	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/snapshot"
	"refrain.dev/pkg/source"
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
		Halted:  deps.HaltedOf(stageName),
		Timely:  deps.Timely,
		Collect: collector(deps).Collect,
	})
	profilev1.RegisterProfileServiceServer(deps.GRPC, &server{
		engine: &engine{
			store: deps.Store, rules: rules, hasher: hasher,
			clock: deps.Clock, partitions: deps.Generation.Partitions, wait: cfg.ReadWait.Std(),
		},
		counting: rules, metrics: m, show: cfg.ShowIdentifiers,
	})
	return &Service{stage: s, runner: deps.Runner}, nil
}

// collector removes catalogs that nothing needs. Those who wait long name theirs: enrollments, and calls without an
// outcome.
func collector(deps run.Deps) *source.Collector {
	c := &source.Collector{
		Store: deps.Bundles, Chains: deps.Broker, Pins: snapshot.NewLibrary(deps.Objects, deps.KV, deps.Generation.Number),
		Clock: deps.Clock, Logger: deps.Logger, Unused: deps.Retention.Unused,
	}
	for p := range deps.Generation.Partitions {
		for _, s := range log.Stages() {
			c.All = append(c.All, log.Subject(s.Chain, p))
		}
		for _, name := range []string{"decision", "dispatch"} {
			c.Naming = append(c.Naming, log.Subject(log.Stage(name).Chain, p))
		}
	}
	return c
}

// Run runs the stage until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if err := s.runner.Run(ctx, s.stage); err != nil {
		return fmt.Errorf("run profile stage: %w", err)
	}
	return nil
}
