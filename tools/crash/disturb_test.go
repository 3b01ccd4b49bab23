package crash

import (
	"context"
	"math/rand/v2"
	"time"
)

// plan says when a run is disturbed: before some of the events, and while the clock runs on.
type plan struct {
	ctx        context.Context //nolint:containedctx // of one run
	random     *rand.Rand
	events     int
	publishing map[int]func(context.Context)
	between    *[]func(context.Context) // after the last event, before the clock runs on
	running    *[]func(context.Context)
}

// during spreads disturbances over the publishing.
func (p plan) during(times int, do func(context.Context)) {
	for n := range times {
		p.publishing[1+(p.events*n+p.random.IntN(p.events))/times%(p.events-1)] = do
	}
}

// after disturbs while the clock runs on.
func (p plan) after(times int, do func(context.Context)) {
	for range times {
		*p.running = append(*p.running, do)
	}
}

func killed(m *meshRun, p plan) {
	p.during(5, func(ctx context.Context) {
		pause(ctx, between(p.random, 0, 30*time.Millisecond))
		m.killAndStart(ctx)
	})
	p.after(3, func(ctx context.Context) {
		pause(ctx, between(p.random, 20*time.Millisecond, 150*time.Millisecond))
		m.killAndStart(ctx)
		m.advance(ctx)
	})
}

func redisEmptied(m *meshRun, p plan) {
	p.during(3, m.redis.empty)
	*p.between = append(*p.between, m.rest, m.redis.empty) // only timers are left to notice it
	p.after(1, m.redis.empty)
}

func redisEmptiedAndKilled(m *meshRun, p plan) {
	both := func(ctx context.Context) {
		m.process.kill()
		m.redis.empty(ctx)
		m.start(ctx)
	}
	p.during(2, both)
	p.after(1, func(ctx context.Context) {
		both(ctx)
		m.advance(ctx)
	})
}

// slowly lets the publishing take some seconds, so that what Redis held a second ago is another state.
const slowly = 6 * time.Millisecond

func redisRolledBack(m *meshRun, p plan) {
	m.pace = slowly
	m.redis.watch(p.ctx)
	p.during(4, m.redis.rollBack)
	p.after(2, func(ctx context.Context) {
		pause(ctx, between(p.random, 50*time.Millisecond, 200*time.Millisecond))
		m.redis.rollBack(ctx)
	})
}

func redisRolledBackAndKilled(m *meshRun, p plan) {
	m.pace = slowly
	m.redis.watch(p.ctx)
	both := func(ctx context.Context) {
		m.process.kill()
		m.redis.rollBack(ctx)
		m.start(ctx)
	}
	p.during(2, both)
	p.after(1, func(ctx context.Context) {
		both(ctx)
		m.advance(ctx)
	})
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
