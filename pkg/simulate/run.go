package simulate

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
)

// ScenarioNode is the name of the node that the scenario runs on, and of its calls in schedules.
const ScenarioNode = "scenario"

// Run runs the scenario and whatever it starts until it returns, a rule is broken or a bound is reached. Then
// everything that still runs is unwound.
func (w *World) Run(s Scenario) Result {
	var steps atomic.Uint64
	done := make(chan Result, 1)
	go func() {
		defer func() { // also when a coroutine ends the goroutine, as testing.T.FailNow does
			if r := recover(); r != nil {
				w.Violate(RulePanic, fmt.Sprintf("the scheduler panicked: %v\n%s", r, debug.Stack()))
			}
			w.unwindAll()
			done <- w.result()
		}()
		w.loop(s, &steps)
	}()
	watch := time.NewTicker(w.cfg.Watchdog)
	defer watch.Stop()
	last := uint64(0)
	for first := true; ; first = false {
		select {
		case r := <-done:
			return r
		case <-watch.C:
		}
		now := steps.Load()
		if now == last && !first {
			return w.blocked(now)
		}
		last = now
	}
}

// blocked is the result of a run that may still be going on: it must not look at the world.
func (w *World) blocked(steps uint64) Result {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return Result{
		Seed: w.cfg.Seed, Schedule: w.cfg.Schedule, Steps: steps,
		Violations: []Violation{{Rule: RuleBlocked, Text: fmt.Sprintf("step %d does not end:\n%s", steps, stacks)}},
	}
}

func (w *World) result() Result {
	for name, n := range w.points {
		w.goals["point."+name] += n
	}
	return Result{
		Seed: w.cfg.Seed, Schedule: w.cfg.Schedule, Hash: w.trace.hash, Steps: w.step, Elapsed: w.Elapsed(),
		Operations: w.trace.operations, Goals: maps.Clone(w.goals), Violations: w.end.violations,
	}
}

func (w *World) loop(s Scenario, steps *atomic.Uint64) {
	n := w.Node(ScenarioNode, NodeConfig{})
	n.Start(func(p *Process) error {
		if err := s(p.Context(), p); err != nil {
			w.Violate(RuleScenario, err.Error())
		}
		w.end.done = true
		return nil
	})
	for !w.end.done {
		w.unwindDoomed()
		w.timers.fire(w.now)
		w.faults.atStep(w.step)
		w.pollContexts()
		co := w.pick()
		if co == nil {
			w.jump()
			continue
		}
		w.step++
		steps.Store(w.step)
		w.now += int64(w.cfg.StepTime)
		w.trace.step(w, co)
		w.resume(co)
		w.bounds()
	}
}

func (w *World) bounds() {
	if w.step < w.cfg.Steps && w.now < int64(w.cfg.Time) || w.end.done {
		return
	}
	w.Violate(RuleEndless, fmt.Sprintf("not over after %d steps and %s", w.step, w.Elapsed()))
}

// pick returns a runnable coroutine, or nil. It looks at them from a random one on up to the first that can
// run, so that a wake is taken only for the one that gets it, and changes their order a little each time: in
// the long run all are as likely, except those of nodes that are lazy: they are often passed over while anybody
// else can run.
func (w *World) pick() *coroutine {
	if len(w.live) == 0 {
		return nil
	}
	draw := w.rng.Uint64()
	if co, passed := w.pickFrom(draw, int(draw>>32)%lazyOf); co != nil || !passed {
		return co
	}
	co, _ := w.pickFrom(draw, lazyOf)
	return co
}

// pickFrom passes over the nodes that are lazier than a mood, and says whether there were any.
func (w *World) pickFrom(draw uint64, mood int) (picked *coroutine, passed bool) {
	n := len(w.live)
	first := int(draw>>8&(1<<20-1)) % n //nolint:gosec // twenty bits
	if other := int(draw>>48) % n; other != first {
		w.live[first], w.live[other] = w.live[other], w.live[first]
	}
	for at := first; ; {
		co := w.live[at]
		switch {
		case mood < co.process.lazy:
			passed = true
		case co.until > w.now && co.inVain(): // mostly
		case co.runnable(w, draw):
			return co, false
		}
		at++
		if at == n {
			at = 0
		}
		if at == first {
			return nil, passed
		}
	}
}

// jump moves the time to the next moment at which something can happen.
func (w *World) jump() {
	next := w.timers.next()
	for _, co := range w.live {
		next = min(next, co.earliest(w.now))
	}
	if next == never {
		w.Violate(RuleDeadlock, "nothing can happen any more:\n"+w.describe())
		return
	}
	w.now = max(w.now, next)
	w.bounds()
}

// describe lists what waits, for people.
func (w *World) describe() string {
	var text strings.Builder
	for _, co := range w.live {
		fmt.Fprintf(&text, "  %s of %s waits for %d wakes\n", co.name(), co.process.node.name, len(co.wakes))
	}
	return text.String()
}

func (w *World) unwindAll() {
	for _, n := range w.nodes {
		if n.process != nil {
			n.process.die()
		}
	}
	w.unwindDoomed()
}

// Sleep lets the process wait for d of virtual time.
func (p *Process) Sleep(ctx context.Context, d time.Duration) error {
	_, err := p.clock.Wait(ctx, max(d, 0))
	return err
}

// Until waits until ready says so, looking again every so often; false if it does not within d.
func (p *Process) Until(ctx context.Context, d, every time.Duration, ready func() bool) bool {
	for end := p.world.Elapsed() + d; ; {
		if ready() {
			return true
		}
		if p.world.Elapsed() >= end || p.Sleep(ctx, every) != nil {
			return false
		}
	}
}
