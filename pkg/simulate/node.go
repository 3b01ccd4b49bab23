package simulate

import (
	"context"
	"time"

	"google.golang.org/grpc"
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
	p := &Process{node: n, world: n.world, started: n.world.now, lazy: n.lazy, handlers: map[string]handler{}}
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
	p.stir()
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

// SetClock makes the time of day right and lets it go right from now on, whether a process runs or not.
func (n *Node) SetClock() { n.offset, n.driftSince, n.cfg.Drift = 0, n.world.now, 0 }

// Drift makes the time of day gain so many microseconds per second from now on.
func (n *Node) Drift(perMillion int) {
	n.offset += n.drifted()
	n.driftSince, n.cfg.Drift = n.world.now, perMillion
}

func (n *Node) drifted() time.Duration {
	return time.Duration(float64(n.world.now-n.driftSince) * float64(n.cfg.Drift) / 1e6)
}

func (n *Node) timeOfDay() time.Time { return n.world.Now().Add(n.offset + n.drifted()) }
