package stage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

// Stage is one stage with the partitions that this process owns. It is made by New, run by a Runner, and
// asked by Do.
type Stage struct {
	cfg     Config
	fold    Fold
	ports   Ports
	metrics *metrics
	tracer  trace.Tracer

	notify func() // told of everything that arrives at a door; set before start

	mu    sync.RWMutex
	parts map[int]*partition
	feeds []log.Feed

	callsCtx  context.Context //nolint:containedctx // the life of the calls, not of a request
	stopCalls context.CancelFunc
	unwatch   func()
	calling   sync.WaitGroup
}

// New makes a stage; it reads and writes nothing yet.
func New(cfg Config, fold Fold, ports Ports) *Stage {
	if cfg.Batch <= 0 {
		cfg.Batch = 256
	}
	if cfg.StopWithin <= 0 {
		cfg.StopWithin = 10 * time.Second
	}
	if cfg.Owner == nil {
		cfg.Owner = func(int) bool { return true }
	}
	return &Stage{
		cfg: cfg, fold: fold, ports: ports, metrics: newMetrics(cfg.Spec.Name, ports.Meter),
		tracer: ports.Tracer.Tracer("refrain.dev/pkg/stage"), parts: map[int]*partition{},
	}
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

// start takes over every owned partition, brings the store up to date and opens the inputs.
func (s *Stage) start(ctx context.Context) error {
	s.callsCtx, s.stopCalls = context.WithCancel(context.WithoutCancel(ctx))
	var parts []*partition
	for n := range s.cfg.Generation.Partitions {
		if s.cfg.Owner(n) {
			parts = append(parts, s.newPartition(n))
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, p := range parts {
		g.Go(func() error { return p.takeOverPatiently(gctx) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	feeds, err := openInputs(ctx, s.ports.Broker, parts)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.feeds = feeds
	for _, p := range parts {
		s.parts[p.number] = p
	}
	s.unwatch = s.watchLag()
	s.mu.Unlock()
	s.ports.Logger.Info("stage took over its partitions", "stage", s.Name(), "partitions", len(parts))
	if s.ports.Ready != nil {
		s.ports.Ready()
	}
	return nil
}

// takeOverPatiently waits out what passes: a broker that does not answer, another owner that is faster.
func (p *partition) takeOverPatiently(ctx context.Context) error {
	back := backoff{}
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
	for _, f := range p.feeds {
		f.Close()
	}
	p.pending = nil
	if err := p.takeOverPatiently(ctx); err != nil {
		return err
	}
	feeds, err := openInputs(ctx, p.ports.Broker, []*partition{p})
	if err != nil {
		return err
	}
	p.feeds = feeds
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

// drain ends a partition gracefully: calls under way get their time, their results are recorded, letters
// are delivered, and CLOSE tells the next owner that it need not be careful. A kill is as safe, only slower
// to recover from, and is how a partition ends whose last append is not known to have happened.
func (p *partition) drain(ctx context.Context, lim limit) error {
	if p.torn {
		p.rejectAll()
		return nil
	}
	p.doors.mu.Lock()
	p.doors.results = append(p.round, p.doors.results...)
	p.doors.mu.Unlock()
	p.round, p.inRound = nil, false
	p.rejectAll()
	for {
		calls, results := p.inFlight()
		if calls == 0 && results == 0 {
			break
		}
		if results == 0 {
			select {
			case <-p.doors.wake:
				continue
			case <-ctx.Done():
				return fmt.Errorf("drain partition %d: %d calls still under way: %w", p.number, calls, ctx.Err())
			}
		}
		if n := p.gatherResults(p.cfg.Batch); n == 0 {
			continue
		}
		if _, err := p.stepPending(ctx, lim); err != nil {
			return err
		}
	}
	if _, err := p.relay.flush(ctx); err != nil {
		return err
	}
	rec := p.blank(stagev1.RecordKind_RECORD_KIND_CLOSE)
	seq, err := p.append(ctx, rec)
	if err != nil {
		return err
	}
	p.relay.add(seq, rec)
	if err := p.apply(ctx, rec, nil, seq); err != nil {
		return err
	}
	if _, err := p.relay.flush(ctx); err != nil {
		return err
	}
	return p.relay.save(ctx, 1)
}

// stop drains all partitions and closes the inputs, within StopWithin.
func (s *Stage) stop(ctx context.Context, lim limit) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.StopWithin)
	defer cancel()
	s.unwatch()
	var errs []error
	for _, p := range s.owned() {
		if p.readers != nil {
			if err := p.drain(ctx, lim); !errors.Is(err, errLost) { // the other owner goes on
				errs = append(errs, err)
			}
		}
	}
	s.stopCalls()
	s.calling.Wait()
	for _, p := range s.owned() {
		p.close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.feeds {
		f.Close()
	}
	s.feeds, s.parts = nil, map[int]*partition{}
	return errors.Join(errs...)
}

// callCtx is what calls run under: they outlive the step that started them, not the stage.
func (s *Stage) callCtx() context.Context { return s.callsCtx }
