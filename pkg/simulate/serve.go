package simulate

import (
	"context"
	"errors"
	"slices"
	"time"

	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// handler is a method that a process serves.
type handler struct {
	impl   any
	method grpc.MethodDesc
}

// registrar collects what a process serves.
type registrar struct{ p *Process }

// RegisterService implements grpc.ServiceRegistrar. A process refuses connections before its first. Streams are not simulated: a call of one is Unimplemented.
func (r registrar) RegisterService(desc *grpc.ServiceDesc, impl any) {
	for _, m := range desc.Methods {
		r.p.handlers["/"+desc.ServiceName+"/"+m.MethodName] = handler{impl, m}
	}
}

// request is what travels beside the message.
type request struct {
	md   metadata.MD
	left time.Duration // until the caller's deadline; negative for none
}

// serve runs the handler on the target, in a coroutine of its process.
func (c *conn) serve(one *call, method string, data []byte, r request) {
	to := one.to
	ctx, cancel := context.WithCancel(metadata.NewIncomingContext(to.ctx, r.md))
	defer cancel()
	if r.left >= 0 {
		var end context.CancelFunc
		ctx, end = to.within(ctx, r.left)
		defer end()
	}
	one.cancel = cancel
	if one.from.dead {
		cancel()
	}
	stream := &serverStream{method: method, call: one}
	reply, err := c.handle(grpc.NewContextWithServerTransportStream(ctx, stream), to, method, data)
	to.incoming = slices.DeleteFunc(to.incoming, func(o *call) bool { return o == one })
	to.enter()
	w := to.world
	w.note("answers", to.node.name, len(reply))
	w.soon(func() { one.answer(reply, err) })
}

// serverStream takes headers and trailers.
type serverStream struct {
	method string
	call   *call
}

// Method implements grpc.ServerTransportStream.
func (s *serverStream) Method() string { return s.method }

// SetHeader implements grpc.ServerTransportStream.
func (s *serverStream) SetHeader(md metadata.MD) error {
	s.call.header = metadata.Join(s.call.header, md)
	return nil
}

// SendHeader implements grpc.ServerTransportStream.
func (s *serverStream) SendHeader(md metadata.MD) error { return s.SetHeader(md) }

// SetTrailer implements grpc.ServerTransportStream.
func (s *serverStream) SetTrailer(md metadata.MD) error {
	s.call.trailer = metadata.Join(s.call.trailer, md)
	return nil
}

func (c *conn) handle(ctx context.Context, to *Process, method string, data []byte) ([]byte, error) {
	h, ok := to.handlers[method]
	if !ok {
		return nil, status.Error(codes.Unimplemented, "unknown method "+method)
	}
	decode := func(v any) error { return c.decode(data, v) }
	reply, err := h.method.Handler(h.impl, ctx, decode, to.node.cfg.Interceptor)
	if err != nil {
		return nil, wire(err)
	}
	out, err := c.encode(reply)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return out, nil
}

// wire is an error as it reaches the other side.
func wire(err error) error {
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	p, _ := proto.Clone(s.Proto()).(*statuspb.Status) //nolint:errcheck // a clone has the type of what was cloned
	if p == nil {
		return errors.New("a status without a code")
	}
	return status.ErrorProto(p)
}

// hangUp ends a call whose caller has gone: its handler's context ends soon.
func (c *call) hangUp() {
	c.hungUp = true
	if c.to != nil && !c.answered {
		c.to.world.soon(func() {
			if c.cancel != nil {
				c.to.stir()
				c.cancel()
			}
		})
	}
}

// hangUp breaks the connections of a process that is dead.
func (p *Process) hangUp() {
	for _, c := range p.outgoing {
		c.hangUp()
	}
	for _, c := range p.incoming {
		p.world.soon(func() { c.answer(nil, status.Error(codes.Unavailable, "connection to "+p.node.name+" broke")) })
	}
	p.outgoing, p.incoming = nil, nil
}
