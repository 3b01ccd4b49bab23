package ingestsvc

import (
	"context"
	"fmt"
	"sync/atomic"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/run"
)

// service is ingest, built.
type service struct {
	cfg     Config
	deps    run.Deps
	door    *door
	keys    keyring
	sampler *sampler
	routing *routing
	// looked and routed say that pressure and identifier kinds are known; ready that it was told.
	looked, routed, ready atomic.Bool
}

// New builds ingest and registers its gRPC service. It opens nothing.
func New(ctx context.Context, cfg Config, deps run.Deps) (run.Component, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("build ingest: %w", err)
	}
	if err := cfg.Validate(); err != nil {
		return nil, fault.As(fault.Invalid, err)
	}
	m, err := newMetrics(deps.Meter)
	if err != nil {
		return nil, err
	}
	s := &service{cfg: cfg, deps: deps, keys: newKeyring(cfg)}
	s.sampler = &sampler{
		log: deps.Broker, generation: deps.Generation, fullAt: cfg.FullAt, maxLag: cfg.MaxLag.Std(),
		every: cfg.SampleEvery.Std(), metrics: m, logger: deps.Logger,
	}
	s.door = newDoor(cfg, deps, m)
	s.routing = newRouting(deps.KV, cfg.SampleEvery.Std(), deps.Logger)
	s.door.pressure, s.door.kinds = s.sampler, s.routing
	if s.keys.open != "" {
		deps.Logger.WarnContext(ctx, "no write keys are set: every key is taken", "tenant", s.keys.open)
	}
	eventv1.RegisterIngestServiceServer(deps.GRPC, &rpcEntrance{door: s.door, keys: s.keys})
	rpc.ValidatesItself(deps.GRPC, eventv1.IngestService_PublishEvents_FullMethodName)
	return s, nil
}

func newDoor(cfg Config, deps run.Deps, m *metrics) *door {
	d := &door{
		hasher: identity.NewHasher(deps.Generation.Secret, deps.Generation.Partitions), generation: deps.Generation,
		kinds: defaultKinds{event.DefaultKinds()}, stamper: deps.Stamper, clock: deps.Clock,
		committer: newCommitter(deps.Broker, cfg.StoreWithin.Std(), m),
		letters:   &letters{store: deps.Broker, within: cfg.StoreWithin.Std()},
		tracer:    deps.Tracer.Tracer("refrain.dev/services/ingest"), metrics: m, logger: deps.Logger,
	}
	if d.stamper == nil {
		d.stamper = wallStamper{deps.Clock}
	}
	return d
}

// Run implements run.Component: it serves until ctx ends, then answers what is in flight and waits for
// the last append.
func (s *service) Run(ctx context.Context) error {
	l, err := run.Listen(ctx, s.cfg.HTTP)
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // told to stop while it waited for the port
		}
		return err
	}
	s.deps.Heard("ingest-http", l.Addr())
	entrances := &httpEntrances{door: s.door, keys: s.keys, ready: s.ready.Load}
	server := run.NewHTTPServer(entrances.handler(s.deps), s.deps.Logger)
	within := s.cfg.StopWithin.Std()
	parts := []run.Part{
		{Name: "pressure", Component: run.Func(func(ctx context.Context) error { return s.sampler.run(ctx, s.known(&s.looked)) })},
		{Name: "routing", Component: run.Func(func(ctx context.Context) error { return s.routing.run(ctx, s.known(&s.routed)) })},
		{Name: "committer", Component: run.Func(s.commit)},
		{Name: "http", Component: run.Func(func(ctx context.Context) error { return run.ServeHTTP(ctx, server, l, within/2) })},
	}
	if s.deps.NATS != nil {
		parts = append(parts, run.Part{Name: "nats", Component: run.Func(func(ctx context.Context) error {
			return newNATSEntrance(s.door).run(ctx, s.deps.NATS)
		})})
	}
	return run.Together(ctx, s.deps.Logger, within, parts...)
}

// commit outlives the entrances and returns when the last append is resolved.
func (s *service) commit(ctx context.Context) error {
	<-ctx.Done()
	s.door.committer.wait()
	return nil
}

// known notes that something is known; when all is, ingest is ready.
func (s *service) known(what *atomic.Bool) func() {
	return func() {
		what.Store(true)
		if s.looked.Load() && s.routed.Load() && s.ready.CompareAndSwap(false, true) {
			s.deps.Ready("ingest", true)
		}
	}
}
