package simulate

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/failpoint"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// Process is one incarnation of what runs on a node, and all that it has of the world. Nothing of it may be
// used by another process.
type Process struct {
	node    *Node
	world   *World
	clock   nodeClock
	ctx     context.Context
	cancel  context.CancelFunc
	started int64
	dead    bool
	stirred uint64 // the last of World.stirs that was here
	lazy    int    // the node's

	stopping bool
	restart  time.Duration
	contexts []*deadline
	feeds    []*simFeed
	handlers map[string]handler
	incoming []*call
	outgoing []*call
}

// Node that the process runs on.
func (p *Process) Node() *Node { return p.node }

// World that the node is in.
func (p *Process) World() *World { return p.world }

// Name is the node's name and the number of the incarnation, such as "profile-0/2".
func (p *Process) Name() string { return fmt.Sprintf("%s/%d", p.node.name, p.node.incarnation) }

// Context ends when the process is told to stop, not when it crashes.
func (p *Process) Context() context.Context { return p.ctx }

// Clock is the process's clock.
func (p *Process) Clock() clock.Clock { return p.clock }

// Go runs f beside the caller.
func (p *Process) Go(f func()) { p.clock.Go(f) }

// Broker is the process's connection to the log.
func (p *Process) Broker() log.Broker { return &simBroker{p} }

// KV is its connection to the store beside the log.
func (p *Process) KV() log.KV { return &simKV{p} }

// Leases is its connection to what goes by itself.
func (p *Process) Leases() log.Leases { return &simLeases{p} }

// Objects is its connection to the store of objects.
func (p *Process) Objects() log.Objects { return &simObjects{p} }

// Store is its connection to the state store.
func (p *Process) Store() state.Store { return &simStore{p} }

// Points counts the passages of named points, and is where the schedule crashes or pauses the process.
func (p *Process) Points() failpoint.Points { return p.pass }

// Registrar takes the implementations of gRPC services; from then on they can be called.
func (p *Process) Registrar() grpc.ServiceRegistrar { return registrar{p} }

// Dial connects to the services of a node. Nothing is tried before the first call.
func (p *Process) Dial(target string) grpc.ClientConnInterface {
	return &conn{process: p, target: target}
}

func (p *Process) pass(name string) {
	if _, row, ok := strings.Cut(name, " "); ok {
		p.world.faults.panics(p, row)
		return
	}
	p.enter()
	n := p.node
	n.points[name]++
	p.world.points[name]++
	p.world.note("point", name, n.points[name])
	p.world.faults.atPoint(p, name)
}

// exit is the end of a process that returned.
func (p *Process) exit(err error) {
	if p.dead {
		return
	}
	after := p.node.cfg.RestartAfter
	if p.stopping {
		after = p.restart
	}
	if err != nil {
		p.world.Reach("process ended with an error")
		p.world.note(err.Error(), p.node.name, p.node.incarnation)
	}
	p.die()
	p.node.startAfter(after)
}

// die makes p dead; its coroutines are unwound before the next step.
func (p *Process) die() {
	if p.dead {
		return
	}
	p.dead = true
	p.node.process, p.node.pausedUntil = nil, 0
	for _, c := range p.contexts {
		c.forget()
	}
	p.contexts = nil
	for _, f := range p.feeds {
		f.detach()
	}
	p.hangUp()
	p.world.doomed = append(p.world.doomed, p)
}
