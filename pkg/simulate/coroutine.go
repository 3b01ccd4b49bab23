package simulate

import (
	"context"
	"fmt"
	"iter"
	"math"
	"runtime/debug"
	"slices"
)

// never is a virtual time that does not come.
const never = math.MaxInt64

// death is what the coroutines of a dead process panic with.
type death struct{}

// coroutine is one thing that works beside others. It runs from a resume until it parks.
type coroutine struct {
	// What the scheduler looks at in every step is together.
	process *Process
	// looked is when it was last found to wait in vain: unless its process was stirred since, it still does.
	looked uint64
	// What it waits for; nothing if ctx is nil: then it can run at once.
	ctx      context.Context
	until    int64 // never: no deadline
	wakes    []<-chan struct{}
	wakeRoom [maxWakes]<-chan struct{}
	// What the wait came to.
	woken int
	err   error

	number uint64
	resume func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool
}

// maxWakes is how many channels a Wait looks at.
const maxWakes = 8

func (co *coroutine) name() string { return fmt.Sprintf("coroutine %d", co.number) }

// spawn makes a coroutine of the process that runs f.
func (w *World) spawn(p *Process, f func()) {
	w.spawned++
	co := &coroutine{process: p, number: w.spawned}
	co.resume, co.stop = iter.Pull(func(yield func(struct{}) bool) {
		co.yield = yield
		defer func() { co.recovered(recover()) }()
		f()
	})
	w.live = append(w.live, co)
}

// recovered ends the panic of a dead coroutine, and makes any other one a violation.
func (co *coroutine) recovered(r any) {
	if _, ok := r.(death); r == nil || ok {
		return
	}
	if co.process.dead {
		return // what a deferred call of a dead process stumbles over harms nobody
	}
	co.process.world.Violate(RulePanic, fmt.Sprintf("%s panicked: %v\n%s", co.process.node.name, r, debug.Stack()))
}

// park gives control back to the scheduler, which resumes it when what it waits for has come.
func (co *coroutine) park() {
	if !co.yield(struct{}{}) || co.process.dead {
		panic(death{})
	}
}

// resume runs co until it parks or ends.
func (w *World) resume(co *coroutine) {
	before := w.current
	w.current = co
	co.process.stir()
	_, more := co.resume()
	w.current = before
	if !more {
		w.remove(co)
	}
}

func (w *World) remove(co *coroutine) {
	if i := slices.Index(w.live, co); i >= 0 {
		last := len(w.live) - 1
		w.live[i] = w.live[last]
		w.live[last] = nil
		w.live = w.live[:last]
	}
}

// inVain says that co is known to wait for what has not come.
func (co *coroutine) inVain() bool { return co.ctx != nil && co.looked >= co.process.stirred }

// runnable says whether co can run, and if it was woken takes the wake.
func (co *coroutine) runnable(w *World, draw uint64) bool {
	p := co.process
	passed := co.until <= w.now
	known := co.inVain()
	switch {
	case known && !passed, p.dead, p.node.pausedUntil > w.now:
		return false
	case known, co.ctx == nil:
		return true
	}
	co.woken = -1
	if co.err = co.ctx.Err(); co.err != nil {
		return true
	}
	if passed && (len(co.wakes) == 0 || draw&1 == 0) || co.wake(draw>>1) {
		return true
	}
	co.looked = w.stirs
	return passed
}

// stir says that what the process's coroutines wait for may have come: one of them ran, or something reached it
// from outside. Nothing else ends a wait but time.
func (p *Process) stir() {
	p.world.stirs++
	p.stirred = p.world.stirs
}

// wake takes a wake if there is one, from any of the channels.
func (co *coroutine) wake(draw uint64) bool {
	n := len(co.wakes)
	first := 0
	if n > 1 {
		first = int(draw&0xff) % n //nolint:gosec // a byte
	}
	for i := range n {
		at := first + i
		if at >= n {
			at -= n
		}
		select {
		case <-co.wakes[at]:
			co.woken = at
			return true
		default:
		}
	}
	return false
}

// earliest is when co can run again if nobody else does anything.
func (co *coroutine) earliest(now int64) int64 {
	if until := co.process.node.pausedUntil; until > now {
		return until
	}
	return co.until
}

// unwindDoomed runs the deferred calls of what died, without effect on anything that lives.
func (w *World) unwindDoomed() {
	for len(w.doomed) > 0 {
		p := w.doomed[0]
		w.doomed = w.doomed[1:]
		var own []*coroutine
		w.live = slices.DeleteFunc(w.live, func(co *coroutine) bool {
			if co.process == p {
				own = append(own, co)
			}
			return co.process == p
		})
		for _, co := range own {
			before := w.current
			w.current = co
			co.stop()
			w.current = before
		}
	}
}
