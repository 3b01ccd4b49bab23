package simulate

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/failpoint"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// graceful is how long a process may take to end when it is told to.
const graceful = 30 * time.Second

// NodeConfig says how a node is.
type NodeConfig struct {
	// Skew is how far its time of day is off, Drift how many microseconds it gains per second.
	Skew  time.Duration
	Drift int
	// RestartAfter is how long after a process has ended by itself the next one starts; default 500 ms,
	// negative for never.
	RestartAfter time.Duration
	// Interceptor stands around every handler of the node's gRPC services; may be nil.
	Interceptor grpc.UnaryServerInterceptor
}

// Node is a machine on which one process runs at a time. Its methods may be called before Run and by
// anything that the world runs.
type Node struct {
	world *World
	name  string
	cfg   NodeConfig
	build func(p *Process) error

	process     *Process // nil while none runs
	starts      *timer   // that starts the next one, or nil
	incarnation int
	pausedUntil int64
	points      map[string]int // passages by name, of all incarnations
	offset      time.Duration  // of the time of day, without drift
	driftSince  int64
	lazy        int // how many of lazyOf times it is passed over while others can run
}

// lazyOf is what Node.lazy is out of.
const lazyOf = 256

// Node returns the node of that name, made at the first call.
func (w *World) Node(name string, cfg NodeConfig) *Node {
	if n := w.byName[name]; n != nil {
		return n
	}
	if cfg.RestartAfter == 0 {
		cfg.RestartAfter = 500 * time.Millisecond
	}
	n := &Node{world: w, name: name, cfg: cfg, offset: cfg.Skew, driftSince: w.now, points: map[string]int{}}
	if name != ScenarioNode && !w.cfg.Even {
		n.lazy = []int{0, 0, 0, lazyOf / 2, lazyOf * 9 / 10, lazyOf * 99 / 100}[w.rng.IntN(6)]
	}
	w.byName[name] = n
	w.nodes = append(w.nodes, n)
	return n
}

// Name of the node.
func (n *Node) Name() string { return n.name }

// Process is what runs on the node, or nil.
func (n *Node) Process() *Process { return n.process }

// Start runs build in a coroutine of a new process, now and whenever the node starts again. What build makes
// must live and wait only through the process that it is given. When build returns, the process has ended
// with everything in it, and starts again after NodeConfig.RestartAfter. A process that runs already crashes.
func (n *Node) Start(build func(p *Process) error) {
	n.Crash()
	n.build = build
	n.start()
}

func (n *Node) start() {
	if n.process != nil || n.world.end.done {
		return
	}
	n.starts = nil
	n.incarnation++
	p := &Process{node: n, world: n.world, started: n.world.now, handlers: map[string]handler{}}
	p.clock = nodeClock{p}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	n.process = p
	n.world.note("start", n.name, n.incarnation)
	n.world.spawn(p, func() {
		err := n.build(p)
		n.world.note("exit", n.name, n.incarnation)
		p.exit(err)
	})
}

func (n *Node) startAfter(d time.Duration) {
	if d >= 0 && n.build != nil {
		n.stayDown()
		n.starts = n.world.timers.add(n.world.now+int64(d), n.start)
	}
}

// Crash ends the process at once; nothing of it takes effect any more. It does not start again by itself. A
// coroutine that crashes its own node does not return from it.
func (n *Node) Crash() {
	n.stayDown()
	n.crash()
}

// stayDown takes back that the node is to start again.
func (n *Node) stayDown() {
	if n.starts != nil {
		n.world.timers.cancel(n.starts)
		n.starts = nil
	}
}

func (n *Node) crash() {
	p := n.process
	if p == nil {
		return
	}
	n.world.note("crash", n.name, n.incarnation)
	p.die()
	if co := n.world.current; co != nil && co.process == p {
		panic(death{})
	}
}

// Stop tells the process to end by ending its context. After half a minute it crashes. It does not start
// again by itself.
func (n *Node) Stop() { n.stop(-1) }

func (n *Node) stop(restart time.Duration) {
	p := n.process
	if p == nil || p.stopping {
		return
	}
	n.world.note("stop", n.name, n.incarnation)
	p.stopping, p.restart = true, restart
	p.cancel()
	n.world.timers.add(n.world.now+int64(graceful), func() {
		if !p.dead {
			n.world.Reach("crashed while stopping")
			n.startAfter(restart)
			n.crash()
		}
	})
}

// Pause keeps the process from running for d.
func (n *Node) Pause(d time.Duration) {
	n.pausedUntil = max(n.pausedUntil, n.world.now+int64(d))
	n.world.note("pause", n.name, int(d))
	if co := n.world.current; co != nil && co.process == n.process {
		co.park()
	}
}

// StepClock moves the time of day.
func (n *Node) StepClock(d time.Duration) { n.offset += d }

// Drift makes the time of day gain so many microseconds per second from now on.
func (n *Node) Drift(perMillion int) {
	n.offset += n.drifted()
	n.driftSince, n.cfg.Drift = n.world.now, perMillion
}

func (n *Node) drifted() time.Duration {
	return time.Duration(float64(n.world.now-n.driftSince) * float64(n.cfg.Drift) / 1e6)
}

func (n *Node) timeOfDay() time.Time { return n.world.Now().Add(n.offset + n.drifted()) }

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

// Objects is its connection to the store of snapshots.
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
