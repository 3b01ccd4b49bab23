package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"buf.build/go/protovalidate"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"refrain.dev/pkg/telemetry"
)

// ServerConfig says how a server behaves. The zero value of a limit means its default.
type ServerConfig struct {
	Logger *slog.Logger
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider
	// MaxReceive is the greatest request in bytes; default 4 MiB.
	MaxReceive int
	// MaxStreams bounds the concurrent calls of one connection; default 250.
	MaxStreams uint32
	// StopWithin bounds the graceful stop; default 10 s.
	StopWithin time.Duration
	// MaxConnectionAge lets connections be spread anew; default 10 min.
	MaxConnectionAge time.Duration
}

func (c *ServerConfig) fill() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.MaxReceive == 0 {
		c.MaxReceive = 4 << 20
	}
	if c.MaxStreams == 0 {
		c.MaxStreams = 250
	}
	if c.StopWithin == 0 {
		c.StopWithin = 10 * time.Second
	}
	if c.MaxConnectionAge == 0 {
		c.MaxConnectionAge = 10 * time.Minute
	}
}

// Server is a gRPC server with health and reflection. Services register before Serve; it implements
// grpc.ServiceRegistrar.
type Server struct {
	*grpc.Server

	cfg    ServerConfig
	health *health.Server

	mu  sync.RWMutex
	own map[string]bool
}

// NewServer builds a server; nothing listens yet. Health answers NOT_SERVING until SetReady.
func NewServer(cfg ServerConfig) (*Server, error) {
	cfg.fill()
	validator, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("build the request validator: %w", err)
	}
	s := &Server{cfg: cfg, health: health.NewServer(), own: map[string]bool{}}
	g := guard{logger: cfg.Logger, validator: validator, own: s.validatesItself}
	opts := []grpc.ServerOption{
		grpc.ForceServerCodecV2(NewCodec()),
		grpc.ChainUnaryInterceptor(g.unary),
		grpc.ChainStreamInterceptor(g.stream),
		grpc.MaxRecvMsgSize(cfg.MaxReceive),
		grpc.MaxConcurrentStreams(cfg.MaxStreams),
		grpc.MaxHeaderListSize(16 << 10),
		grpc.ConnectionTimeout(5 * time.Second),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: cfg.MaxConnectionAge, MaxConnectionAgeGrace: time.Minute}),
	}
	if telemetry.Enabled(cfg.Tracer, cfg.Meter) {
		opts = append(opts, grpc.StatsHandler(otelgrpc.NewServerHandler(
			otelgrpc.WithTracerProvider(cfg.Tracer), otelgrpc.WithMeterProvider(cfg.Meter),
			otelgrpc.WithPropagators(telemetry.Propagator()))))
	}
	s.Server = grpc.NewServer(opts...)
	s.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	healthv1.RegisterHealthServer(s.Server, s.health)
	reflection.RegisterV1(s.Server)
	return s, nil
}

// ValidatesItself takes methods ("/package.Service/Method") out of the validation in front of them:
// their handlers answer item by item. See ValidatesItself, the function.
func (s *Server) ValidatesItself(methods ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range methods {
		s.own[m] = true
	}
}

func (s *Server) validatesItself(method string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.own[method]
}

// ValidatesItself tells a registrar that methods check their requests themselves. Registrars that do not
// validate ignore it.
func ValidatesItself(r grpc.ServiceRegistrar, methods ...string) {
	if v, ok := r.(interface{ ValidatesItself(methods ...string) }); ok {
		v.ValidatesItself(methods...)
	}
}

// SetReady answers health checks for a service; "" is the whole process.
func (s *Server) SetReady(service string, ready bool) {
	state := healthv1.HealthCheckResponse_NOT_SERVING
	if ready {
		state = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus(service, state)
}

// ServeUntil serves on l until ctx ends, then stops: health says NOT_SERVING, calls in flight finish
// within StopWithin, what is left is cut off. It returns the error that ended serving early.
func (s *Server) ServeUntil(ctx context.Context, l net.Listener) error {
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return serveError(err)
	case <-ctx.Done():
	}
	s.health.Shutdown()
	cut := time.AfterFunc(s.cfg.StopWithin, s.Stop)
	defer cut.Stop()
	s.GracefulStop()
	return serveError(<-done)
}

func serveError(err error) error {
	if err == nil || errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return fmt.Errorf("serve gRPC: %w", err)
}
