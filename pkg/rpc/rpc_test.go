package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/rpc"
)

type ingest struct {
	eventv1.UnimplementedIngestServiceServer
	answer func(context.Context, *eventv1.PublishEventsRequest) (*eventv1.PublishEventsResponse, error)
}

func (i ingest) PublishEvents(ctx context.Context, r *eventv1.PublishEventsRequest) (*eventv1.PublishEventsResponse, error) {
	return i.answer(ctx, r)
}

const publishEvents = "/refrain.event.v1.IngestService/PublishEvents"

type fixture struct {
	server *rpc.Server
	conn   *grpc.ClientConn
	client eventv1.IngestServiceClient
}

func start(t *testing.T, svc ingest) fixture {
	t.Helper()
	s, err := rpc.NewServer(rpc.ServerConfig{StopWithin: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	eventv1.RegisterIngestServiceServer(s, svc)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.ServeUntil(ctx, l) }()
	conn, err := rpc.Dial(l.Addr().String(), rpc.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t)
	})
	return fixture{s, conn, eventv1.NewIngestServiceClient(conn)}
}

func TestErrorsCarryCodeAndDetails(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		code   codes.Code
		reason string
		text   string
		retry  time.Duration
	}{
		"invalid":     {err: fault.New(fault.Invalid, "no good"), code: codes.InvalidArgument, reason: "INVALID", text: "no good"},
		"internal":    {err: errors.New("password is hush"), code: codes.Internal, reason: "INTERNAL", text: "internal error"},
		"unavailable": {err: rpc.WithRetryAfter(fault.New(fault.Unavailable, "down"), time.Second), code: codes.Unavailable, reason: "UNAVAILABLE", text: "down", retry: time.Second},
		"exhausted":   {err: fmt.Errorf("publish: %w", rpc.Exhausted(errors.New("lag"), "MESH_LAGS", 2*time.Second)), code: codes.ResourceExhausted, reason: "MESH_LAGS", text: "lag", retry: 2 * time.Second},
		"deadline":    {err: fmt.Errorf("wait: %w", context.DeadlineExceeded), code: codes.DeadlineExceeded, reason: "INTERNAL", text: "wait"},
	} {
		t.Run(name, func(t *testing.T) {
			s := rpc.Status(c.err)
			if s.Code() != c.code || !strings.Contains(s.Message(), c.text) || strings.Contains(s.Message(), "hush") {
				t.Errorf("got %v", s)
			}
			var reason string
			var retry time.Duration
			for _, d := range s.Details() {
				switch d := d.(type) {
				case *errdetails.ErrorInfo:
					reason = d.GetReason()
				case *errdetails.RetryInfo:
					retry = d.GetRetryDelay().AsDuration()
				}
			}
			if reason != c.reason || retry != c.retry {
				t.Errorf("got reason %q, retry %v", reason, retry)
			}
		})
	}
}

func TestAPanicIsAnErrorOfOneCall(t *testing.T) {
	f := start(t, ingest{answer: func(context.Context, *eventv1.PublishEventsRequest) (*eventv1.PublishEventsResponse, error) {
		panic("boom")
	}})
	f.server.ValidatesItself(publishEvents)
	for range 2 {
		_, err := f.client.PublishEvents(t.Context(), &eventv1.PublishEventsRequest{})
		if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "boom") {
			t.Fatalf("got %v", err)
		}
	}
}

func TestRequestsAreValidatedByTheContract(t *testing.T) {
	f := start(t, ingest{answer: func(context.Context, *eventv1.PublishEventsRequest) (*eventv1.PublishEventsResponse, error) {
		return &eventv1.PublishEventsResponse{Results: []*eventv1.EventResult{{Id: "a"}}}, nil
	}})
	_, err := f.client.PublishEvents(t.Context(), &eventv1.PublishEventsRequest{})
	s := status.Convert(err)
	if s.Code() != codes.InvalidArgument || !strings.Contains(fmt.Sprint(s.Details()), "events") {
		t.Fatalf("got %v %v", s, s.Details())
	}
	rpc.ValidatesItself(f.server, publishEvents)
	r, err := f.client.PublishEvents(t.Context(), &eventv1.PublishEventsRequest{})
	if err != nil || r.GetResults()[0].GetId() != "a" {
		t.Fatalf("got %v, %v", r, err)
	}
}

func TestHealthFollowsReadiness(t *testing.T) {
	f := start(t, ingest{})
	h := healthv1.NewHealthClient(f.conn)
	for _, ready := range []bool{false, true, false} {
		f.server.SetReady("", ready)
		r, err := h.Check(t.Context(), &healthv1.HealthCheckRequest{})
		if err != nil || (r.GetStatus() == healthv1.HealthCheckResponse_SERVING) != ready {
			t.Fatalf("ready %v: got %v, %v", ready, r, err)
		}
	}
}

func TestReflectionListsServices(t *testing.T) {
	f := start(t, ingest{})
	stream, err := reflectionv1.NewServerReflectionClient(f.conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	r, err := stream.Recv()
	if err != nil || !strings.Contains(r.String(), "refrain.event.v1.IngestService") {
		t.Fatalf("got %v, %v", r, err)
	}
	_ = stream.CloseSend()
}

func TestCallsInFlightFinishWithinTheStopTime(t *testing.T) {
	s, err := rpc.NewServer(rpc.ServerConfig{StopWithin: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	entered := make(chan struct{})
	eventv1.RegisterIngestServiceServer(s, ingest{answer: func(ctx context.Context, _ *eventv1.PublishEventsRequest) (*eventv1.PublishEventsResponse, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	s.ValidatesItself(publishEvents)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.ServeUntil(ctx, l) }()
	conn, err := rpc.Dial(l.Addr().String(), rpc.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	go func() {
		_, _ = eventv1.NewIngestServiceClient(conn).PublishEvents(context.WithoutCancel(t.Context()), &eventv1.PublishEventsRequest{})
	}()
	<-entered
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("a hanging call keeps the server from stopping")
	}
}
