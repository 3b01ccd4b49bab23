package membership

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"
)

// outcome is what settling changed, to be told without the lock.
type outcome struct {
	members         []string
	owned           []int
	acquired, given int
	lost            bool // the own lease ran out
	changed         bool // there is anything to tell
}

// settle computes who owns what from what is known, and tells whoever has to know.
func (g *Group) settle(ctx context.Context) {
	now := g.ports.Clock.Elapsed()
	g.mu.Lock()
	out := g.compute(now)
	g.mu.Unlock()
	g.tell(ctx, out)
}

// compute does it. The caller holds mu.
func (g *Group) compute(now time.Duration) outcome {
	var out outcome
	if g.own.member && !g.valid(now) {
		g.own.member, out.lost = false, true
	}
	candidates := g.candidates(now)
	for _, c := range candidates {
		out.members = append(out.members, c.name)
	}
	owners := assign(g.cfg.Service, g.cfg.Partitions, candidates)
	for p, name := range owners {
		was, is := g.mine(p), name == g.cfg.Replica
		switch {
		case is && !was:
			g.acquired[p] = now
			out.acquired++
		case was && !is:
			out.given++
		}
		if is {
			out.owned = append(out.owned, p)
		}
	}
	out.changed = out.lost || out.acquired+out.given > 0 || !slices.Equal(g.members, out.members)
	g.owners, g.members = owners, out.members
	if out.acquired+out.given > 0 {
		close(g.changed)
		g.changed = make(chan struct{})
	}
	return out
}

// candidates are the members that partitions may be assigned to, by name. The caller holds mu.
func (g *Group) candidates(now time.Duration) []candidate {
	var out []candidate
	for name, s := range g.others {
		if s.thereAt(g.looked, g.cfg.TTL) && s.State == stateMember {
			out = append(out, g.candidate(name, s.Holds))
		}
	}
	if g.valid(now) && g.own.state == stateMember && g.seen && g.looked >= g.own.joined && now >= g.own.quiet {
		out = append(out, g.candidate(g.cfg.Replica, g.holds(now)))
	}
	slices.SortFunc(out, func(a, b candidate) int { return strings.Compare(a.name, b.name) })
	if len(g.weights) > len(out) {
		maps.DeleteFunc(g.weights, func(name string, _ []uint64) bool {
			return !slices.ContainsFunc(out, func(c candidate) bool { return c.name == name })
		})
	}
	return out
}

// candidate computes a member's weights once for as long as it is one. The caller holds mu.
func (g *Group) candidate(name string, holds []int) candidate {
	if g.weights[name] == nil {
		g.weights[name] = weightsOf(g.cfg.Service, g.cfg.Partitions, name)
	}
	return candidate{name: name, holds: holds, weights: g.weights[name]}
}

// holds are the own partitions that were acquired a short time ago. The caller holds mu.
func (g *Group) holds(now time.Duration) []int {
	var out []int
	for p := range g.owners {
		if g.mine(p) && now-g.acquired[p] < g.cfg.Hold {
			out = append(out, p)
		}
	}
	return out
}

// tell logs and counts what has changed.
func (g *Group) tell(ctx context.Context, out outcome) {
	g.metrics.observe(ctx, out)
	if out.lost {
		g.ports.Logger.WarnContext(ctx, "lease ran out: this replica owns nothing until it is renewed", "key", g.cfg.key())
		g.ports.Ready(false)
	}
	if out.changed {
		g.ports.Logger.InfoContext(ctx, "partitions are shared anew", "members", out.members, "owned", ranges(out.owned),
			"acquired", out.acquired, "given_back", out.given)
	}
}
