package decisionsvc

import (
	"context"
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"

	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/stage"
)

// New builds the service: the stage, the query engine and its log. Nothing runs before Run.
func New(_ context.Context, cfg Config, deps run.Deps) (run.Component, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("check configuration: %w", err)
	}
	m, err := newMetrics(deps.Meter)
	if err != nil {
		return nil, err
	}
	rules := newBook(deps.KV, deps.Logger)
	s := &service{deps: deps, log: newAnswerLog(cfg.LogBuffer, deps.Broker, m, deps.Logger)}
	e := &engine{
		cfg: cfg, book: rules, store: deps.Store, clock: deps.Clock, log: s.log, metrics: m,
		hasher:     identity.NewHasher(deps.Generation.Secret, deps.Generation.Partitions),
		generation: deps.Generation.Number,
	}
	if cfg.Suppression != "" {
		if s.suppression, err = rpc.Dial(cfg.Suppression, rpc.ClientConfig{Tracer: deps.Tracer, Meter: deps.Meter}); err != nil {
			return nil, fmt.Errorf("reach the contact service: %w", err)
		}
		e.reserver = contactClient{contactv1.NewContactServiceClient(s.suppression)}
	}
	decisionv1.RegisterDecisionServiceServer(deps.GRPC, &server{engine: e})
	s.stage = stage.New(stage.Config{
		Spec: log.Stage(decisionStage), Generation: deps.Generation, Owner: deps.Owner, Replica: deps.Replica, Batch: cfg.Batch,
	}, NewFold(rules), stage.Ports{
		Broker: deps.Broker, KV: deps.KV, Store: deps.Store, Clock: deps.Clock, Logger: deps.Logger,
		Tracer: deps.Tracer, Meter: deps.Meter, Preparer: rules,
		Ready: func() { deps.Ready(decisionStage, true) },
	})
	return s, nil
}

// service runs the stage and the decision log.
type service struct {
	deps        run.Deps
	stage       *stage.Stage
	log         *answerLog
	suppression *grpc.ClientConn
	running     atomic.Bool
}

// Run implements run.Component: it blocks until ctx ends and everything has stopped.
func (s *service) Run(ctx context.Context) error {
	if !s.running.CompareAndSwap(false, true) {
		return fmt.Errorf("run decision: it runs already")
	}
	defer s.running.Store(false)
	if s.suppression != nil {
		defer func() { _ = s.suppression.Close() }()
	}
	logCtx, stopLog := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.log.run(logCtx)
	}()
	defer func() {
		stopLog()
		<-done
	}()
	defer s.deps.Ready(decisionStage, false)
	if err := s.deps.Runner.Run(ctx, s.stage); err != nil {
		return fmt.Errorf("run decision stage: %w", err)
	}
	return nil
}

// contactClient is the Reserver over gRPC.
type contactClient struct{ contactv1.ContactServiceClient }

// Reserve implements Reserver.
func (c contactClient) Reserve(ctx context.Context, req *contactv1.ReserveRequest) (*contactv1.ReserveResponse, error) {
	res, err := c.ContactServiceClient.Reserve(ctx, req)
	if err != nil {
		return nil, rpc.FromStatus(err)
	}
	return res, nil
}
