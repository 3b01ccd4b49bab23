package stage

import (
	"context"
	"errors"
	"time"

	"refrain.dev/pkg/clock"
)

// FreeRunner runs stages on the clock that they are given: each partition beside the others, and each relay.
type FreeRunner struct{}

// NewFreeRunner returns a FreeRunner.
func NewFreeRunner() FreeRunner { return FreeRunner{} }

// Run implements Runner.
func (FreeRunner) Run(ctx context.Context, s *Stage) error {
	s.begin(ctx)
	return newTenancy(s).run(ctx)
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

// outlive returns a context that ends some time after ctx: a step under way is finished, so that the drain
// finds no append half done.
func (p *partition) outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := p.ports.Clock
	c.Go(func() {
		defer cancel()
		if _, err := c.Wait(ctx, clock.Forever, work.Done()); err != nil {
			_ = clock.Sleep(work, c, p.cfg.StopWithin/2)
		}
	})
	return work, cancel
}

// runFree steps a partition until the context ends, or it must not go on: then it says so.
func (p *partition) runFree(ctx context.Context) (over bool) {
	work, cancel := p.outlive(ctx)
	defer cancel()
	back := p.backoff()
	for ctx.Err() == nil {
		worked, err := p.step(work, limit{})
		if err == nil {
			back.reset()
			if worked || p.sleep(ctx) {
				continue
			}
			if err = p.recover(work); err == nil {
				err = p.checkTail(work)
			}
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return errors.Is(err, errLost)
		case p.mend(ctx, err, &back):
			return true
		}
	}
	return false
}

// mend deals with a step's error; true means that the partition must not go on.
func (p *partition) mend(ctx context.Context, err error, back *backoff) bool {
	if halt, ok := errors.AsType[*HaltError](err); ok {
		p.halt(ctx, halt)
		return true
	}
	if lost, ok := errors.AsType[*lostInputError](err); ok {
		return p.lostInput(ctx, lost, back)
	}
	if errors.Is(err, errLost) {
		p.ports.Logger.Warn("another owner took the partition over", "stage", p.cfg.Spec.Name, "partition", p.number)
		p.rejectAll()
		if back.wait(ctx, err) != nil || !p.cfg.Ownership.Owns(p.number) {
			return true
		}
		return p.retake(ctx) != nil
	}
	if isUntimely(err) {
		p.ports.Logger.Warn("the partition is given up until its time is known", "stage", p.cfg.Spec.Name, "partition", p.number, "error", err)
		p.rejectAll()
		p.standDown(ctx)
		return back.wait(ctx, err) != nil || !p.cfg.Ownership.Owns(p.number) || p.retake(ctx) != nil
	}
	p.ports.Logger.Warn("step waits", "stage", p.cfg.Spec.Name, "partition", p.number, "error", err)
	return back.wait(ctx, err) != nil
}

// halt marks a partition that must not go on before somebody has looked at its log.
func (p *partition) halt(ctx context.Context, why *HaltError) {
	p.halted = true
	p.ports.Logger.Error("partition halted", "stage", p.cfg.Spec.Name, "partition", p.number, "error", why)
	p.metrics.halted(ctx)
	p.noteHalt(ctx, why)
	p.ports.Points.At("stage.halted")
}

// rejectAll answers everybody who waits: what became of their requests is not known. Results of calls go
// back to the door: whoever owns the partition next has use for them.
func (p *partition) rejectAll() {
	var results []Input
	for _, it := range p.pending {
		if it.input == nil {
			continue
		}
		if c, ok := it.input.Request.(call); ok {
			c.to.answer(nil, unavailable(p.number))
		}
		if it.input.Source == FromCall {
			results = append(results, *it.input)
		}
	}
	p.pending = nil
	p.doors.mu.Lock()
	defer p.doors.mu.Unlock()
	p.doors.results = append(results, p.doors.results...)
}

// lookEvery is how often an owner that has nothing to do looks whether the store still has its states:
// other stages read them, and would wait for the next input that makes it notice.
const lookEvery = 2 * time.Second

// sleep waits until something may have arrived at a door or a timer is due; false if nothing did for long.
func (p *partition) sleep(ctx context.Context) bool {
	limit, look := lookEvery, true
	if !p.earliest.IsZero() {
		if due := max(0, p.earliest.Sub(p.reference.Time())); due < limit {
			limit, look = due, false
		}
	}
	if p.bulk.held && limit > bulkLook {
		limit, look = bulkLook, false
	}
	wakes := make([]<-chan struct{}, 0, 8)
	wakes = append(wakes, p.doors.wake)
	for _, r := range p.readers {
		wakes = append(wakes, r.tail.Wake())
	}
	woken, err := p.ports.Clock.Wait(ctx, limit, wakes...)
	return err != nil || woken >= 0 || !look
}

// saveRelayEvery is how often a relay that has delivered something saves its position.
const saveRelayEvery = 5 * time.Second

// relayFree delivers letters until the context ends; what is left is delivered by the drain or, after a
// kill, by the next owner.
func (p *partition) relayFree(ctx context.Context) {
	back, saved := p.backoff(), p.ports.Clock.Elapsed()
	for ctx.Err() == nil {
		_, err := p.relay.flush(ctx)
		if err != nil {
			if ctx.Err() == nil {
				p.ports.Logger.Warn("relay waits", "chain", p.relay.chain, "error", err)
			}
			if back.wait(ctx, err) != nil {
				return
			}
			continue
		}
		back.reset()
		// However often it is woken: the log is trimmed up to the position that is saved.
		if due := saved + saveRelayEvery - p.ports.Clock.Elapsed(); due > 0 {
			if woken, err := p.ports.Clock.Wait(ctx, due, p.relay.wake); err != nil || woken >= 0 {
				continue
			}
		}
		saved = p.ports.Clock.Elapsed()
		if err := p.relay.save(ctx, 1); err != nil && ctx.Err() == nil {
			p.ports.Logger.Warn("relay position is not saved", "chain", p.relay.chain, "error", err)
		}
	}
}

var _ Runner = FreeRunner{}
