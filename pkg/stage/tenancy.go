package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
)

const (
	// takeOverWithin bounds one try to take partitions over; what cannot be had in it is tried again, so that
	// one chain without a leader does not keep the others waiting.
	takeOverWithin = 10 * time.Second
	// tryAgainAfter is the pause before that.
	tryAgainAfter = 500 * time.Millisecond
	// handoverWithin is how long an owner that is known to be there is given to end its work; whoever does
	// not know that it should is fenced after that.
	handoverWithin = 3 * time.Second
	// handoverLook is how often it is looked whether it has.
	handoverLook = 50 * time.Millisecond
)

// tenancy takes the partitions of a stage over and gives them back, as its Ownership says.
type tenancy struct {
	*Stage
	running *clock.Group
	ended   chan struct{} // signalled when a tenure ends
	ready   bool

	mu      sync.Mutex
	tenures map[int]context.CancelFunc
	over    map[int]bool // halted: not to be touched again
}

func newTenancy(s *Stage) *tenancy {
	return &tenancy{
		Stage: s, running: clock.NewGroup(s.ports.Clock, 0), ended: make(chan struct{}, 1),
		tenures: map[int]context.CancelFunc{}, over: map[int]bool{},
	}
}

// run holds partitions until the context ends; then all are drained.
func (t *tenancy) run(ctx context.Context) error {
	for _, p := range t.owned() { // taken over under the replay clock
		t.hold(ctx, p)
	}
	t.running.Go(func() error { t.keepTime(ctx); return nil })
	if k := t.keeper(t.missing); k != nil {
		t.running.Go(func() error { k.Run(ctx); return nil })
	}
	for ctx.Err() == nil {
		changed := t.cfg.Ownership.Changed()
		t.giveBack()
		pause := clock.Forever
		if err := t.acquire(ctx, t.missing()); err != nil {
			t.ports.Logger.Warn("take-over waits", "stage", t.Name(), "error", err)
			pause = tryAgainAfter
		} else if !t.ready && t.anyGoing() {
			t.ready = true
			t.tookOver()
		}
		_, _ = t.ports.Clock.Wait(ctx, pause, changed, t.ended)
	}
	err := t.running.Wait(context.WithoutCancel(ctx))
	t.end(ctx)
	return err
}

// giveBack ends the tenures of partitions that others are to own.
func (t *tenancy) giveBack() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := range t.cfg.Generation.Partitions {
		if end := t.tenures[n]; end != nil && !t.cfg.Ownership.Owns(n) {
			end()
		}
	}
}

// missing lists the partitions that are to be owned and are not.
func (t *tenancy) missing() []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []int
	for n := range t.cfg.Generation.Partitions {
		if t.tenures[n] == nil && !t.over[n] && t.cfg.Ownership.Owns(n) {
			out = append(out, n)
		}
	}
	return out
}

// acquire takes partitions over and lets them run; those that could be had run, whatever the error.
func (t *tenancy) acquire(ctx context.Context, numbers []int) error {
	parts, err := t.takeOverAll(ctx, numbers)
	if len(parts) == 0 {
		return err
	}
	feeds, ferr := openInputs(ctx, t.ports.Broker, parts)
	if ferr != nil {
		return errors.Join(err, ferr)
	}
	shared := &sharedFeeds{feeds: feeds, users: len(parts)}
	for _, p := range parts {
		p.shared = shared
		t.mu.Lock()
		t.Stage.mu.Lock()
		t.parts[p.number] = p
		t.Stage.mu.Unlock()
		t.mu.Unlock()
		t.hold(ctx, p)
	}
	return err
}

