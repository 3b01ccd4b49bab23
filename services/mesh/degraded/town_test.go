package degraded

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/config"
	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/embed"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/snapshot"
	"refrain.dev/pkg/source"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/state"
	"refrain.dev/pkg/telemetry/telemetrytest"
	"refrain.dev/services/decision/decisionsvc"
	"refrain.dev/services/dispatch/dispatchsvc"
	"refrain.dev/services/ingest/ingestsvc"
	"refrain.dev/services/profile/profilesvc"
	"refrain.dev/services/suppression/suppressionsvc"
)

// patience bounds every wait on a busy machine.
const patience = 40 * time.Second

// town is the five services, each with a server and a clock of its own, on one log and one store; whatever they
// depend on can be taken away.
type town struct {
	t, top *testing.T  // the test that runs, and the one whose town it is
	broker *embed.NATS // nil on a cluster
	cfg    embed.NATSConfig
	nc     *nats.Conn
	site   *log.JetStream
	gen    log.Generation
	store  *frailStore
	kv     *frailKV
	skewed *skewed
	dir    string
	logs   *telemetrytest.Log
	conns  map[string]*grpc.ClientConn

	mu    sync.Mutex
	parts map[string]*part
	url   string
	ready map[string]bool
}

// part is a service that runs.
type part struct {
	stop  context.CancelFunc
	ended chan error
}

// option changes a town before it is built.
type option func(*town, *words)

// words fill in the shop.
type words map[string]string

// build makes a town on an embedded broker and runs it until the test ends.
func build(t *testing.T, opts ...option) *town {
	t.Helper()
	w := newTown(t)
	w.cfg = embed.NATSConfig{Dir: filepath.Join(w.dir, "log")}
	w.startBroker()
	nc, err := nats.Connect(w.broker.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close(); w.stopBroker() })
	w.open(nc, 1, opts...)
	return w
}

func newTown(t *testing.T) *town {
	t.Helper()
	return &town{
		t: t, top: t, dir: t.TempDir(), logs: &telemetrytest.Log{}, parts: map[string]*part{}, ready: map[string]bool{}, skewed: &skewed{},
		store: &frailStore{Store: state.NewMemory(), refused: map[string]int{}}, conns: map[string]*grpc.ClientConn{},
	}
}

// cell is what one service does under the test's condition.
func (w *town) cell(name string, check func(t *testing.T)) {
	w.top.Helper()
	w.top.Run(name, func(t *testing.T) {
		w.t = t
		defer func() { w.t = w.top }()
		check(t)
	})
}

func (w *town) startBroker() {
	w.t.Helper()
	var err error
	if w.broker, err = embed.StartNATS(w.cfg); err != nil {
		w.t.Fatal(err)
	}
	if w.cfg.Port == 0 { // the same one from now on
		at, err := net.ResolveTCPAddr("tcp", strings.TrimPrefix(w.broker.ClientURL(), "nats://"))
		if err != nil {
			w.t.Fatal(err)
		}
		w.cfg.Port = at.Port
	}
}

func (w *town) stopBroker() {
	if w.broker != nil {
		w.broker.Shutdown()
		w.broker = nil
	}
}

// open provisions the log, applies the shop and starts the services.
func (w *town) open(nc *nats.Conn, replicas int, opts ...option) {
	w.t.Helper()
	w.nc = nc
	var err error
	if w.site, err = log.NewJetStream(nc); err != nil {
		w.t.Fatal(err)
	}
	w.gen = log.Generation{Number: 1, Partitions: 2, Streams: 1, Replicas: replicas}
	if w.gen, err = log.Provision(w.t.Context(), w.site, w.gen, log.ProvisionConfig{Owner: "town", MaxBytes: 64 << 20}); err != nil {
		w.t.Fatal(err)
	}
	w.kv = &frailKV{KV: w.site.KV()}
	text := words{"EMAIL": "adapter: file, config: {path: email.jsonl}", "HOOK": "adapter: file, config: {path: hook.jsonl}"}
	for _, opt := range opts {
		opt(w, &text)
	}
	for _, name := range []string{"dispatch", "suppression", "decision", "profile", "ingest"} {
		w.start(name)
	}
	w.top.Cleanup(w.end)
	w.eventually("the services are ready", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.ready) == 5
	})
	w.apply(text)
}

func (w *town) end() {
	for _, name := range []string{"ingest", "profile", "decision", "suppression", "dispatch"} {
		w.stop(name)
	}
	if w.top.Failed() {
		w.t.Log(w.logs.End())
	}
}

