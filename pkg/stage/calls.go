package stage

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"refrain.dev/pkg/telemetry"
)

// orphanWithin bounds how long it is tried to publish a result that came too late.
const orphanWithin = time.Minute

// startCalls begins the calls of a stored batch, beside the fold.
func (p *partition) startCalls(calls []Call) {
	for _, c := range calls {
		p.doors.mu.Lock()
		p.doors.calls++
		p.doors.mu.Unlock()
		leave, once := p.calling.Enter(), sync.Once{}
		c.Wanted = p.doors.open
		p.call(c, func(result any) {
			once.Do(func() {
				defer leave()
				p.ports.Points.At("stage.called")
				p.returned(Input{
					Source: FromCall, Name: callInput, ID: c.ID, Key: c.Key, At: p.reference.Time(), Request: result, Traceparent: c.Traceparent,
				})
			})
		})
	}
}

// call begins one call. A panic ends it as if its process had died: without a result.
func (p *partition) call(c Call, done func(any)) {
	defer func() {
		if r := recover(); r != nil {
			p.ports.Logger.Error("a call panicked", "stage", p.cfg.Spec.Name, "partition", p.number, "call", c.ID,
				"panic", fmt.Sprintf("%T", r), "stack", string(debug.Stack()))
			done(nil)
		}
	}()
	p.ports.Caller.Call(telemetry.Parent(p.callCtx(), c.Traceparent), p.number, c, done)
}

// open says whether what is left at the doors is still taken.
func (d *doors) open() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.closed
}

// returned leaves the result of a call at the door; if the partition was lost meanwhile it is an orphan, which is
// published beside the caller.
func (p *partition) returned(in Input) {
	p.doors.mu.Lock()
	p.doors.calls--
	closed := p.doors.closed
	if !closed {
		p.doors.results = append(p.doors.results, in)
	}
	p.doors.mu.Unlock()
	if closed {
		p.calling.Go(func() error { p.orphan(in); return nil })
		return
	}
	p.doors.signal()
}

// orphan publishes a result that nobody here may record any more.
func (p *partition) orphan(in Input) {
	if p.ports.Orphans == nil || in.Source != FromCall || in.Request == nil {
		return
	}
	ctx, cancel := p.ports.Clock.Within(context.WithoutCancel(p.callCtx()), orphanWithin)
	defer cancel()
	back := p.backoff()
	for {
		err := p.ports.Orphans.Orphan(ctx, p.number, in.ID, in.Key, in.Request)
		if err == nil {
			p.ports.Points.At("stage.orphaned")
			return
		}
		if back.wait(ctx, err) != nil {
			p.ports.Logger.Error("the result of a call is lost; the partition's owner finds out otherwise",
				"stage", p.cfg.Spec.Name, "partition", p.number, "error", err)
			return
		}
	}
}

// inFlight says how many calls are under way and how many results wait.
func (p *partition) inFlight() (calls, results int) {
	p.doors.mu.Lock()
	defer p.doors.mu.Unlock()
	return p.doors.calls, len(p.doors.results)
}
