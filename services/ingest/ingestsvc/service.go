package ingestsvc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/run"
	"refrain.dev/services/ingest/ingestsvc/overload"
)

// service is ingest, built.
type service struct {
	cfg     Config
	deps    run.Deps
	door    *door
	keys    keyring
	sampler *sampler
	routing *routing
	// looked and routed say that pressure and identifier kinds are known, listens that the broker leads requests
	// here; ready that it was told.
	looked, routed, listens, ready atomic.Bool
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
		log: deps.Broker, generation: deps.Generation, clock: deps.Clock, liveAt: cfg.FullAt, bulkAt: cfg.BulkFullAt,
		every: cfg.SampleEvery.Std(), metrics: m, logger: deps.Logger,
	}
	s.door = newDoor(cfg, deps, m)
	s.sampler.streams = s.door.committer.streams
	s.routing = newRouting(cfg, deps)
	s.door.pressure, s.door.kinds = s.sampler, s.routing
	if s.keys.open != "" {
		deps.Logger.WarnContext(ctx, "no write keys are set: every key is taken", "tenant", s.keys.open)
	}
	eventv1.RegisterIngestServiceServer(deps.GRPC, &rpcEntrance{door: s.door, keys: s.keys})
	rpc.ValidatesItself(deps.GRPC, eventv1.IngestService_PublishEvents_FullMethodName)
	return s, nil
}

// turnWithin is how long a request may wait until it is worked on.
const turnWithin = 100 * time.Millisecond

func newDoor(cfg Config, deps run.Deps, m *metrics) *door {
	committer := newCommitter(cfg, deps, m)
	told := committer.times.reference.Clock()
	d := &door{
		hasher: identity.NewHasher(deps.Generation.Secret, deps.Generation.Partitions), generation: deps.Generation,
		kinds: defaultKinds{event.DefaultKinds()}, stamper: deps.Stamper, clock: told,
		committer: committer, flows: newFlows(cfg, deps, m), maxQueue: cfg.MaxQueue.Std(),
		customers: overload.NewCustomers(cfg.CustomerRate, cfg.CustomerBurst),
		gate: overload.NewGate(deps.Clock, overload.GateConfig{
			Memory: int64(cfg.Memory), Turns: cmp.Or(cfg.Workers, 2*runtime.GOMAXPROCS(0)), Within: turnWithin,
		}),
		letters: &letters{store: deps.Broker, within: cfg.StoreWithin.Std(), clock: told},
		tracer:  deps.Tracer.Tracer("refrain.dev/services/ingest"), metrics: m, logger: deps.Logger,
	}
	d.committer.flows = d.flows
	if d.stamper == nil {
		d.stamper = wallStamper{told}
	}
	return d
}

// Run implements run.Component: it serves until ctx ends, then answers what is in flight and waits for
// the last append.
func (s *service) Run(ctx context.Context) error {
	serve, err := s.entrances(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	defer s.deps.Ready("ingest", false)
	looking := s.start(ctx, func(ctx context.Context) error { return s.sampler.run(ctx, s.known(&s.looked)) },
		func(ctx context.Context) error { return s.routing.run(ctx, s.known(&s.routed)) }, s.door.flows.run)
	serving := s.start(ctx, serve...)
	// An end of ctx and of a part lead to the same.
	_, _ = s.deps.Clock.Wait(ctx, clock.Forever, serving.ended, looking.ended)
	within, cancel := s.deps.Clock.Within(context.WithoutCancel(ctx), s.cfg.StopWithin.Std())
	defer cancel()
	return errors.Join(serving.stop(within), s.door.committer.wait(within), looking.stop(within))
}

// entrances opens those that were asked for; gRPC is not served from here. With none of them, and no error,
// ctx may have ended while it waited for the port.
func (s *service) entrances(ctx context.Context) (serve []func(context.Context) error, err error) {
	if s.cfg.HTTP != "" {
		l := s.cfg.Listener
		if l == nil {
			if l, err = run.Listen(ctx, s.cfg.HTTP); err != nil {
				if ctx.Err() != nil {
					return nil, nil //nolint:nilerr // told to stop while it waited for the port
				}
				return nil, err
			}
		}
		s.deps.Heard("ingest-http", l.Addr())
		entrances := &httpEntrances{door: s.door, keys: s.keys, ready: s.ready.Load}
		server := run.NewHTTPServer(entrances.handler(s.deps), s.deps.Logger)
		serve = append(serve, func(ctx context.Context) error { return run.ServeHTTP(ctx, server, l, s.cfg.StopWithin.Std()/2) })
	}
	if s.deps.NATS != nil {
		serve = append(serve, func(ctx context.Context) error {
			return newNATSEntrance(s.door).run(ctx, s.deps.NATS, s.known(&s.listens))
		})
	} else {
		s.listens.Store(true)
	}
	return serve, nil
}

// parts run beside each other until they are told to stop.
type parts struct {
	group  *clock.Group
	cancel context.CancelFunc
	ended  chan struct{} // signalled when one ended before it was told to
}

// start runs parts on the service's clock. They do not end with ctx.
func (s *service) start(ctx context.Context, all ...func(context.Context) error) *parts {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &parts{group: clock.NewGroup(s.deps.Clock, 0), cancel: cancel, ended: make(chan struct{}, 1)}
	for _, one := range all {
		p.group.Go(func() error {
			err := one(own)
			if own.Err() == nil {
				if err == nil {
					err = errors.New("a part of ingest ended by itself")
				}
				select {
				case p.ended <- struct{}{}:
				default:
				}
			}
			return err
		})
	}
	return p
}

// stop tells the parts to end and waits for them, no longer than ctx.
func (p *parts) stop(ctx context.Context) error {
	p.cancel()
	return p.group.Wait(ctx)
}

// known notes that something is known; when all is, ingest is ready.
func (s *service) known(what *atomic.Bool) func() {
	return func() {
		what.Store(true)
		if s.looked.Load() && s.routed.Load() && s.listens.Load() && s.ready.CompareAndSwap(false, true) {
			s.deps.Ready("ingest", true)
		}
	}
}
