package simulate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/simulate/schedule"
)

// conn is a connection to whatever process runs on a node, with the retry policy of rpc.Dial.
type conn struct {
	process *Process
	target  string
	codec   encoding.CodecV2
	// failures are how many calls failed of late: with five, nothing is repeated.
	failures float64
}

// The retry policy of rpc.Dial.
const (
	attempts     = 3
	firstBackoff = 20 * time.Millisecond
	lastBackoff  = 200 * time.Millisecond
	mostFailures = 10
	regained     = 0.1
)

// call is one attempt of a call on its way.
type call struct {
	from, to *Process
	done     chan struct{} // closed when there is an answer or will be none
	answered bool
	reply    []byte
	trailer  metadata.MD
	header   metadata.MD
	err      error
	cancel   context.CancelFunc // of the handler's context, once there is one
	hungUp   bool               // nobody waits for the answer
}

// answer ends the call once.
func (c *call) answer(reply []byte, err error) {
	if !c.answered {
		c.answered, c.reply, c.err = true, reply, err
		c.from.stir()
		close(c.done)
	}
}

// NewStream implements grpc.ClientConnInterface: streams are not simulated.
func (*conn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "streams are not simulated")
}

// Invoke implements grpc.ClientConnInterface.
func (c *conn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if c.codec == nil {
		c.codec = rpc.NewCodec()
	}
	data, err := c.encode(args)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	backoff := firstBackoff
	for n := 1; ; n++ {
		var one *call
		if one, err = c.attempt(ctx, method, data); err == nil {
			c.failures = max(c.failures-regained, 0)
			answered(opts, one)
			return c.decode(one.reply, reply)
		}
		if status.Code(err) != codes.Unavailable {
			return err
		}
		c.failures = min(c.failures+1, mostFailures)
		if n == attempts || c.failures > mostFailures/2 {
			return err
		}
		pause := time.Duration(c.process.world.rng.Int64N(int64(backoff)))
		if c.process.delay(ctx, pause) != nil {
			return status.FromContextError(ctx.Err()).Err()
		}
		backoff = min(2*backoff, lastBackoff)
	}
}

func answered(opts []grpc.CallOption, one *call) {
	for _, o := range opts {
		switch o := o.(type) {
		case grpc.HeaderCallOption:
			*o.HeaderAddr = one.header
		case grpc.TrailerCallOption:
			*o.TrailerAddr = one.trailer
		}
	}
}

func (c *conn) encode(v any) ([]byte, error) {
	b, err := c.codec.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	defer b.Free()
	return b.Materialize(), nil
}

func (c *conn) decode(data []byte, v any) error {
	if err := c.codec.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, v); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

// attempt makes a call once.
func (c *conn) attempt(ctx context.Context, method string, data []byte) (*call, error) {
	p := c.process
	o := operation{
		class: schedule.RPC, name: "invoke", on: strings.TrimPrefix(c.target+method, "/"), size: len(data), write: true, doubles: true,
	}
	one := &call{from: p, done: make(chan struct{})}
	err := p.do(ctx, o, func() error {
		c.deliver(ctx, one, method, data)
		return nil
	})
	switch {
	case ctx.Err() != nil:
		one.hangUp()
		return nil, status.FromContextError(ctx.Err()).Err()
	case err != nil:
		one.hangUp()
		return nil, status.Error(codes.Unavailable, err.Error())
	case p.world.current == nil:
		return nil, status.Error(codes.Unavailable, "nothing runs")
	}
	p.outgoing = append(p.outgoing, one)
	_, err = p.clock.Wait(ctx, -1, one.done)
	p.outgoing = slices.DeleteFunc(p.outgoing, func(o *call) bool { return o == one })
	if err != nil {
		one.hangUp()
		return nil, status.FromContextError(err).Err()
	}
	return one, one.err
}

// deliver brings the request to its target after a while. A second copy of a request is handled too, and
// its answer lost.
func (c *conn) deliver(ctx context.Context, one *call, method string, data []byte) {
	if one.to != nil {
		one = &call{from: one.from, done: make(chan struct{}), hungUp: true}
	}
	w := c.process.world
	n := w.byName[c.target]
	if n == nil || n.process == nil || len(n.process.handlers) == 0 {
		w.soon(func() { one.answer(nil, status.Error(codes.Unavailable, "connection refused by "+c.target)) })
		return
	}
	to := n.process
	one.to = to
	to.incoming = append(to.incoming, one)
	md, _ := metadata.FromOutgoingContext(ctx)
	left := time.Duration(-1)
	if d, ok := c.process.clock.Left(ctx); ok {
		left = max(d, 0)
	}
	w.soon(func() {
		if to.dead {
			return
		}
		w.spawn(to, func() { c.serve(one, method, data, request{md: md.Copy(), left: left}) })
	})
}

// soon does something after the time that a message travels.
func (w *World) soon(f func()) {
	w.timers.add(w.now+w.rng.Int64N(int64(w.cfg.Delivery)), f)
}
