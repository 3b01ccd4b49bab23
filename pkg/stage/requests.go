package stage

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/telemetry"
)

// maxRequests is how many requests may wait at the door of a partition. Who comes when it is full is told so at once,
// and that nothing was done: to wait longer than its caller does helps nobody.
const maxRequests = 1024

// request is an RPC's way into a partition and back. Callers that ask for the same thing while it is under way share
// it.
type request struct {
	in      Input
	callers int         // under the doors' lock
	gone    atomic.Bool // the last caller does not wait any more
	done    chan struct{}
	once    sync.Once

	reply any
	err   error
}

func (r *request) answer(reply any, err error) {
	r.once.Do(func() {
		r.reply, r.err = reply, err
		close(r.done)
	})
}

// asked names what requests are about: the same id for the same row is the same request.
type asked struct{ key, id string }

func (r *request) asked() asked { return asked{r.in.Key, r.in.ID} }

// do hands a request to the partition and waits for its answer.
func (p *partition) do(ctx context.Context, r Request) (any, error) {
	req, err := p.doors.enter(p.number, &request{
		in:   Input{Source: FromRPC, Name: "rpc", ID: r.ID, Key: r.Key, At: r.At, Request: r.Body, Traceparent: telemetry.Traceparent(ctx)},
		done: make(chan struct{}),
	})
	if err != nil {
		return nil, err
	}
	p.doors.signal()
	_, err = p.ports.Clock.Wait(ctx, clock.Forever, req.done)
	p.doors.leave(req)
	if err != nil {
		return nil, fault.As(fault.Unavailable, err)
	}
	return req.reply, req.err
}

// enter lets a request wait at the door, or joins it to one that is under way.
func (d *doors) enter(partition int, r *request) (*request, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, unavailable(partition)
	}
	if same := d.asked[r.asked()]; same != nil && r.in.ID != "" {
		same.callers++
		return same, nil
	}
	if len(d.requests) >= maxRequests {
		return nil, fault.New(fault.Unavailable, "partition %d is busy: %d requests wait, and this one was not taken: repeat it later with the same id",
			partition, maxRequests)
	}
	r.callers = 1
	d.requests = append(d.requests, r)
	d.asked[r.asked()] = r
	return r, nil
}

// leave says that a caller does not wait any more. With the last one a request that has no answer yet is not wanted.
func (d *doors) leave(r *request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.callers--
	if r.callers > 0 {
		return
	}
	r.gone.Store(true)
	if d.asked[r.asked()] == r {
		delete(d.asked, r.asked())
	}
	d.requests = slices.DeleteFunc(d.requests, func(o *request) bool { return o == r })
}

// forgetGone takes what is to be decided from requests whose callers have gone.
func (p *partition) forgetGone() {
	for n := range p.pending {
		in := p.pending[n].input
		if in == nil {
			continue
		}
		if c, ok := in.Request.(call); ok && c.to.gone.Load() {
			p.pending[n].input = nil
		}
	}
}

// unavailable never says "not done": what was asked may have been stored.
func unavailable(partition int) error {
	return fault.New(fault.Unavailable, "partition %d changes its owner; whether the request took effect is not known: repeat it with the same id", partition)
}
