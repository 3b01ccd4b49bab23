package membership

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
)

// Join waits until this replica is a member and has seen who else is. The error is ctx's.
func (g *Group) Join(ctx context.Context) error {
	for {
		err := g.turn(ctx)
		g.mu.Lock()
		joined := g.own.member && g.seen
		g.mu.Unlock()
		if joined && err == nil {
			return nil
		}
		if werr := clock.Sleep(ctx, g.ports.Clock, g.cfg.look()); werr != nil {
			return fmt.Errorf("wait to join the replicas: %w", errors.Join(werr, err))
		}
	}
}

// Run renews the lease and looks at the others' until ctx ends. It does not leave; a replica that ends calls
// Leaving first, then gives its partitions back, then calls Leave.
func (g *Group) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		_ = g.turn(ctx) // logged
		_, _ = g.ports.Clock.Wait(ctx, g.pause(), g.wake)
	}
	return nil
}

// Leave says that this replica has left, so that nobody waits for it. Idempotent.
func (g *Group) Leave(ctx context.Context) error {
	release, err := g.turns.Take(ctx, g.ports.Clock)
	if err != nil {
		return err
	}
	defer release()
	g.mu.Lock()
	held := g.own.member && g.own.state != stateLeft
	g.own.state = stateLeft
	g.mu.Unlock()
	if held {
		err = g.hold(ctx)
	}
	g.mu.Lock()
	g.own.member = false
	g.mu.Unlock()
	g.settle(ctx)
	if _, lost := errors.AsType[*log.ConflictError](err); lost {
		return nil
	}
	return err
}

// turn does what is due.
func (g *Group) turn(ctx context.Context) error {
	release, err := g.turns.Take(ctx, g.ports.Clock)
	if err != nil {
		return err
	}
	defer release()
	g.settle(ctx) // a lease that ran out meanwhile must not be renewed as if it had not
	if g.renewalDue() {
		err = g.renew(ctx)
		g.settle(ctx) // it may have waited until the lease ran out
	}
	if g.lookDue() {
		_, serr := g.see(ctx)
		err = errors.Join(err, serr)
	}
	g.settle(ctx)
	if g.unsaid() {
		err = errors.Join(err, g.renew(ctx))
		g.settle(ctx)
	}
	g.trouble(ctx, err)
	return err
}

// trouble logs that turns fail, and that they do not any more, once each.
func (g *Group) trouble(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	g.mu.Lock()
	before := g.own.troubled
	g.own.troubled = err != nil
	g.mu.Unlock()
	switch {
	case err != nil && !before:
		g.ports.Logger.WarnContext(ctx, "leases cannot be kept", "error", err)
	case err == nil && before:
		g.ports.Logger.InfoContext(ctx, "leases are kept again")
	}
}

func (g *Group) renewalDue() bool {
	now := g.ports.Clock.Elapsed()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.own.state == stateLeft {
		return false
	}
	if g.own.displaced {
		return g.seen && !g.rival.thereAt(g.looked, g.cfg.TTL)
	}
	return now >= g.own.next
}

func (g *Group) lookDue() bool {
	now := g.ports.Clock.Elapsed()
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.seen || now >= g.looked+g.cfg.look()
}

// unsaid says whether the lease, as it was written, is not what the others should know.
func (g *Group) unsaid() bool {
	now := g.ports.Clock.Elapsed()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.own.member && !g.words(now).same(g.own.written)
}

// pause is how long there is nothing to do.
func (g *Group) pause() time.Duration {
	now := g.ports.Clock.Elapsed()
	g.mu.Lock()
	defer g.mu.Unlock()
	next := g.looked + g.cfg.look()
	if !g.own.displaced && g.own.state != stateLeft {
		next = min(next, g.own.next)
	}
	next = max(next, now+g.cfg.again()) // what has failed is not done again at once
	if !g.own.member {
		return next - now
	}
	soonest := func(t time.Duration) {
		if t > now {
			next = min(next, t)
		}
	}
	soonest(g.expiry())
	soonest(g.own.quiet)
	for p := range g.owners {
		if g.mine(p) {
			soonest(g.acquired[p] + g.cfg.Hold)
		}
	}
	return next - now
}

// within bounds a call, so that the end of the own lease is never slept through.
func (g *Group) within(ctx context.Context) (context.Context, context.CancelFunc) {
	now, limit := g.ports.Clock.Elapsed(), g.cfg.beat()
	g.mu.Lock()
	if g.valid(now) {
		limit = min(limit, g.expiry()-now)
	}
	g.mu.Unlock()
	return g.ports.Clock.Within(ctx, limit)
}

// see reads all leases; own is the revision of the one that this process wrote, 0 if there is none.
func (g *Group) see(ctx context.Context) (own uint64, err error) {
	ctx, cancel := g.within(ctx)
	defer cancel()
	all, err := g.ports.Leases.All(ctx, g.cfg.group())
	if err != nil {
		return 0, err
	}
	now := g.ports.Clock.Elapsed()
	g.mu.Lock()
	defer g.mu.Unlock()
	others := map[string]sighting{}
	rival := sighting{}
	for _, entry := range all {
		name := strings.TrimPrefix(entry.Key, g.cfg.group()+".")
		if known := g.others[name]; known.revision == entry.Revision { // mostly: a look is more frequent than a renewal
			others[name] = known
			continue
		}
		l, ok := decodeLease(entry.Value)
		switch {
		case !ok:
		case name != g.cfg.Replica:
			others[name] = g.others[name].see(l, entry.Revision, now)
		case l.Incarnation != g.cfg.Incarnation:
			rival = g.rival.see(l, entry.Revision, now)
		default:
			own = entry.Revision
		}
	}
	g.others, g.rival, g.looked, g.seen = others, rival, now, true
	return own, nil
}
