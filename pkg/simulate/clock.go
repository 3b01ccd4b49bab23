package simulate

import (
	"context"
	"time"

	"refrain.dev/pkg/clock"
)

// nodeClock is the clock of a process.
type nodeClock struct{ p *Process }

var _ clock.Clock = nodeClock{}

// Now implements clock.Clock: the node's time of day.
func (c nodeClock) Now() time.Time { return c.p.node.timeOfDay() }

// Elapsed implements clock.Clock.
func (c nodeClock) Elapsed() time.Duration { return time.Duration(c.p.world.now - c.p.started) }

// Wait implements clock.Clock. It always lets others run first.
func (c nodeClock) Wait(ctx context.Context, d time.Duration, wakes ...<-chan struct{}) (int, error) {
	co := c.p.enter()
	if co == nil {
		panic("simulate: a wait outside of everything that the world runs")
	}
	until := int64(never)
	if d >= 0 {
		until = c.p.world.now + int64(d)
	}
	return co.wait(ctx, until, wakes)
}

// wait parks co until one of these comes.
func (co *coroutine) wait(ctx context.Context, until int64, wakes []<-chan struct{}) (int, error) {
	co.ctx, co.until = ctx, until
	co.wakes = append(co.wakeRoom[:0], wakes...)
	co.park()
	co.ctx, co.until, co.wakes = nil, never, nil
	return co.woken, co.err
}

// Within implements clock.Clock.
func (c nodeClock) Within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return c.p.within(ctx, d)
}

// Left implements clock.Clock.
func (c nodeClock) Left(ctx context.Context) (time.Duration, bool) {
	at, ok := ctx.Deadline()
	return at.Sub(c.Now()), ok
}

// Go implements clock.Clock. A dead process starts nothing.
func (c nodeClock) Go(f func()) {
	if !c.p.dead {
		c.p.world.spawn(c.p, f)
	}
}

// enter is called at the begin of everything that a process does with the world. It returns the coroutine
// that does it, or nil outside of Run, and does not return if the process is dead.
func (p *Process) enter() *coroutine {
	if p.dead {
		panic(death{})
	}
	return p.world.current
}

// let gives all others the chance to run.
func (p *Process) let() {
	if co := p.enter(); co != nil {
		co.park()
	}
}

// delay waits for d whatever ends meanwhile.
func (p *Process) delay(ctx context.Context, d time.Duration) error {
	co := p.enter()
	if co == nil {
		return nil
	}
	_, err := co.wait(ctx, p.world.now+int64(d), nil)
	return err
}
