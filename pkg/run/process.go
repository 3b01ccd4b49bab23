package run

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/membership"
	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/telemetry"
)

// process is one service on its own: connections, servers, the service.
type process struct {
	name     string
	cfg      Config
	settings settings
	env      Environment

	logger    *slog.Logger
	telemetry *telemetry.Telemetry
	stack     Stack
	health    *Health
	server    *rpc.Server
	leases    log.Leases
}

// run builds everything, runs it and undoes it, whatever happens in between.
func (p *process) run(ctx context.Context, build func(context.Context, Deps) (Component, error)) (err error) {
	if err := p.observe(ctx); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, p.stack.Stop(ctx, p.cfg.StopWithin.Std(), p.logger))
		p.logger.InfoContext(ctx, "stopped")
	}()
	p.logger.InfoContext(ctx, "starting", "nats", p.cfg.NATS, "partitions", p.cfg.Partitions)
	parts, err := p.servers(ctx)
	if err != nil {
		return err
	}
	// The admin server runs while the rest is built: whoever waits can ask for what.
	return Together(ctx, p.logger, p.cfg.StopWithin.Std(), append(parts, Part{p.name, Func(func(ctx context.Context) error {
		return p.serve(ctx, build)
	})})...)
}

// observe makes logger and telemetry.
func (p *process) observe(ctx context.Context) error {
	level, err := p.cfg.level()
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	p.cfg.Replica = cmp.Or(p.cfg.Replica, host, p.name)
	p.logger = telemetry.NewLogger(p.env.Stderr, level).With("service", p.name, telemetry.KeyReplica, p.cfg.Replica)
	p.telemetry, err = telemetry.Start(ctx, telemetry.Config{
		Service: p.name, Replica: p.cfg.Replica, Prometheus: p.cfg.Prometheus, Getenv: p.getenv,
	})
	if err != nil {
		return err
	}
	p.stack.Push("telemetry", FlushTelemetry(p.telemetry, p.logger))
	return nil
}

func (p *process) getenv(name string) string {
	for _, entry := range p.env.Env {
		if k, v, ok := strings.Cut(entry, "="); ok && k == name {
			return v
		}
	}
	return ""
}

// servers builds the gRPC server and starts to listen for operators.
func (p *process) servers(ctx context.Context) ([]Part, error) {
	var err error
	p.server, err = rpc.NewServer(rpc.ServerConfig{
		Logger: p.logger, Tracer: p.telemetry.Tracer, Meter: p.telemetry.Meter, StopWithin: p.cfg.StopWithin.Std() / 2,
	})
	if err != nil {
		return nil, err
	}
	expected := []string{p.name}
	if p.shares() {
		expected = append(expected, membershipName)
	}
	p.health = NewHealth(func(ready bool) {
		p.server.SetReady("", ready)
		p.logger.Info("readiness changed", "ready", ready)
	}, expected...)
	if p.cfg.Admin == "" {
		return nil, nil
	}
	l, err := Listen(ctx, p.cfg.Admin)
	if err != nil {
		return nil, err
	}
	p.listening("admin", l.Addr())
	admin := NewHTTPServer(Admin(p.health, p.telemetry.Metrics), p.logger)
	return []Part{{"admin", Func(func(ctx context.Context) error {
		return ServeHTTP(ctx, admin, l, p.cfg.StopWithin.Std()/4)
	})}}, nil
}

func (p *process) listening(name string, at net.Addr) {
	p.logger.Info("listening", telemetry.KeyComponent, name, telemetry.KeyAddress, at.String())
}

// unlessStopped is err, or nil if the process was told to stop: then what it waited for did not fail.
func unlessStopped(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
		return nil
	default:
		return err
	}
}

// serve connects, builds the service and runs it with its gRPC server in front.
func (p *process) serve(ctx context.Context, build func(context.Context, Deps) (Component, error)) error {
	deps, err := p.connect(ctx)
	if err != nil {
		return unlessStopped(ctx, err)
	}
	listener, err := p.listenGRPC(ctx) // before the others are told of it
	if err != nil {
		return err
	}
	var group *membership.Group
	if p.shares() {
		if group, err = p.share(&deps, listener); err != nil {
			return err
		}
	}
	component, err := build(ctx, deps)
	if err != nil {
		return unlessStopped(ctx, err)
	}
	context.AfterFunc(ctx, p.health.Stopping)
	return Together(ctx, p.logger, p.cfg.StopWithin.Std(), p.parts(ctx, group, component, listener)...)
}

// parts are what runs together, the first stopped last. The replica joins the others before its service runs,
// which is ready only when it has taken over what is its part.
func (p *process) parts(ctx context.Context, group *membership.Group, component Component, listener net.Listener) []Part {
	var parts []Part
	if group != nil {
		p.join(ctx, group)
		parts = append(parts, Part{membershipName, group})
	}
	parts = append(parts, Part{p.name, component})
	if listener != nil {
		p.listening("grpc", listener.Addr())
		parts = append(parts, Part{"grpc", Func(func(ctx context.Context) error { return p.server.ServeUntil(ctx, listener) })})
	}
	return parts
}

// listenGRPC takes the address of the gRPC server; nil if there is to be none.
func (p *process) listenGRPC(ctx context.Context) (net.Listener, error) {
	if p.cfg.GRPC == "" {
		return nil, nil
	}
	l, err := Listen(ctx, p.cfg.GRPC)
	if err != nil {
		return nil, err
	}
	p.stack.Push("grpc listener", func(context.Context) error {
		_ = l.Close() // most likely closed by the server
		return nil
	})
	return l, nil
}

// dial connects to another process as this one.
func (p *process) dial(address string) (Conn, error) {
	return rpc.Dial(address, rpc.ClientConfig{Tracer: p.telemetry.Tracer, Meter: p.telemetry.Meter})
}

// deps is what does not need a connection.
func (p *process) deps() (Deps, error) {
	owner := func(int) bool { return true }
	if p.cfg.Partitions != auto {
		var err error
		if owner, err = ParseOwner(p.cfg.Partitions); err != nil {
			return Deps{}, err
		}
	}
	points, err := parseFailpoints(p.cfg.Failpoints)
	if err != nil {
		return Deps{}, err
	}
	if len(points) > 0 {
		p.logger.Warn("this process kills itself now and then: failpoints are set", "failpoints", p.cfg.Failpoints)
	}
	return Deps{
		Logger: p.logger, Tracer: p.telemetry.Tracer, Meter: p.telemetry.Meter,
		Runner: stage.NewFreeRunner(), Clock: clock.Wall{},
		GRPC: p.server, Ready: p.health.Set, Halted: p.health.Halt, Ownership: stage.Always(owner), Dial: p.dial, Points: deadly(points),
		Replica: p.cfg.Replica, Listening: p.listening,
	}, nil
}
