package decisionsvc

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"

	"refrain.dev/pkg/clock"
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
	rules := newBook(deps, cfg.Catalogs)
	s := &service{deps: deps, log: newAnswerLog(answerLogConfig{buffer: cfg.LogBuffer, broker: deps.Broker, clock: deps.Clock, logger: deps.Logger}, m)}
	e := &engine{
		cfg: cfg, book: rules, store: deps.Store, log: s.log, metrics: m,
		hasher:     identity.NewHasher(deps.Generation.Secret, deps.Generation.Partitions),
		generation: deps.Generation.Number, publicURL: strings.TrimRight(cfg.PublicURL, "/"),
	}
	if cfg.Suppression != "" {
		if s.suppression, err = deps.Dial(cfg.Suppression); err != nil {
			return nil, fmt.Errorf("reach the contact service: %w", err)
		}
		e.reserver = contactClient{contactv1.NewContactServiceClient(s.suppression)}
	}
	decisionv1.RegisterDecisionServiceServer(deps.GRPC, &server{engine: e})
	s.stage = stage.New(stage.Config{
		Spec: log.Stage(decisionStage), Generation: deps.Generation, Ownership: deps.Ownership, Replica: deps.Replica, Batch: cfg.Batch,
		Retention: deps.Retention,
	}, NewFold(rules), stage.Ports{
		Broker: deps.Broker, KV: deps.KV, Objects: deps.Objects, Store: deps.Store, Clock: deps.Clock, Logger: deps.Logger,
		Tracer: deps.Tracer, Meter: deps.Meter, Points: deps.Points, Preparer: rules,
		Ready:  func() { deps.Ready(decisionStage, true) },
		Halted: deps.HaltedOf(decisionStage),
		Timely: deps.Timely,
		Pinned: pinned,
	})
	e.clock = s.stage.Clock()
	return s, nil
}

// service runs the stage and the decision log.
type service struct {
	deps        run.Deps
	stage       *stage.Stage
	log         *answerLog
	suppression run.Conn
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
	logging := clock.NewGroup(s.deps.Clock, 0)
	logging.Go(func() error { s.log.run(logCtx); return nil })
	defer func() {
		stopLog()
		_ = logging.Wait(context.WithoutCancel(ctx))
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
