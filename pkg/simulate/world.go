package simulate

import (
	"context"
	"math/rand/v2"
	"time"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/simulate/schedule"
	"refrain.dev/pkg/state"
)

// Config says how a world runs. The zero value of a field means its default.
type Config struct {
	// Seed decides everything that the schedule does not.
	Seed uint64
	// Schedule is what goes wrong and what clients do.
	Schedule schedule.Schedule
	// Begin is the time of day at which the run begins; the default is in March 2026.
	Begin time.Time
	// Steps bounds the scheduling steps of the run; default 1,000,000. A run that reaches it has failed.
	Steps uint64
	// Time bounds the virtual time of the run; default 24 h. A run that reaches it has failed.
	Time time.Duration
	// StepTime is how much virtual time a step takes; default 50 µs.
	StepTime time.Duration
	// Delivery is the longest that a message takes to a feed, and a call to its target, when nothing is
	// wrong; default 2 ms.
	Delivery time.Duration
	// Even lets every coroutine that can run be as likely as any other. Without it the seed makes about half of
	// the nodes lazy, some very much so: they run seldom while others can, and fall behind.
	Even bool
	// Watchdog is the real time that a step may take; default 20 s. A run with a longer one has failed, and
	// its goroutines are lost.
	Watchdog time.Duration
	// Trace is given every line of the trace; nil for none. It slows the run down.
	Trace func(line string)
}

func (c Config) withDefaults() Config {
	if c.Begin.IsZero() {
		c.Begin = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	}
	if c.Steps == 0 {
		c.Steps = 1_000_000
	}
	if c.Time <= 0 {
		c.Time = 24 * time.Hour
	}
	if c.StepTime <= 0 {
		c.StepTime = 50 * time.Microsecond
	}
	if c.Delivery <= 0 {
		c.Delivery = 2 * time.Millisecond
	}
	if c.Watchdog <= 0 {
		c.Watchdog = 20 * time.Second
	}
	return c
}

// World is one simulated world, good for one Run. Before and after Run it may be used by one goroutine;
// during it only by what the world runs.
type World struct {
	cfg   Config
	rng   *rand.Rand
	log   *log.Memory
	store *state.Memory

	now     int64 // virtual nanoseconds since the beginning
	step    uint64
	live    []*coroutine
	current *coroutine
	spawned uint64
	stirs   uint64
	timers  timers
	polled  []*deadline
	doomed  []*Process

	nodes  []*Node
	byName map[string]*Node
	feeds  map[string][]*simTail // by subject

	faults faults
	points map[string]int // passages by name
	goals  map[string]int
	shards map[state.Shard]string
	trace  trace
	end    ending
}

// ending is how a run ends.
type ending struct {
	done       bool
	violations []Violation
}

// New makes a world. Its log and store are empty and may be filled before Run; its nodes do nothing yet.
func New(cfg Config) *World {
	w := &World{
		cfg: cfg.withDefaults(), rng: rand.New(rand.NewPCG(cfg.Seed, 0x51)), //nolint:gosec // a seed decides everything
		byName: map[string]*Node{}, feeds: map[string][]*simTail{},
		points: map[string]int{}, goals: map[string]int{}, shards: map[state.Shard]string{},
	}
	w.log = log.NewMemory(log.WithClock(w.Now))
	w.store = state.NewMemory(state.WithUndo(undoable))
	w.trace = newTrace(w.cfg.Trace)
	w.faults = newFaults(w, w.cfg.Schedule.Faults)
	return w
}

// Now is the true time of day.
func (w *World) Now() time.Time { return w.cfg.Begin.Add(time.Duration(w.now)) }

// Elapsed is the virtual time since the beginning of the run.
func (w *World) Elapsed() time.Duration { return time.Duration(w.now) }

// Steps is how many scheduling steps were made.
func (w *World) Steps() uint64 { return w.step }

// Log is the truth behind every node's Broker and KV: no faults, no yields, for provisioning and checking.
func (w *World) Log() *log.Memory { return w.log }

// Store is the truth behind every node's Store.
func (w *World) Store() *state.Memory { return w.store }

// Operations are the schedule's, of one client, in order.
func (w *World) Operations(client int) []schedule.Operation {
	var of []schedule.Operation
	for _, o := range w.cfg.Schedule.Operations {
		if o.Client == client {
			of = append(of, o)
		}
	}
	return of
}

// Violate records that a rule was broken and ends the run after the step under way.
func (w *World) Violate(rule, text string) {
	w.end.violations = append(w.end.violations, Violation{Rule: rule, Text: text})
	w.end.done = true
}

// Reach counts a coverage goal.
func (w *World) Reach(goal string) { w.goals[goal]++ }

// Calm ends all faults for good: what is to land late lands, pauses end, nodes that are to start again do so
// soon, and what has not begun never will. For the end of a scenario, before it waits for quiet.
func (w *World) Calm() { w.faults.calm() }

// Violation is a broken rule.
type Violation struct {
	// Rule is its name; Shrink keeps it.
	Rule string
	// Text says what was seen.
	Text string
}

// The rules of the engine itself.
const (
	// RulePanic says that a coroutine panicked: a real process would have died.
	RulePanic = "panic"
	// RuleScenario says that the scenario returned an error.
	RuleScenario = "scenario"
	// RuleBlocked says that a step did not end: somebody waited for real.
	RuleBlocked = "blocked"
	// RuleDeadlock says that nothing could happen any more before the scenario ended.
	RuleDeadlock = "deadlock"
	// RuleEndless says that the run reached its bound of steps or time.
	RuleEndless = "endless"
)

// Result is what came of a run.
type Result struct {
	Seed     uint64
	Schedule schedule.Schedule
	// Hash of the trace: equal for two runs in which the same happened.
	Hash uint64
	// Steps and virtual time of the run, and port operations in it.
	Steps      uint64
	Elapsed    time.Duration
	Operations uint64
	// Goals that were reached, with how often: "point.<name>", "fault.<kind>.<class>" of faults that took
	// effect, and what Reach was told.
	Goals map[string]int
	// Violations in the order in which they were seen; none means that the run passed.
	Violations []Violation
}

// Rule is the rule of the first violation, "" if there is none.
func (r Result) Rule() string {
	if len(r.Violations) == 0 {
		return ""
	}
	return r.Violations[0].Rule
}

// Scenario is what happens in a run, on a node of its own. No fault hits it, except those of its calls to
// other nodes. When it returns, everything ends; an error is a violation.
type Scenario func(ctx context.Context, p *Process) error
