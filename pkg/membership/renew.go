package membership

import (
	"context"
	"errors"
	"time"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

// renewTries bounds how often a refused renewal is resolved and repeated in one turn.
const renewTries = 3

// renew holds the lease for another TTL, unless another process has the name.
func (g *Group) renew(ctx context.Context) error {
	g.mu.Lock()
	if g.own.displaced { // and the rival is gone
		g.own.displaced, g.own.revision = false, g.rival.revision
	}
	g.mu.Unlock()
	for range renewTries {
		err := g.hold(ctx)
		if _, refused := errors.AsType[*log.ConflictError](err); !refused {
			return err
		}
		displaced, err := g.resolve(ctx)
		if err != nil || displaced {
			return err
		}
	}
	return errNotRenewed
}

// words are what the lease is to say. The caller holds mu.
func (g *Group) words(now time.Duration) lease {
	l := lease{Incarnation: g.cfg.Incarnation, Address: g.cfg.Address, Since: g.own.since, State: g.own.state}
	if g.own.state == stateMember {
		l.Holds = g.holds(now)
	}
	return l
}

// hold tries once.
func (g *Group) hold(ctx context.Context) error {
	ctx, cancel := g.within(ctx)
	defer cancel()
	sent := g.ports.Clock.Elapsed()
	g.mu.Lock()
	words, revision := g.words(sent), g.own.revision
	g.mu.Unlock()
	value, err := words.encode()
	if err != nil {
		return err
	}
	revision, err = g.ports.Leases.Hold(ctx, g.cfg.key(), value, revision, g.cfg.TTL)
	now := g.ports.Clock.Elapsed()
	g.mu.Lock()
	if err != nil {
		g.own.next = now + g.cfg.again()
		g.mu.Unlock()
		return err
	}
	joined := g.held(sent, revision, words)
	g.mu.Unlock()
	if joined {
		g.ports.Logger.InfoContext(ctx, "joined the replicas", "key", g.cfg.key(), "incarnation", g.cfg.Incarnation, "address", g.cfg.Address)
		g.ports.Ready(true)
	}
	return nil
}

// held takes over a renewal that succeeded; joined says that the replica was no member before. The caller
// holds mu.
func (g *Group) held(sent time.Duration, revision uint64, words lease) (joined bool) {
	joined = !g.own.member
	if joined {
		g.own.joined = sent
	}
	if joined && g.own.was {
		g.own.quiet = sent + g.cfg.beat() + g.cfg.look() // a call under way, and the pause after it
	}
	g.own.member, g.own.was = true, true
	g.own.revision, g.own.written, g.own.renewed = revision, words, sent
	g.own.next = sent + g.cfg.beat()
	return joined
}

// resolve finds out why a renewal was refused: an earlier one of ours whose answer was lost was stored after
// all, or the lease is gone, or another process has our name. A process that begins takes the name over,
// because its predecessor is most likely dead; one that had it stands by.
func (g *Group) resolve(ctx context.Context) (displaced bool, err error) {
	own, err := g.see(ctx)
	if err != nil {
		return false, err
	}
	g.mu.Lock()
	rival := g.rival
	switch {
	case own > 0:
		g.own.revision = own
	case g.own.was && rival.thereAt(g.looked, g.cfg.TTL):
		g.own.displaced, g.own.member = true, false
	default:
		g.own.revision = rival.revision
	}
	displaced = g.own.displaced
	g.mu.Unlock()
	if displaced {
		g.ports.Logger.ErrorContext(ctx, "another process has taken the name of this replica: it owns nothing until that one is gone; "+
			"every process needs a name of its own", "replica", g.cfg.Replica, "incarnation", rival.Incarnation, "address", rival.Address)
		g.ports.Ready(false)
	}
	return displaced, nil
}

// errNotRenewed says that the lease changed hands, or seemed to, several times in a row.
var errNotRenewed = fault.New(fault.Unavailable, "renew lease: it is not where it was read")
