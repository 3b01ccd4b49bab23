package stage

import (
	"context"
	"errors"
	"sync"
	"time"
)

// WallClock is the machine's clock.
type WallClock struct{}

// Now implements Clock.
func (WallClock) Now() time.Time { return time.Now() }

// FreeRunner runs stages on the wall clock: a goroutine per partition and one per relay.
type FreeRunner struct{}

// NewFreeRunner returns a FreeRunner.
func NewFreeRunner() FreeRunner { return FreeRunner{} }

// Run implements Runner.
func (FreeRunner) Run(ctx context.Context, s *Stage) error {
	if err := s.start(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	return runFreely(ctx, s)
}

// unlessEnded is err, or nil if the context has ended: what was told to stop has not failed.
func unlessEnded(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
		return nil
	default:
		return err
	}
}

// runFreely runs a started stage until the context ends, and drains it.
func runFreely(ctx context.Context, s *Stage) error {
	var wg sync.WaitGroup
	for _, p := range s.owned() {
		wg.Go(func() { p.runFree(ctx) })
		wg.Go(func() { p.relayFree(ctx) })
	}
	wg.Wait()
	return s.stop(ctx, limit{})
}

// outlive returns a context that ends some time after ctx: a step under way is finished, so that the drain
// finds no append half done.
func (p *partition) outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		late := time.NewTimer(p.cfg.StopWithin / 2)
		defer late.Stop()
		select {
		case <-late.C:
			cancel()
		case <-work.Done():
		}
	})
	return work, cancel
}

// runFree steps a partition until the context ends. A halted partition stays halted, and the others go on.
func (p *partition) runFree(ctx context.Context) {
	work, cancel := p.outlive(ctx)
	defer cancel()
	back := backoff{}
	for ctx.Err() == nil {
		worked, err := p.step(work, limit{})
		switch {
		case err == nil && worked:
			back = backoff{}
		case err == nil:
			back = backoff{}
			if p.sleep(ctx) {
				continue
			}
			if err := p.recover(work); err != nil && ctx.Err() == nil && p.mend(ctx, err, &back) {
				return
			}
		case ctx.Err() != nil:
			return
		default:
			if stop := p.mend(ctx, err, &back); stop {
				return
			}
		}
	}
}

// mend deals with a step's error; true means that the partition must not go on.
func (p *partition) mend(ctx context.Context, err error, back *backoff) bool {
	if halt, ok := errors.AsType[*HaltError](err); ok {
		p.ports.Logger.Error("partition halted", "stage", p.cfg.Spec.Name, "partition", p.number, "error", halt)
		p.metrics.halted(ctx)
		p.close()
		return true
	}
	if errors.Is(err, errLost) {
		p.ports.Logger.Warn("another owner took the partition over", "stage", p.cfg.Spec.Name, "partition", p.number)
		p.rejectAll()
		if back.wait(ctx, err) != nil {
			return true
		}
		return p.retake(ctx) != nil
	}
	p.ports.Logger.Warn("step waits", "stage", p.cfg.Spec.Name, "partition", p.number, "error", err)
	return back.wait(ctx, err) != nil
}

// rejectAll answers everybody who waits: what became of their requests is not known.
func (p *partition) rejectAll() {
	for _, it := range p.pending {
		if it.input == nil {
			continue
		}
		if c, ok := it.input.Request.(call); ok {
			c.to.reply <- response{err: unavailable(p.number)}
		}
	}
	p.pending = nil
}

// lookEvery is how often an owner that has nothing to do looks whether the store still has its states:
// other stages read them, and would wait for the next input that makes it notice.
const lookEvery = 2 * time.Second

// sleep waits until something may have arrived at a door or a timer is due; false if nothing did for long.
func (p *partition) sleep(ctx context.Context) bool {
	var wakes [6]<-chan struct{}
	for n, r := range p.readers {
		wakes[n] = r.tail.Wake()
	}
	var timer <-chan time.Time
	if !p.earliest.IsZero() {
		t := time.NewTimer(max(0, p.earliest.Sub(p.ports.Clock.Now())))
		defer t.Stop()
		timer = t.C
	}
	look := time.NewTimer(lookEvery)
	defer look.Stop()
	select {
	case <-look.C:
		return false
	case <-ctx.Done():
	case <-p.doors.wake:
	case <-timer:
	case <-wakes[0]:
	case <-wakes[1]:
	case <-wakes[2]:
	case <-wakes[3]:
	case <-wakes[4]:
	case <-wakes[5]:
	}
	return true
}

// relayFree delivers letters until the context ends; what is left is delivered by the drain or, after a
// kill, by the next owner.
func (p *partition) relayFree(ctx context.Context) {
	back := backoff{}
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		_, err := p.relay.flush(ctx)
		if err == nil {
			back = backoff{}
		} else if ctx.Err() == nil {
			p.ports.Logger.Warn("relay waits", "chain", p.relay.chain, "error", err)
			if back.wait(ctx, err) != nil {
				return
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-p.relay.wake:
		case <-tick.C:
			if err := p.relay.save(ctx, 1); err != nil && ctx.Err() == nil {
				p.ports.Logger.Warn("relay position is not saved", "chain", p.relay.chain, "error", err)
			}
		}
	}
}

var _ Runner = FreeRunner{}
