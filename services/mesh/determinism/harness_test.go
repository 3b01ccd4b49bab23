package determinism

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"golang.org/x/sync/errgroup"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/run"
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
const patience = 60 * time.Second

// shape is what facts must not depend on.
type shape struct{ partitions, batch int }

// mesh is one log with everything that outlives a process.
type mesh struct {
	t     *testing.T
	shape shape
	site  *log.Memory
	gen   log.Generation
	dir   string
	logs  *telemetrytest.Log
}

func newMesh(t *testing.T, s shape) *mesh {
	t.Helper()
	site, gen, err := log.ProvisionMemory(t.Context(), log.Generation{Number: 1, Partitions: s.partitions, Streams: 1, Replicas: 1})
	if err != nil {
		t.Fatalf("provision: %v", err)
	}
	return &mesh{t: t, shape: s, site: site, gen: gen, dir: t.TempDir(), logs: &telemetrytest.Log{}}
}

// process is one life of the five services.
type process struct {
	t      *testing.T
	mesh   *mesh
	line   *line
	replay *stage.Replay
	deps   run.Deps
	url    string
	cancel context.CancelFunc
	ended  chan error
}

// start builds the services on the mesh's log with an empty store, and waits until they are ready.
func (m *mesh) start() *process {
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{t: m.t, mesh: m, line: &line{Broker: m.site, open: map[string]bool{}}, cancel: cancel, ended: make(chan error, 1)}
	replay, err := stage.NewReplay(ctx, p.line, m.gen, len(log.Stages()))
	if err != nil {
		m.t.Fatalf("make the replay clock: %v", err)
	}
	p.replay = replay
	server, err := rpc.NewServer(rpc.ServerConfig{StopWithin: time.Second})
	if err != nil {
		m.t.Fatalf("make the server: %v", err)
	}
	listening := make(chan net.Addr, 1)
	ready := make(chan string, 64)
	p.deps = run.Deps{
		Logger: slog.New(slog.NewTextHandler(m.logs, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(),
		Broker: replay.Broker(), KV: lineKV{m.site.KV(), p.line}, Bundles: source.StoreOf(m.site), Store: state.NewMemory(), Generation: m.gen,
		Runner: replay, Clock: replay, Stamper: replay, GRPC: server,
		Ready: func(name string, up bool) {
			if up {
				ready <- name
			}
		},
		Ownership: stage.Always(func(int) bool { return true }), Replica: "test",
		Listening: func(_ string, at net.Addr) { listening <- at },
	}
	p.run(ctx)
	for want := 5; want > 0; want-- {
		p.await("a service to be ready", ready)
	}
	p.url = "http://" + (<-listening).String()
	return p
}

func (p *process) await(what string, on <-chan string) {
	p.t.Helper()
	select {
	case <-on:
	case err := <-p.ended:
		p.t.Fatalf("wait for %s: the process ended: %v", what, err)
	case <-time.After(patience):
		p.t.Fatalf("waited %s for %s in vain\n%s", patience, what, p.mesh.logs.End())
	}
}

func (p *process) run(ctx context.Context) {
	p.t.Helper()
	g, gctx := errgroup.WithContext(ctx)
	for _, c := range p.build(ctx) {
		g.Go(func() error { return c.Run(gctx) })
	}
	g.Go(func() error { return p.replay.Drive(gctx) })
	go func() { p.ended <- g.Wait() }()
}

func (p *process) build(ctx context.Context) []run.Component {
	p.t.Helper()
	batch := p.mesh.shape.batch
	dispatch, suppression, decision := dispatchsvc.Default(), suppressionsvc.Default(), decisionsvc.Default()
	profile, ingest := profilesvc.Default(), ingestsvc.Default()
	dispatch.Batch, suppression.Batch, decision.Batch, profile.Batch = batch, batch, batch, batch
	dispatch.DataDir, ingest.HTTP = p.mesh.dir, "127.0.0.1:0"
	var all []run.Component
	add := func(c run.Component, err error) {
		p.t.Helper()
		if err != nil {
			p.t.Fatalf("build: %v", err)
		}
		all = append(all, c)
	}
	add(dispatchsvc.New(ctx, dispatch, p.deps))
	add(suppressionsvc.New(ctx, suppression, p.deps))
	add(decisionsvc.New(ctx, decision, p.deps))
	add(profilesvc.New(ctx, profile, p.deps))
	add(ingestsvc.New(ctx, ingest, p.deps))
	return all
}

// apply lets a workspace take effect.
func (p *process) apply(bundle *definitionv1.Bundle) {
	p.t.Helper()
	data, err := bundle.MarshalVT()
	if err != nil {
		p.t.Fatal(err)
	}
	ctx := p.t.Context()
	if err := source.Put(ctx, p.deps.Bundles, source.Bundle{Tenant: catalog.TenantOf(bundle), Revision: bundle.GetRevision(), Data: data}); err != nil {
		p.t.Fatal(err)
	}
	if err := source.Activate(ctx, p.deps.Bundles, p.deps.Broker, p.mesh.gen.Partitions, bundle.GetRevision(), p.replay.Now()); err != nil {
		p.t.Fatal(err)
	}
}

// workspace compiles the retail example; with a collect window of its own if one is given.
func workspace(t *testing.T, collect string) *definitionv1.Bundle {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../../examples/retail")); err != nil {
		t.Fatal(err)
	}
	if collect != "" {
		file := dir + "/placements.yaml"
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		changed := bytes.ReplaceAll(text, []byte("collect: PT10M"), []byte("collect: "+collect))
		if bytes.Equal(changed, text) {
			t.Fatal("the example's placement collects no PT10M any more")
		}
		if err := os.WriteFile(file, changed, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	src, diags := definition.Load(os.DirFS(dir))
	bundle := src.Bundle()
	_, more := catalog.Compile(bundle)
	for _, d := range append(diags, more...) {
		if d.Severity == definition.Error {
			t.Fatalf("workspace: %v", d)
		}
	}
	return bundle
}

// publish posts one batch; false if the process is gone.
func (p *process) publish(body []byte) bool {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.url+"/v1/batch", bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth("key", "")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		if p.line.down.Load() {
			return false
		}
		p.t.Fatalf("publish: %v", err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err == nil && resp.StatusCode == http.StatusOK && !bytes.Contains(answer, []byte(`"refused"`)):
		return true
	case p.line.down.Load():
		return false
	}
	p.t.Fatalf("publish: %d %s %v", resp.StatusCode, answer, err)
	return false
}

// settle lets the clock run on and waits until nothing is left to do; false if the process is gone.
func (p *process) settle(until time.Time) bool {
	p.t.Helper()
	p.replay.Advance(func(time.Time) time.Time { return until })
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	over := time.After(patience)
	for !p.replay.Status().Settled {
		select {
		case <-tick.C:
		case err := <-p.ended:
			p.ended <- err
			if p.line.down.Load() {
				return false
			}
			p.t.Fatalf("settle: the process ended: %v", err)
		case <-over:
			p.t.Fatalf("never settled: %+v\n%s", p.replay.Status(), p.mesh.logs.End())
		}
		if p.line.down.Load() {
			return false
		}
	}
	return !p.line.down.Load()
}

// stop ends the process in order.
func (p *process) stop() {
	p.t.Helper()
	p.cancel()
	if err := <-p.ended; err != nil {
		p.t.Fatalf("stop: %v", err)
	}
}

// kill lets go of the process as it is: nothing that it still does reaches the log.
func (p *process) kill() {
	p.line.down.Store(true)
	p.cancel()
	<-p.ended // with whatever errors
}

// line is a process' connection to the log. It breaks for good after a number of writes, or when it is cut.
type line struct {
	log.Broker

	writes, breakAt atomic.Int64
	down            atomic.Bool
	// intents counts the declared ones without an outcome. The line holds while there are any: a process
	// that dies between the two leaves a doubt, which is settled later, and rightly on record.
	intents atomic.Int64
	mu      sync.Mutex
	open    map[string]bool // their proposals
}

var errDown = fault.As(fault.Unavailable, errors.New("the process is dead"))

// write counts a write that is about to be made.
func (l *line) write() error {
	if n := l.writes.Add(1); l.breakAt.Load() > 0 && n >= l.breakAt.Load() && l.intents.Load() == 0 {
		l.down.Store(true)
	}
	return l.read()
}

func (l *line) read() error {
	if l.down.Load() {
		return errDown
	}
	return nil
}

// Append implements log.Broker.
func (l *line) Append(ctx context.Context, subject string, expect uint64, data []byte) (uint64, error) {
	if err := l.write(); err != nil {
		return 0, err
	}
	seq, err := l.Broker.Append(ctx, subject, expect, data)
	if err == nil && strings.HasPrefix(subject, "snd.") {
		l.follow(data)
	}
	return seq, err
}

// follow notes the INTENTs and outcomes in a record of SENDS.
func (l *line) follow(data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.intents.Store(int64(len(l.open))) }()
	rec := &stagev1.Record{}
	if rec.UnmarshalVT(data) != nil {
		return
	}
	for _, c := range rec.GetCells() {
		body := &stagev1.CellBody{}
		if body.UnmarshalVT(c.GetSealed()) != nil {
			continue
		}
		for _, raw := range body.GetFacts() {
			f := &dispatchv1.Fact{}
			if f.UnmarshalVT(raw) != nil {
				continue
			}
			if i := f.GetIntentDeclared(); i != nil {
				l.open[i.GetProposal()] = true
			}
			delete(l.open, f.GetDeliveryReported().GetProposal())
		}
	}
}

// Publish implements log.Broker.
func (l *line) Publish(ctx context.Context, subject string, data []byte) (uint64, error) {
	if err := l.write(); err != nil {
		return 0, err
	}
	return l.Broker.Publish(ctx, subject, data)
}

// Last implements log.Broker.
func (l *line) Last(ctx context.Context, subject string) (log.Message, error) {
	if err := l.read(); err != nil {
		return log.Message{}, err
	}
	return l.Broker.Last(ctx, subject)
}

// lineKV is the same connection's KV store.
type lineKV struct {
	log.KV

	line *line
}

// Put implements log.KV.
func (k lineKV) Put(ctx context.Context, key string, value []byte) error {
	if err := k.line.read(); err != nil {
		return err
	}
	return k.KV.Put(ctx, key, value)
}
