package shop

import (
	"context"
	"fmt"
	"strings"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"

	"refrain.dev/pkg/config"
	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/simulate"
	"refrain.dev/pkg/snapshot"
	"refrain.dev/pkg/source"
	"refrain.dev/pkg/stage"
	"refrain.dev/services/decision/decisionsvc"
	"refrain.dev/services/dispatch/dispatchsvc"
	"refrain.dev/services/ingest/ingestsvc"
	"refrain.dev/services/profile/profilesvc"
	"refrain.dev/services/suppression/suppressionsvc"
)

// names of the services, in the order in which an event passes them.
func names() []string {
	return []string{"ingest", "profile", "decision", "suppression", "dispatch"}
}

// replicas of every service.
const replicas = 2

func replica(service string, n int) string { return fmt.Sprintf("%s-%d", service, n) }

// nodes that may be hit.
func nodes() []string {
	var all []string
	for _, service := range names() {
		for n := range replicas {
			all = append(all, replica(service, n))
		}
	}
	return all
}

// startServices starts every replica on a node of its own.
func (m *mesh) startServices() {
	for _, name := range nodes() {
		service, _, _ := strings.Cut(name, "-")
		m.world.Node(name, simulate.NodeConfig{Interceptor: translated}).Start(func(p *simulate.Process) error {
			return m.runService(p, service)
		})
	}
}

// runService builds and runs a service until its process is told to stop.
func (m *mesh) runService(p *simulate.Process, service string) error {
	deps := m.deps(p)
	if service == "ingest" {
		c, err := m.build(p, service, deps)
		if err != nil {
			return fmt.Errorf("build %s: %w", p.Name(), err)
		}
		return c.Run(p.Context()) //nolint:wrapcheck // the process says it
	}
	g, err := m.share(p, service, &deps)
	if err != nil {
		return err
	}
	c, err := m.build(p, service, deps)
	if err != nil {
		return fmt.Errorf("build %s: %w", p.Name(), err)
	}
	return together(p, g, c)
}

// build makes a service with the constructor that its own main function uses.
func (m *mesh) build(p *simulate.Process, service string, deps run.Deps) (run.Component, error) {
	switch service {
	case "ingest":
		cfg := ingestsvc.Default()
		cfg.WriteKeys = map[string]config.Secret{firstTenant: config.Secret(writeKey(firstTenant)), secondTenant: config.Secret(writeKey(secondTenant))}
		cfg.HTTP, cfg.SampleEvery, cfg.LookEvery = "", config.Duration(5*time.Second), config.Duration(2*time.Second)
		return ingestsvc.New(p.Context(), cfg, deps)
	case "profile":
		cfg := profilesvc.Default()
		cfg.Batch = m.batch(cfg.Batch)
		cfg.Catalogs = m.cache
		return profilesvc.New(p.Context(), cfg, deps)
	case "decision":
		cfg := decisionsvc.Default()
		cfg.Batch = m.batch(cfg.Batch)
		cfg.Catalogs, cfg.Suppression = m.cache, replica("suppression", 0)
		return decisionsvc.New(p.Context(), cfg, deps)
	case "suppression":
		cfg := suppressionsvc.Default()
		cfg.Batch = m.batch(cfg.Batch)
		cfg.Catalogs, cfg.Lease = m.cache, config.Duration(20*time.Second)
		return suppressionsvc.New(p.Context(), cfg, deps)
	case "dispatch":
		cfg := dispatchsvc.Default()
		cfg.Batch = m.batch(cfg.Batch)
		cfg.Catalogs, cfg.Adapters = m.cache, m.desk.adapters(p)
		return dispatchsvc.New(p.Context(), cfg, deps)
	}
	return nil, fmt.Errorf("no service %s", service)
}

// deps is what package run gives a process, from the world.
func (m *mesh) deps(p *simulate.Process) run.Deps {
	name := p.Node().Name()
	deps := run.Deps{
		Logger: m.logger.With("at", p.Name()), Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(),
		Broker: p.Broker(), KV: p.KV(), Bundles: store(p), Store: p.Store(), Generation: m.gen, Runner: stage.NewFreeRunner(), Clock: p.Clock(),
		GRPC: p.Registrar(), Ready: func(string, bool) {}, Points: p.Points(), Replica: name,
		Dial: func(address string) (run.Conn, error) { return conn{p.Dial(address)}, nil },
	}
	if m.keeps() {
		deps.Objects, deps.Retention = p.Objects(), m.retention()
		deps.Broker = archived{deps.Broker, m.archive} // dead letters go, too
	}
	return deps
}

// store is where a process finds catalogs.
func store(p *simulate.Process) source.Store { return source.Store{KV: p.KV(), Objects: p.Objects()} }

// keeps says whether snapshots are taken in this run, trims whether the log behind them goes as well.
func (m *mesh) keeps() bool { return m.seed%3 == 1 }
func (m *mesh) trims() bool { return trims(m.seed) }

func trims(seed uint64) bool { return seed%9 == 1 || small(seed) }

// small says whether streams are so small in a run that it fills them: then what is old makes room for what comes.
func small(seed uint64) bool { return seed%9 == 7 }

// batch is how many inputs a record takes: few where streams are small, or a record would be a quarter of a stream.
func (m *mesh) batch(standard int) int {
	if small(m.seed) {
		return 3
	}
	return standard
}

// retention is what an hour and 72 hours are in a run of a minute.
func (m *mesh) retention() snapshot.Settings {
	s := snapshot.Settings{
		Every: 6 * time.Second, Records: 25, Audit: 4 * time.Second, Look: 10 * time.Second, Grace: 30 * time.Second, Part: 2 << 10,
		Unused: 8 * time.Second,
	}
	switch {
	case small(m.seed):
		s.History, s.Inputs = time.Hour, time.Hour
	case m.trims():
		s.History, s.Inputs = time.Second, 12*time.Second
	}
	return s
}

// conn is a connection that needs no closing.
type conn struct{ grpc.ClientConnInterface }

// Close implements run.Conn.
func (conn) Close() error { return nil }

// translated gives errors the status that a server of package rpc gives them.
func translated(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	res, err := next(ctx, req)
	if err != nil {
		return nil, rpc.Status(err).Err()
	}
	return res, nil
}
