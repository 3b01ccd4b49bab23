package stage

import (
	"context"
	"sync"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/telemetry"
)

// orphanWithin bounds how long it is tried to publish a result that came too late.
const orphanWithin = time.Minute

// startCalls makes the calls of a stored batch, beside the fold.
func (p *partition) startCalls(calls []Call) {
	for _, c := range calls {
		p.doors.mu.Lock()
		p.doors.calls++
		p.doors.mu.Unlock()
		p.calling.Go(func() error {
			result := p.ports.Caller.Call(telemetry.Parent(p.callCtx(), c.Traceparent), p.number, c)
			p.ports.Points.At("stage.called")
			p.returned(Input{
				Source: FromCall, Name: callInput, ID: c.ID, Key: c.Key, At: p.ports.Clock.Now(), Request: result, Traceparent: c.Traceparent,
			})
			return nil
		})
	}
}

// returned leaves the result of a call at the door; if the partition was lost meanwhile it is an orphan.
func (p *partition) returned(in Input) {
	p.doors.mu.Lock()
	p.doors.calls--
	closed := p.doors.closed
	if !closed {
		p.doors.results = append(p.doors.results, in)
	}
	p.doors.mu.Unlock()
	if closed {
		p.orphan(in)
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

// request is an RPC's way into a partition and back.
type request struct {
	in   Input
	done chan struct{} // closed when reply and err are set
	once sync.Once

	reply any
	err   error
}

func (r *request) answer(reply any, err error) {
	r.once.Do(func() {
		r.reply, r.err = reply, err
		close(r.done)
	})
}

// do hands a request to the partition and waits for its answer.
func (p *partition) do(ctx context.Context, r Request) (any, error) {
	req := &request{
		in:   Input{Source: FromRPC, Name: "rpc", ID: r.ID, Key: r.Key, At: r.At, Request: r.Body, Traceparent: telemetry.Traceparent(ctx)},
		done: make(chan struct{}),
	}
	p.doors.mu.Lock()
	if p.doors.closed {
		p.doors.mu.Unlock()
		return nil, unavailable(p.number)
	}
	p.doors.requests = append(p.doors.requests, req)
	p.doors.mu.Unlock()
	p.doors.signal()
	if _, err := p.ports.Clock.Wait(ctx, clock.Forever, req.done); err != nil {
		return nil, fault.As(fault.Unavailable, err)
	}
	return req.reply, req.err
}

// unavailable never says "not done": what was asked may have been stored.
func unavailable(partition int) error {
	return fault.New(fault.Unavailable, "partition %d changes its owner; whether the request took effect is not known: repeat it with the same id", partition)
}
