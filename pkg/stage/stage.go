package stage

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/snapshot"
)

// Stage is one stage with the partitions that this process owns. It is made by New, run by a Runner, and
// asked by Do.
type Stage struct {
	cfg     Config
	fold    Fold
	ports   Ports
	metrics *metrics
	tracer  trace.Tracer
	library *snapshot.Library // nil if no snapshots are kept
	// reference compares the process's clock with the log's.
	reference *clock.Reference
	// wrong is signalled when the clock is proven wrong.
	wrong chan struct{}

	notify func() // told of everything that arrives at a door; set before start

	mu    sync.RWMutex
	parts map[int]*partition
	// stopped are the partitions that were halted here.
	stopped map[int]bool

	callsCtx  context.Context //nolint:containedctx // the life of the calls, not of a request
	stopCalls context.CancelFunc
	unwatch   func()
	calling   *clock.Group
}

// New makes a stage; it reads and writes nothing yet.
func New(cfg Config, fold Fold, ports Ports) *Stage {
	if cfg.Batch <= 0 {
		cfg.Batch = 256
	}
	if cfg.StopWithin <= 0 {
		cfg.StopWithin = 10 * time.Second
	}
	if cfg.Ownership == nil {
		cfg.Ownership = Always(func(int) bool { return true })
	}
	s := &Stage{
		cfg: cfg, fold: fold, ports: ports, metrics: newMetrics(cfg.Spec.Name, ports.Meter),
		tracer: ports.Tracer.Tracer("refrain.dev/pkg/stage"), parts: map[int]*partition{}, stopped: map[int]bool{},
		wrong: make(chan struct{}, 1),
	}
	if s.reference = ports.Reference; s.reference == nil {
		s.reference = clock.NewReference(ports.Clock)
	}
	if ports.Objects != nil {
		s.library = snapshot.NewLibrary(ports.Objects, ports.KV, cfg.Generation.Number)
	}
	return s
}

// Name is the stage's name.
func (s *Stage) Name() string { return s.cfg.Spec.Name }

// Do hands a request to the owner of a partition and returns the fold's reply after the record that holds
// its effect is stored. fault.Unavailable says that the outcome is not known: repeat with the same id.
func (s *Stage) Do(ctx context.Context, partition int, r Request) (any, error) {
	s.mu.RLock()
	p := s.parts[partition]
	s.mu.RUnlock()
	if p == nil {
		return nil, fault.New(fault.Unavailable, "%s: partition %d is not owned by this replica", s.Name(), partition)
	}
	return p.do(ctx, r)
}

// begin makes what the stage's partitions share.
func (s *Stage) begin(ctx context.Context) {
	s.callsCtx, s.stopCalls = context.WithCancel(context.WithoutCancel(ctx))
	s.calling = clock.NewGroup(s.ports.Clock, 0)
	s.unwatch = s.watchLag()
}

// end waits for the calls that are still under way, which are told to hurry.
func (s *Stage) end(ctx context.Context) {
	s.unwatch()
	s.stopCalls()
	_ = s.calling.Wait(context.WithoutCancel(ctx))
}

// tookOver says, once, that every owned partition has caught up.
func (s *Stage) tookOver() {
	s.ports.Logger.Info("stage took over its partitions", "stage", s.Name(), "partitions", len(s.owned()))
	if s.ports.Ready != nil {
		s.ports.Ready()
	}
}

// start takes over every owned partition, brings the store up to date and opens the inputs, for whoever
// drives the partitions step by step.
func (s *Stage) start(ctx context.Context) error {
	s.begin(ctx)
	t := newTenancy(s)
	g := clock.NewGroup(s.ports.Clock, 4)
	var parts []*partition
	for _, n := range t.missing() {
		p := s.newPartition(n)
		parts = append(parts, p)
		g.Go(func() error { return p.takeOverPatiently(ctx) })
	}
	if err := g.Wait(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	feeds, err := openInputs(ctx, s.ports.Broker, parts)
	if err != nil {
		return err
	}
	shared := &sharedFeeds{feeds: feeds, users: len(parts)}
	s.mu.Lock()
	for _, p := range parts {
		p.shared = shared
		s.parts[p.number] = p
	}
	s.mu.Unlock()
	s.tookOver()
	return nil
}

// takeOverPatiently waits out what passes: a broker that does not answer, another owner that is faster.
func (p *partition) takeOverPatiently(ctx context.Context) error {
	if err := p.awaitHandover(ctx); err != nil {
		return err
	}
	back := p.backoff()
	for {
		err := p.takeOver(ctx)
		if err == nil {
			return nil
		}
		if _, halted := errors.AsType[*HaltError](err); halted {
			return err
		}
		p.ports.Logger.Warn("take-over waits", "stage", p.cfg.Spec.Name, "partition", p.number, "error", err)
		if err := back.wait(ctx, err); err != nil {
			return err
		}
	}
}

// retake takes a lost partition over again, with inputs of its own.
func (p *partition) retake(ctx context.Context) error {
	p.leaveFeeds()
	if err := p.takeOverPatiently(ctx); err != nil {
		return err
	}
	feeds, err := openInputs(ctx, p.ports.Broker, []*partition{p})
	if err != nil {
		return err
	}
	p.shared = &sharedFeeds{feeds: feeds, users: 1}
	return nil
}

// owned returns the partitions in their order.
func (s *Stage) owned() []*partition {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]*partition, 0, len(s.parts))
	for n := range s.cfg.Generation.Partitions {
		if p := s.parts[n]; p != nil {
			out = append(out, p)
		}
	}
	return out
}

// callCtx is what calls run under: they outlive the step that started them, not the stage.
func (s *Stage) callCtx() context.Context { return s.callsCtx }
