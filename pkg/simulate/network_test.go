package simulate_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/simulate"
	"refrain.dev/pkg/simulate/schedule"
)

// server answers as its function says.
type server struct {
	healthv1.UnimplementedHealthServer
	check func(context.Context, string) error
}

func (s server) Check(ctx context.Context, r *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	if err := s.check(ctx, r.GetService()); err != nil {
		return nil, err
	}
	return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}, nil
}

// network is a world with one server, and a client that is the scenario.
type network struct {
	w      *simulate.World
	server *simulate.Node
	calls  int
}

func newNetwork(t *testing.T, faults string, check func(ctx context.Context, p *simulate.Process, text string) error) *network {
	t.Helper()
	sched, err := schedule.Parse(faults)
	if err != nil {
		t.Fatal(err)
	}
	n := &network{w: simulate.New(simulate.Config{Seed: 11, Schedule: sched})}
	n.server = n.w.Node("server", simulate.NodeConfig{Interceptor: func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if info.FullMethod != healthv1.Health_Check_FullMethodName {
			t.Errorf("intercepted %s", info.FullMethod)
		}
		n.calls++
		return next(ctx, req)
	}})
	n.server.Start(func(p *simulate.Process) error {
		healthv1.RegisterHealthServer(p.Registrar(), server{check: func(ctx context.Context, s string) error { return check(ctx, p, s) }})
		_, err := p.Clock().Wait(p.Context(), clock.Forever)
		return err
	})
	return n
}

func (n *network) run(t *testing.T, s func(ctx context.Context, p *simulate.Process, c healthv1.HealthClient)) simulate.Result {
	t.Helper()
	r := n.w.Run(func(ctx context.Context, p *simulate.Process) error {
		if err := p.Sleep(ctx, time.Second); err != nil {
			return err
		}
		s(ctx, p, healthv1.NewHealthClient(p.Dial("server")))
		return nil
	})
	for _, v := range r.Violations {
		t.Errorf("%s: %s", v.Rule, v.Text)
	}
	return r
}

func ask(ctx context.Context, c healthv1.HealthClient, text string, opts ...grpc.CallOption) codes.Code {
	_, err := c.Check(ctx, &healthv1.HealthCheckRequest{Service: text}, opts...)
	return status.Code(err)
}

func TestCalls(t *testing.T) {
	n := newNetwork(t, "", func(ctx context.Context, p *simulate.Process, s string) error {
		switch s {
		case "metadata":
			md, _ := metadata.FromIncomingContext(ctx)
			_ = grpc.SetTrailer(ctx, metadata.Pairs("seen", md.Get("said")[0]))
			return nil
		case "status":
			return status.Error(codes.FailedPrecondition, "no")
		case "plain":
			return errors.New("plain")
		case "deadline":
			return context.DeadlineExceeded
		case "slow":
			_, err := p.Clock().Wait(ctx, time.Hour)
			return err
		}
		return nil
	})
	n.run(t, func(ctx context.Context, p *simulate.Process, c healthv1.HealthClient) {
		for text, want := range map[string]codes.Code{
			"": codes.OK, "status": codes.FailedPrecondition, "plain": codes.Unknown, "deadline": codes.DeadlineExceeded,
		} {
			if got := ask(ctx, c, text); got != want {
				t.Errorf("%q: got %s, want %s", text, got, want)
			}
		}
		var trailer metadata.MD
		if got := ask(metadata.AppendToOutgoingContext(ctx, "said", "hello"), c, "metadata", grpc.Trailer(&trailer)); got != codes.OK || trailer.Get("seen")[0] != "hello" {
			t.Errorf("metadata: got %s, %v", got, trailer)
		}
		if _, err := c.Watch(ctx, &healthv1.HealthCheckRequest{}); status.Code(err) != codes.Unimplemented {
			t.Errorf("a stream: got %v", err)
		}
		if err := p.Dial("server").Invoke(ctx, "/grpc.health.v1.Health/Nothing", &healthv1.HealthCheckRequest{}, &healthv1.HealthCheckResponse{}); status.Code(err) != codes.Unimplemented {
			t.Errorf("an unknown method: got %v", err)
		}
		if got := ask(ctx, healthv1.NewHealthClient(p.Dial("nobody")), ""); got != codes.Unavailable {
			t.Errorf("an unknown target: got %s", got)
		}
	})
}

