package stage

import (
	"context"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/telemetry"
)

// startCalls makes the calls of a stored batch, beside the fold.
func (p *partition) startCalls(calls []Call) {
	for _, c := range calls {
		p.doors.mu.Lock()
		p.doors.calls++
		p.doors.mu.Unlock()
		p.calling.Go(func() {
			result := p.ports.Caller.Call(telemetry.Parent(p.callCtx(), c.Traceparent), p.number, c)
			p.doors.mu.Lock()
			p.doors.calls--
			p.doors.results = append(p.doors.results, Input{
				Source: FromCall, Name: "call", ID: c.ID, Key: c.Key, At: p.ports.Clock.Now(), Request: result, Traceparent: c.Traceparent,
			})
			p.doors.mu.Unlock()
			p.doors.signal()
		})
	}
}

// inFlight says how many calls are under way and how many results wait.
func (p *partition) inFlight() (calls, results int) {
	p.doors.mu.Lock()
	defer p.doors.mu.Unlock()
	return p.doors.calls, len(p.doors.results)
}

// do hands a request to the partition and waits for its answer.
func (p *partition) do(ctx context.Context, r Request) (any, error) {
	req := &request{
		in:    Input{Source: FromRPC, Name: "rpc", ID: r.ID, Key: r.Key, At: r.At, Request: r.Body, Traceparent: telemetry.Traceparent(ctx)},
		reply: make(chan response, 1),
	}
	p.doors.mu.Lock()
	if p.doors.closed {
		p.doors.mu.Unlock()
		return nil, unavailable(p.number)
	}
	p.doors.requests = append(p.doors.requests, req)
	p.doors.mu.Unlock()
	p.doors.signal()
	select {
	case res := <-req.reply:
		return res.reply, res.err
	case <-ctx.Done():
		return nil, fault.As(fault.Unavailable, ctx.Err())
	}
}

// unavailable never says "not done": what was asked may have been stored.
func unavailable(partition int) error {
	return fault.New(fault.Unavailable, "partition %d changes its owner; whether the request took effect is not known: repeat it with the same id", partition)
}
