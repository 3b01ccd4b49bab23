package simulate

import (
	"context"
	"slices"
	"time"
)

// deadline is a context that ends in virtual time. The contexts that package context makes from it end with it
// at once, by its method AfterFunc, without a goroutine. Nobody tells it when its parent ends, so it looks:
// when it is asked, and before every step if somebody waits for its end.
type deadline struct {
	parent  context.Context
	process *Process
	ends    int64 // virtual time
	done    chan struct{}
	err     error
	timer   *timer
	polled  bool
	then    []*func()
}

// within returns a child of ctx that ends after d.
func (p *Process) within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	c := &deadline{parent: ctx, process: p, ends: p.world.now + int64(d), done: make(chan struct{})}
	switch {
	case p.dead:
		c.end(context.Canceled)
	case d <= 0:
		c.end(context.DeadlineExceeded)
	default:
		c.timer = p.world.timers.add(c.ends, func() { c.end(context.DeadlineExceeded) })
		p.contexts = append(p.contexts, c)
	}
	return c, func() { c.end(context.Canceled) }
}

// Deadline implements context.Context, by what the node's time of day is when it is asked: steps of it do
// not move the end.
func (c *deadline) Deadline() (time.Time, bool) {
	own := c.process.node.timeOfDay().Add(time.Duration(c.ends - c.process.world.now))
	if at, ok := c.parent.Deadline(); ok && at.Before(own) {
		return at, true
	}
	return own, true
}

// Done implements context.Context.
func (c *deadline) Done() <-chan struct{} {
	if c.Err() == nil && !c.polled {
		c.polled = true
		c.process.world.polled = append(c.process.world.polled, c)
	}
	return c.done
}

// Err implements context.Context.
func (c *deadline) Err() error {
	if c.err == nil {
		if err := c.parent.Err(); err != nil {
			c.end(err)
		}
	}
	return c.err
}

// Value implements context.Context.
func (c *deadline) Value(key any) any { return c.parent.Value(key) }

// AfterFunc is what package context looks for to be told of the end without a goroutine. Whatever f does, it
// does before the step after the end.
func (c *deadline) AfterFunc(f func()) (stop func() bool) {
	entry := &f
	c.then = append(c.then, entry)
	return func() bool {
		i := slices.Index(c.then, entry)
		if i >= 0 {
			c.then = slices.Delete(c.then, i, i+1)
		}
		return i >= 0
	}
}

func (c *deadline) end(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.process.stir()
	close(c.done)
	then := c.then
	c.then = nil
	for _, f := range then {
		(*f)()
	}
	c.forget()
	if i := slices.Index(c.process.contexts, c); i >= 0 {
		c.process.contexts = slices.Delete(c.process.contexts, i, i+1)
	}
}

// forget leaves the world nothing of c.
func (c *deadline) forget() {
	w := c.process.world
	if c.timer != nil {
		w.timers.cancel(c.timer)
	}
	if i := slices.Index(w.polled, c); c.polled && i >= 0 {
		w.polled = slices.Delete(w.polled, i, i+1)
	}
}

// pollContexts ends the contexts whose parents have ended.
func (w *World) pollContexts() {
	for i := 0; i < len(w.polled); {
		if w.polled[i].Err() == nil {
			i++
		} // else it is not there any more
	}
}