// takeOverAll takes over what it can within takeOverWithin.
func (t *tenancy) takeOverAll(ctx context.Context, numbers []int) ([]*partition, error) {
	within, cancel := t.ports.Clock.Within(ctx, takeOverWithin)
	defer cancel()
	g := clock.NewGroup(t.ports.Clock, 4)
	var mu sync.Mutex
	var taken []*partition
	var errs []error
	for _, n := range numbers {
		p := t.newPartition(n)
		g.Go(func() error {
			err := p.takeOverPatiently(within)
			mu.Lock()
			defer mu.Unlock()
			if halt, ok := errors.AsType[*HaltError](err); ok {
				p.halt(ctx, halt)
				t.setOver(n)
				return nil
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("partition %d: %w", n, err))
				return nil
			}
			taken = append(taken, p)
			return nil
		})
	}
	_ = g.Wait(context.WithoutCancel(ctx)) // every function ends with within
	slices.SortFunc(taken, func(a, b *partition) int { return a.number - b.number })
	return taken, errors.Join(errs...)
}

// anyGoing reports whether a partition goes on, or there is none that was halted: those that go on are not kept
// from serving by others.
func (t *tenancy) anyGoing() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.over) == 0 || len(t.tenures) > 0
}

func (t *tenancy) setOver(partition int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over[partition] = true
}

// hold runs a partition, and its relay, until its tenure ends.
func (t *tenancy) hold(ctx context.Context, p *partition) {
	ctx, end := context.WithCancel(ctx)
	t.mu.Lock()
	t.tenures[p.number] = end
	t.mu.Unlock()
	t.running.Go(func() error {
		defer end()
		relaying := clock.NewGroup(t.ports.Clock, 0)
		relaying.Go(func() error { p.relayFree(ctx); return nil })
		over := p.runFree(ctx)
		end()
		_ = relaying.Wait(context.WithoutCancel(ctx))
		err := t.leave(ctx, p, over)
		t.forget(p)
		return err
	})
}

// leave ends a tenure: gracefully, unless the partition was lost or must not be touched.
func (t *tenancy) leave(ctx context.Context, p *partition, over bool) error {
	var err error
	if over {
		p.rejectAll()
	} else {
		within, cancel := t.ports.Clock.Within(context.WithoutCancel(ctx), t.cfg.StopWithin)
		defer cancel()
		if err = p.drain(within, limit{}); errors.Is(err, errLost) {
			err = nil // the other owner goes on
		}
	}
	p.close()
	if err != nil {
		t.ports.Logger.Warn("partition was not drained", "stage", t.Name(), "partition", p.number, "error", err)
	}
	return err
}

func (t *tenancy) forget(p *partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Stage.mu.Lock()
	defer t.Stage.mu.Unlock()
	delete(t.tenures, p.number)
	if p.halted {
		t.over[p.number] = true
	}
	delete(t.parts, p.number)
	select {
	case t.ended <- struct{}{}:
	default:
	}
}

// awaitHandover gives the owner that the chain names time to end its work, if it is known to be there.
func (p *partition) awaitHandover(ctx context.Context) error {
	until := p.ports.Clock.Elapsed() + handoverWithin
	for {
		msg, err := p.ports.Broker.Last(ctx, p.chainName)
		if err != nil {
			return nil //nolint:nilerr // the take-over finds the same
		}
		rec := &stagev1.Record{}
		if rec.UnmarshalVT(msg.Data) != nil || rec.GetOwner() == p.cfg.Replica || !p.cfg.Ownership.Present(rec.GetOwner()) {
			return nil //nolint:nilerr // what cannot be read the take-over finds
		}
		switch rec.GetKind() {
		case stagev1.RecordKind_RECORD_KIND_GENESIS, stagev1.RecordKind_RECORD_KIND_CLOSE:
			return nil
		default:
		}
		if p.ports.Clock.Elapsed() >= until {
			return nil
		}
		if err := clock.Sleep(ctx, p.ports.Clock, handoverLook); err != nil {
			return err
		}
	}
}

// sharedFeeds are feeds that several partitions read; the last to leave closes them.
type sharedFeeds struct {
	feeds []log.Feed

	mu    sync.Mutex
	users int
}

func (s *sharedFeeds) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	if s.users == 0 {
		for _, f := range s.feeds {
			f.Close()
		}
	}
}
