package meshsvc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/embed"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/snapshot"
	"refrain.dev/pkg/source"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/state"
	"refrain.dev/pkg/telemetry"
	"refrain.dev/services/decision/decisionsvc"
	"refrain.dev/services/dispatch/dispatchsvc"
	"refrain.dev/services/ingest/ingestsvc"
	"refrain.dev/services/profile/profilesvc"
	"refrain.dev/services/suppression/suppressionsvc"
)

// Mesh is the five services in one process. It is made by New and run once.
type Mesh struct {
	cfg       Config
	base      *slog.Logger // says nothing about the service
	logger    *slog.Logger
	telemetry *telemetry.Telemetry
	stack     run.Stack
	health    *run.Health
	server    *rpc.Server
	nats      *nats.Conn
	doors     doors
	site      *log.JetStream
	replay    *stage.Replay
	deps      run.Deps
	applied   bool // a workspace at the start
	parts     []run.Part

	mu    sync.Mutex
	heard map[string]net.Addr
}

// Env is what the process is started with.
type Env struct {
	// Log takes the log lines.
	Log io.Writer
	// Getenv reads the environment, for the standard OpenTelemetry variables.
	Getenv func(string) string
}

// New starts what the services need and builds them. Whatever it started is stopped again if it fails.
func New(ctx context.Context, cfg Config, env Env) (_ *Mesh, err error) {
	m := &Mesh{cfg: cfg, heard: map[string]net.Addr{}}
	defer func() {
		if err != nil && m.logger != nil {
			err = errors.Join(err, m.stack.Stop(ctx, cfg.StopWithin.Std(), m.logger))
		}
	}()
	steps := []func(context.Context) error{
		func(ctx context.Context) error { return m.observe(ctx, env) },
		m.openLog, m.openStore, m.chooseClock, m.serveRPC, m.openDoors, m.buildServices, m.serveDoors, m.applyWorkspace,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Mesh) observe(ctx context.Context, env Env) error {
	if err := os.MkdirAll(m.cfg.Dir, 0o750); err != nil {
		return fmt.Errorf("make the mesh's directory: %w", err)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(m.cfg.LogLevel)); err != nil {
		return fmt.Errorf("log_level: %w", err)
	}
	m.base = telemetry.NewLogger(env.Log, level)
	m.logger = m.base.With("service", "mesh")
	var err error
	m.telemetry, err = telemetry.Start(ctx, telemetry.Config{Service: "refrain-mesh", Replica: "mesh", Prometheus: true, Getenv: env.Getenv})
	if err != nil {
		return err
	}
	m.stack.Push("telemetry", run.FlushTelemetry(m.telemetry, m.logger))
	return nil
}

// openLog starts or reaches NATS, and provisions the generation: the mesh is its own provisioner.
func (m *Mesh) openLog(ctx context.Context) error {
	durability, err := m.reachNATS(ctx)
	if err != nil {
		return err
	}
	m.stack.Push("nats", func(context.Context) error { m.nats.Close(); return nil })
	if m.site, err = log.NewJetStream(m.nats); err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	gen := log.Generation{Number: 1, Partitions: m.cfg.Partitions, Streams: 1, Replicas: 1}
	gen, err = log.Provision(ctx, m.site, gen, log.ProvisionConfig{Owner: "mesh"})
	if _, anew := errors.AsType[*log.AnewError](err); anew {
		m.logger.ErrorContext(ctx, "streams are not those that were provisioned; what reads them is halted", telemetry.KeyError, err)
	} else if err != nil {
		return err
	}
	m.deps.Generation = gen
	m.logger.InfoContext(ctx, "log is open", "generation", gen.Number, "partitions", gen.Partitions, "durability", durability.String())
	return nil
}

// reachNATS connects to the NATS that is configured, or to an embedded one that it starts, and says what it
// found about when messages are synced to disk.
func (m *Mesh) reachNATS(ctx context.Context) (log.Durability, error) {
	if m.cfg.NATS != "" {
		nc, err := nats.Connect(m.cfg.NATS, nats.Name("refrain-mesh"), nats.MaxReconnects(-1),
			nats.PingInterval(2*time.Second), nats.MaxPingsOutstanding(2))
		if err != nil {
			return log.Durability{}, fmt.Errorf("connect to NATS at %s: %w", m.cfg.NATS, err)
		}
		m.nats = nc
		return log.ProbeDurability(ctx, nc), nil
	}
	server, err := embed.StartNATS(embed.NATSConfig{
		Dir: filepath.Join(m.cfg.Dir, "log"), Port: m.cfg.NATSPort, SyncAlways: m.cfg.SyncAlways, Name: "refrain-mesh",
	})
	if err != nil {
		return log.Durability{}, fmt.Errorf("%w; is another mesh running on this directory or port? --dir and --nats-port choose others", err)
	}
	m.stack.Push("nats server", func(context.Context) error { server.Shutdown(); return nil })
	if m.nats, err = server.Connect(); err != nil {
		return log.Durability{}, err
	}
	if addr, err := net.ResolveTCPAddr("tcp", trimScheme(server.ClientURL())); err == nil {
		m.heardFrom("nats", addr)
	}
	return server.Durability(), nil
}

func trimScheme(url string) string {
	const scheme = "nats://"
	if len(url) > len(scheme) && url[:len(scheme)] == scheme {
		return url[len(scheme):]
	}
	return url
}

// chooseClock makes the replay clock, unless it was ended for good.
func (m *Mesh) chooseClock(ctx context.Context) error {
	m.deps.Broker, m.deps.KV = m.site, m.site.KV()
	m.deps.Bundles, m.deps.Objects, m.deps.Retention = source.StoreOf(m.site), m.site.Objects(), m.cfg.Retention.Settings()
	m.deps.Runner, m.deps.Clock = stage.NewFreeRunner(), clock.Wall{}
	if m.cfg.Clock != ClockReplay {
		return nil
	}
	ended, err := wasSwitched(ctx, m.deps.KV)
	if err != nil {
		return err
	}
	if ended {
		m.logger.WarnContext(ctx, "the replay clock of this mesh was ended for good; the wall clock goes on")
		return nil
	}
	replay, err := stage.NewReplay(ctx, m.site, m.deps.Generation, len(log.Stages()))
	if err != nil {
		return err
	}
	m.replay = replay
	m.deps.Broker, m.deps.Runner, m.deps.Clock, m.deps.Stamper = replay.Broker(), replay, replay, replay
	m.deps.Store = replay.Store(m.deps.Store, snapshot.NewLibrary(m.deps.Objects, m.deps.KV, m.deps.Generation.Number))
	return nil
}

func (m *Mesh) serveRPC(context.Context) error {
	server, err := rpc.NewServer(rpc.ServerConfig{
		Logger: m.logger, Tracer: m.telemetry.Tracer, Meter: m.telemetry.Meter, StopWithin: m.cfg.StopWithin.Std() / 2,
	})
	if err != nil {
		return err
	}
	m.server = server
	m.health = run.NewHealth(func(ready bool) { server.SetReady("", ready) }, "profile", "decision", "suppression", "dispatch", "ingest")
	if m.replay != nil {
		stagev1.RegisterClockServiceServer(server, m.clockServer())
	}
	m.deps.Logger, m.deps.Tracer, m.deps.Meter = m.logger, m.telemetry.Tracer, m.telemetry.Meter
	m.deps.GRPC, m.deps.Ready, m.deps.NATS = server, m.health.Set, m.nats
	m.deps.Ownership = stage.Always(func(int) bool { return true })
	m.deps.Dial = func(address string) (run.Conn, error) {
		return rpc.Dial(address, rpc.ClientConfig{Tracer: m.telemetry.Tracer, Meter: m.telemetry.Meter})
	}
	m.deps.Replica, m.deps.Listening = "mesh", m.heardFrom
	return nil
}

// buildServices builds the five with their own constructors, in the order in which they are started:
// from the last stage to the first, so that nothing is produced before somebody listens.
func (m *Mesh) buildServices(ctx context.Context) error {
	m.cfg.Dispatch.DataDir = filepath.Join(m.cfg.Dir, "channels")
	if m.doors.grpc != nil && m.cfg.Decision.Suppression == "" {
		m.cfg.Decision.Suppression = reachable(m.doors.grpc.Addr()) // queries that reserve ask suppression as everybody does
	}
	if m.doors.ingest != nil {
		m.cfg.Ingest.Listener = m.doors.ingest
		m.cfg.Dispatch.PublicURL = cmp.Or(m.cfg.Dispatch.PublicURL, "http://"+reachable(m.doors.ingest.Addr()))
	}
	m.cfg.Decision.PublicURL = cmp.Or(m.cfg.Dispatch.PublicURL, dispatchsvc.DefaultPublicURL) // items have the links that mails have
	catalogs := &catalog.Cache{}
	m.cfg.Profile.Catalogs, m.cfg.Decision.Catalogs = catalogs, catalogs
	m.cfg.Suppression.Catalogs, m.cfg.Dispatch.Catalogs = catalogs, catalogs
	builds := []struct {
		name  string
		build func() (run.Component, error)
	}{
		{"dispatch", func() (run.Component, error) { return dispatchsvc.New(ctx, m.cfg.Dispatch, m.named("dispatch")) }},
		{"suppression", func() (run.Component, error) {
			return suppressionsvc.New(ctx, m.cfg.Suppression, m.named("suppression"))
		}},
		{"decision", func() (run.Component, error) { return decisionsvc.New(ctx, m.cfg.Decision, m.named("decision")) }},
		{"profile", func() (run.Component, error) { return profilesvc.New(ctx, m.cfg.Profile, m.named("profile")) }},
		{"ingest", func() (run.Component, error) { return ingestsvc.New(ctx, m.cfg.Ingest, m.named("ingest")) }},
	}
	for _, b := range builds {
		c, err := b.build()
		if err != nil {
			return fmt.Errorf("build %s: %w", b.name, err)
		}
		m.parts = append(m.parts, run.Part{Name: b.name, Component: c})
	}
	return nil
}

func (m *Mesh) named(service string) run.Deps {
	d := m.deps
	d.Logger = m.base.With("service", service)
	return d
}

// Run runs the mesh until ctx ends or one of its parts fails, and stops everything that New started.
func (m *Mesh) Run(ctx context.Context) error {
	unwatch := context.AfterFunc(ctx, m.health.Stopping)
	defer unwatch()
	if m.replay != nil {
		m.parts = append(m.parts, run.Part{Name: "replay clock", Component: run.Func(m.drive)})
	}
	waiting, stopWaiting := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { m.awaitWorkspace(waiting) })
	defer wg.Wait()
	defer stopWaiting()
	err := run.Together(ctx, m.logger, m.cfg.StopWithin.Std(), m.parts...)
	return errors.Join(err, m.stack.Stop(ctx, m.cfg.StopWithin.Std(), m.logger))
}

// drive runs the replay clock; after a switch nothing is left to do here.
func (m *Mesh) drive(ctx context.Context) error {
	if err := m.replay.Drive(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// Ready says whether every service has caught up, and what is still waited for.
func (m *Mesh) Ready() (waiting []string) { return m.health.Waiting() }

// Addr is where a part listens: nats, grpc, admin, ingest-http. Nil if it does not.
func (m *Mesh) Addr(name string) net.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.heard[name]
}

func (m *Mesh) heardFrom(name string, at net.Addr) {
	m.logger.Info("listening", telemetry.KeyComponent, name, telemetry.KeyAddress, at.String())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heard[name] = at
}

// Replay is the mesh's replay clock; nil on the wall clock.
func (m *Mesh) Replay() *stage.Replay { return m.replay }

// Site is the mesh's log, for whoever checks it.
func (m *Mesh) Site() *log.JetStream { return m.site }

// Generation is the mesh's generation.
func (m *Mesh) Generation() log.Generation { return m.deps.Generation }

// Store is the mesh's state store.
func (m *Mesh) Store() state.Store { return m.deps.Store }
