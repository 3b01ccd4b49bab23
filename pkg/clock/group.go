package clock

import (
	"context"
	"sync"
)

// Group runs functions beside each other and waits for them, like errgroup.Group, on a Clock. The zero value
// is not usable; NewGroup makes one. It is safe for concurrent use, but Go must not be called after Wait has
// returned.
type Group struct {
	clock Clock

	mu      sync.Mutex
	running int
	waiting []func()
	limit   int
	err     error
	idle    chan struct{} // closed and replaced when nothing runs any more
}

// NewGroup makes a group. At most limit functions run at once, the others wait their turn; 0 sets no limit.
func NewGroup(c Clock, limit int) *Group {
	return &Group{clock: c, limit: limit, idle: make(chan struct{})}
}

// Go runs f beside the caller, now or when there is room.
func (g *Group) Go(f func() error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	run := func() { g.run(f) }
	if g.limit > 0 && g.running >= g.limit {
		g.waiting = append(g.waiting, run)
		return
	}
	g.running++
	g.clock.Go(run)
}

// Enter counts something that is done elsewhere, beyond the limit, until leave is called; that must be once.
func (g *Group) Enter() (leave func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.ended()
	}
}

func (g *Group) ended() {
	g.running--
	if g.running == 0 {
		close(g.idle)
		g.idle = make(chan struct{})
	}
}

func (g *Group) run(f func() error) {
	err := f()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
	}
	if len(g.waiting) > 0 {
		next := g.waiting[0]
		g.waiting = g.waiting[1:]
		g.clock.Go(next)
		return
	}
	g.ended()
}

// Wait returns when nothing runs any more: the first error of a function, or ctx's if it ends before that.
func (g *Group) Wait(ctx context.Context) error {
	for {
		g.mu.Lock()
		idle, running, err := g.idle, g.running, g.err
		g.mu.Unlock()
		if running == 0 {
			return err
		}
		if _, err := g.clock.Wait(ctx, Forever, idle); err != nil {
			return err
		}
	}
}

// Lock is a lock that may be held while its holder waits or does I/O, which a sync.Mutex may not in a
// simulated world. NewLock makes one.
type Lock struct{ free chan struct{} }

// NewLock makes a free lock.
func NewLock() Lock {
	l := Lock{free: make(chan struct{}, 1)}
	l.free <- struct{}{}
	return l
}

// Take waits for the lock; the caller must call release once. The error is ctx's.
func (l Lock) Take(ctx context.Context, c Clock) (release func(), err error) {
	if _, err := c.Wait(ctx, Forever, l.free); err != nil {
		return nil, err
	}
	return func() { l.free <- struct{}{} }, nil
}
