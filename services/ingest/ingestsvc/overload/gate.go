package overload

import (
	"context"
	"sync/atomic"
	"time"

	"refrain.dev/pkg/clock"
)

// Class is how a request stands to others. The zero Class is normal.
type Class int

const (
	// Normal requests wait their turn.
	Normal Class = iota
	// Urgent requests restrict contact or report about it: a tenth of the memory and some turns are theirs.
	Urgent
)

// GateConfig says what a gate lets in.
type GateConfig struct {
	// Memory for all requests, in bytes.
	Memory int64
	// Turns is how many requests are worked on at once; half as many more are for urgent ones.
	Turns int
	// Within is how long a normal request may wait for its turn. While there were always some that waited, it is a
	// twentieth of it: then a queue only makes everybody late.
	Within time.Duration
}

// Gate bounds what a process has in hand. It is safe for concurrent use.
type Gate struct {
	cfg    GateConfig
	clock  clock.Clock
	held   atomic.Int64
	turns  chan struct{} // one for each turn that is free
	urgent chan struct{}
	free   atomic.Int64 // when somebody last found a free turn
}

// NewGate makes a gate that nobody has passed.
func NewGate(c clock.Clock, cfg GateConfig) *Gate {
	g := &Gate{cfg: cfg, clock: c, turns: make(chan struct{}, cfg.Turns), urgent: make(chan struct{}, (cfg.Turns+1)/2)}
	g.free.Store(int64(c.Elapsed()))
	for range cap(g.turns) {
		g.turns <- struct{}{}
	}
	for range cap(g.urgent) {
		g.urgent <- struct{}{}
	}
	return g
}

// What a request takes of memory: something for itself, and its body several times over, as bytes, as parsed
// and as encoded.
const (
	perRequest = 16 << 10
	perByte    = 4
)

// Enter lets a request in that has at most so many bytes. The error is a *RefusedError. The visit must be left.
func (g *Gate) Enter(bytes int64, class Class) (*Visit, error) {
	cost, limit := perRequest+perByte*bytes, g.cfg.Memory
	if class == Normal {
		limit -= limit / 10
	}
	if g.held.Add(cost) > limit {
		g.held.Add(-cost)
		return nil, &RefusedError{Reason: IngestBusy, Why: "as many requests as fit are in hand", After: soonest}
	}
	return &Visit{gate: g, cost: cost}, nil
}

// Visit is one request's way through the gate: memory from its begin to its end, a turn while it is worked
// on. One goroutine at a time may use it. The nil Visit may be used and bounds nothing.
type Visit struct {
	gate *Gate
	cost int64
	turn chan struct{} // where the turn came from; nil while it has none
}

// Begin waits for a turn. The error is a *RefusedError, or ctx's.
func (v *Visit) Begin(ctx context.Context, class Class) error {
	if v == nil || v.turn != nil {
		return nil
	}
	g := v.gate
	from := []chan struct{}{g.turns}
	if class == Urgent {
		from = append(from, g.urgent)
	}
	for _, c := range from {
		select {
		case <-c:
			v.turn = c
			g.free.Store(int64(g.clock.Elapsed()))
			return nil
		default:
		}
	}
	wakes := make([]<-chan struct{}, len(from))
	for n, c := range from {
		wakes[n] = c
	}
	n, err := g.clock.Wait(ctx, g.patience(class), wakes...)
	switch {
	case err != nil:
		return err
	case n < 0:
		return &RefusedError{Reason: IngestBusy, Why: "as many requests as can be are worked on", After: soonest}
	}
	v.turn = from[n]
	return nil
}

// shorter is by how much patience is shorter while a queue stands.
const shorter = 20

// patience is how long to wait for a turn now. Urgent requests are few, and wait for as long as their callers.
func (g *Gate) patience(class Class) time.Duration {
	standing := g.clock.Elapsed()-time.Duration(g.free.Load()) > g.cfg.Within
	switch {
	case class == Urgent:
		return clock.Forever
	case standing:
		return g.cfg.Within / shorter
	}
	return g.cfg.Within
}

// Rest gives the turn back; the request waits for something else.
func (v *Visit) Rest() {
	if v != nil && v.turn != nil {
		v.turn <- struct{}{}
		v.turn = nil
	}
}

// Leave gives everything back. It may be repeated.
func (v *Visit) Leave() {
	if v == nil {
		return
	}
	v.Rest()
	v.gate.held.Add(-v.cost)
	v.cost = 0
}