// start runs a service; deps are its own, but for the log and the store.
func (w *town) start(name string) {
	w.t.Helper()
	server, err := rpc.NewServer(rpc.ServerConfig{StopWithin: time.Second})
	if err != nil {
		w.t.Fatal(err)
	}
	var c clock.Clock = clock.Wall{}
	if name == "dispatch" {
		c = w.skewed
	}
	deps := run.Deps{
		Logger: slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelWarn})).With("service", name),
		Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(),
		Broker: w.site, KV: w.kv, Bundles: source.Store{KV: w.kv, Objects: w.site.Objects()}, Objects: w.site.Objects(), Retention: snapshot.Settings{Look: 50 * time.Millisecond}, Store: w.store,
		Generation: w.gen, Runner: stage.NewFreeRunner(), Clock: c, GRPC: server, NATS: w.nc, Replica: name,
		Ownership: stage.Always(func(int) bool { return true }),
		Ready: func(name string, up bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if up {
				w.ready[name] = true
			}
		},
		Listening: func(_ string, at net.Addr) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.url = "http://" + at.String()
		},
		Dial: func(address string) (run.Conn, error) { return rpc.Dial(address, rpc.ClientConfig{}) },
	}
	service, err := w.make(name, deps)
	if err != nil {
		w.t.Fatalf("build %s: %v", name, err)
	}
	l, err := (&net.ListenConfig{}).Listen(w.top.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &part{stop: cancel, ended: make(chan error, 1)}
	go func() {
		p.ended <- run.Together(ctx, deps.Logger, 10*time.Second,
			run.Part{Name: name, Component: service}, run.Part{Name: "grpc", Component: run.Func(func(ctx context.Context) error { return server.ServeUntil(ctx, l) })})
	}()
	w.parts[name] = p
	if w.conns[name], err = rpc.Dial(l.Addr().String(), rpc.ClientConfig{}); err != nil {
		w.t.Fatal(err)
	}
	w.top.Cleanup(func() { _ = w.conns[name].Close() })
}

func (w *town) make(name string, deps run.Deps) (run.Component, error) {
	ctx := w.top.Context()
	switch name {
	case "dispatch":
		cfg := dispatchsvc.Default()
		cfg.DataDir = w.dir
		cfg.Secret = func(string) (string, bool) { return "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", true }
		return dispatchsvc.New(ctx, cfg, deps)
	case "suppression":
		return suppressionsvc.New(ctx, suppressionsvc.Default(), deps)
	case "decision":
		cfg := decisionsvc.Default()
		cfg.Deadline = config.Duration(5 * time.Second) // a busy machine is no finding
		return decisionsvc.New(ctx, cfg, deps)
	case "profile":
		return profilesvc.New(ctx, profilesvc.Default(), deps)
	default:
		cfg := ingestsvc.Default()
		cfg.HTTP = "127.0.0.1:0"
		return ingestsvc.New(ctx, cfg, deps)
	}
}

// stop ends a service in order; one that does not run is left alone.
func (w *town) stop(name string) {
	p := w.parts[name]
	if p == nil {
		return
	}
	p.stop()
	select {
	case err := <-p.ended:
		if err != nil {
			w.t.Logf("%s ended: %v", name, err)
		}
	case <-time.After(patience):
		w.t.Errorf("%s does not end", name)
	}
	w.parts[name] = nil
}

// apply lets the shop take effect.
func (w *town) apply(text words) {
	w.t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "meshsvc", "testdata", "shop", "shop.yaml"))
	if err != nil {
		w.t.Fatal(err)
	}
	shop := string(raw)
	all := words{"COLLECT": "PT0S", "THINK": "P30D", "CAP": "5"}
	maps.Copy(all, text)
	for k, v := range all {
		shop = strings.ReplaceAll(shop, "@"+k+"@", v)
	}
	dir := w.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "shop.yaml"), []byte(shop), 0o600); err != nil {
		w.t.Fatal(err)
	}
	src, diags := definition.Load(os.DirFS(dir))
	bundle := src.Bundle()
	_, more := catalog.Compile(bundle)
	for _, d := range append(diags, more...) {
		if d.Severity == definition.Error {
			w.t.Fatal(d)
		}
	}
	data, err := bundle.MarshalVT()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := source.Put(w.t.Context(), source.StoreOf(w.site), source.Bundle{Tenant: catalog.TenantOf(bundle), Revision: bundle.GetRevision(), Data: data}); err != nil {
		w.t.Fatal(err)
	}
	if err := source.Activate(w.t.Context(), source.StoreOf(w.site), w.site, w.gen.Partitions, bundle.GetRevision(), time.Now()); err != nil {
		w.t.Fatal(err)
	}
}

// ends are the last sequences of a family of chains.
func (w *town) ends(chain string) []uint64 {
	w.t.Helper()
	var out []uint64
	for p := range w.gen.Partitions {
		m, err := w.site.Last(w.t.Context(), log.Subject(chain, p))
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, m.Sequence)
	}
	return out
}

func (w *town) eventually(what string, ok func() bool) {
	w.t.Helper()
	over := time.NewTimer(patience)
	defer over.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-over.C:
			w.t.Fatalf("waited %s in vain: %s", patience, what)
		case <-tick.C:
		}
	}
}