// The caller's deadline and cancellation reach the handler.
func TestCallsEndWithTheirCaller(t *testing.T) {
	var ends []error
	var took []time.Duration
	n := newNetwork(t, "", func(ctx context.Context, p *simulate.Process, _ string) error {
		began := p.Clock().Elapsed()
		_, err := p.Clock().Wait(ctx, time.Hour)
		ends, took = append(ends, err), append(took, p.Clock().Elapsed()-began)
		return err
	})
	n.run(t, func(ctx context.Context, p *simulate.Process, c healthv1.HealthClient) {
		limited, cancel := p.Clock().Within(ctx, 10*time.Second)
		defer cancel()
		if got := ask(limited, c, ""); got != codes.DeadlineExceeded {
			t.Errorf("a deadline: got %s", got)
		}
		_ = p.Sleep(ctx, time.Second)
		cancelled, cancelNow := context.WithCancel(ctx)
		p.Go(func() {
			_ = p.Sleep(ctx, 5*time.Second)
			cancelNow()
		})
		if got := ask(cancelled, c, ""); got != codes.Canceled {
			t.Errorf("a cancellation: got %s", got)
		}
		_ = p.Sleep(ctx, time.Second)
	})
	// Whether its own deadline ends a handler or the caller who gives up at the same moment is chance.
	ended := len(ends) == 2 && (errors.Is(ends[0], context.DeadlineExceeded) || errors.Is(ends[0], context.Canceled)) && errors.Is(ends[1], context.Canceled)
	if !ended || took[0] > 11*time.Second || took[1] > 6*time.Second {
		t.Errorf("the handlers ended with %v after %v", ends, took)
	}
}

// A call to a process that crashes is Unavailable; one by a process that crashes ends its handler.
func TestCallsEndWithAProcess(t *testing.T) {
	ended := 0
	n := newNetwork(t, "", func(ctx context.Context, p *simulate.Process, _ string) error {
		_, err := p.Clock().Wait(ctx, time.Hour)
		ended++
		return err
	})
	client := n.w.Node("client", simulate.NodeConfig{})
	client.Start(func(p *simulate.Process) error {
		_ = p.Sleep(p.Context(), time.Second)
		ask(p.Context(), healthv1.NewHealthClient(p.Dial("server")), "")
		return nil
	})
	n.run(t, func(ctx context.Context, p *simulate.Process, c healthv1.HealthClient) {
		_ = p.Sleep(ctx, time.Minute)
		client.Crash()
		_ = p.Sleep(ctx, time.Minute)
		if ended != 1 {
			t.Errorf("%d handlers ended after their caller crashed", ended)
		}
		p.Go(func() {
			_ = p.Sleep(ctx, 10*time.Second)
			n.server.Crash()
		})
		began := p.Clock().Elapsed()
		if got := ask(ctx, c, ""); got != codes.Unavailable || p.Clock().Elapsed()-began > 12*time.Second {
			t.Errorf("the server crashed: got %s after %s", got, p.Clock().Elapsed()-began)
		}
		if ended != 1 {
			t.Errorf("a dead handler went on")
		}
	})
}

func TestCallsUnderFaults(t *testing.T) {
	for fault, want := range map[string]struct {
		code  codes.Code
		calls int
	}{
		"what=unavailable on=rpc:server/grpc.health for=1h": {codes.Unavailable, 0},
		"what=unavailable on=rpc:other for=1h":              {codes.OK, 1},
		"what=lost on=rpc:server times=9":                   {codes.Unavailable, 0},
		"what=lost on=rpc:server":                           {codes.OK, 1}, // repeated
		"what=applied on=rpc:server":                        {codes.OK, 2},
		"what=late on=rpc:server for=100ms":                 {codes.OK, 2},
		"what=double on=rpc:server":                         {codes.OK, 2},
		"what=slow on=rpc:server for=2s":                    {codes.OK, 1},
		"what=slow on=rpc:server for=20s":                   {codes.DeadlineExceeded, 0},
	} {
		n := newNetwork(t, "when=at:0s "+fault, func(context.Context, *simulate.Process, string) error { return nil })
		r := n.run(t, func(ctx context.Context, p *simulate.Process, c healthv1.HealthClient) {
			limited, cancel := p.Clock().Within(ctx, 15*time.Second)
			defer cancel()
			if got := ask(limited, c, ""); got != want.code {
				t.Errorf("%s: got %s, want %s", fault, got, want.code)
			}
			_ = p.Sleep(ctx, time.Second)
		})
		if n.calls != want.calls {
			t.Errorf("%s: %d calls, want %d; %v", fault, n.calls, want.calls, r.Goals)
		}
	}
}
