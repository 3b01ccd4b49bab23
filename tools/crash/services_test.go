package crash

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"refrain.dev/pkg/embed"
	"refrain.dev/pkg/embed/embedtest"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
	programs "refrain.dev/tools/internal/fleet"
	"refrain.dev/tools/ledger"
)

// fleet is the services as processes over a NATS in the test and a Redis of their own.
type fleet struct {
	t         *testing.T
	dir       string
	site      *log.JetStream
	gen       log.Generation
	store     state.Store
	desk      *receiver
	processes []*process // in the order of the flow; ingest comes twice
}

const fleetPartitions = 4

// newFleet makes one process of every stage.
func newFleet(ctx context.Context, t *testing.T) *fleet {
	t.Helper()
	return newFleetOf(ctx, t, []string{"ingest-1", "ingest-2", "profile", "decision", "suppression", "dispatch"})
}

// newFleetOf makes processes of these names, service-number; two of ingest come first. The stages' have more
// settings.
func newFleetOf(ctx context.Context, t *testing.T, names []string, settings ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, dir: t.TempDir(), desk: newReceiver(t)}
	addr := embedtest.Redis(t)
	nats, err := embed.StartNATS(embed.NATSConfig{Dir: filepath.Join(f.dir, "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nats.Shutdown)
	nc, err := nats.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if f.site, err = log.NewJetStream(nc); err != nil {
		t.Fatal(err)
	}
	gen := log.Generation{Number: 1, Partitions: fleetPartitions, Streams: 1, Replicas: 1}
	if f.gen, err = log.Provision(ctx, f.site, gen, log.ProvisionConfig{Owner: "test"}); err != nil {
		t.Fatal(err)
	}
	client := redis.NewUniversalClient(state.RedisOptions(addr))
	t.Cleanup(func() { _ = client.Close() })
	f.store = state.NewRedis(client, f.gen.Number)
	f.apply(ctx)
	bin := build(t, "ingest", "profile", "decision", "suppression", "dispatch")
	for _, name := range names {
		service, _, _ := strings.Cut(name, "-")
		args := []string{"--nats", nats.ClientURL(), "--replica", name, "--grpc", "127.0.0.1:0", "--admin", ""}
		switch service {
		case "ingest":
			args = append(args, "--http", "127.0.0.1:0", "--max-lag", "10m")
		case "dispatch":
			args = append(args, "--redis", addr, "--data-dir", filepath.Join(f.dir, "channels"))
		default:
			args = append(args, "--redis", addr)
		}
		if service != "ingest" {
			args = append(args, settings...)
		}
		p := newProcess(t, f.dir, name, filepath.Join(bin, service), args...)
		f.processes = append(f.processes, p)
	}
	return f
}

// apply lets the workspace in testdata take effect, with the desk's address.
func (f *fleet) apply(ctx context.Context) {
	f.t.Helper()
	dir := filepath.Join(f.dir, "workspace")
	if err := os.CopyFS(dir, os.DirFS("testdata/shop")); err != nil {
		f.t.Fatal(err)
	}
	desk := fmt.Sprintf(`apiVersion: refrain/v1
kind: Channel
metadata: {name: desk}
spec: {adapter: webhook, timeout: PT1S, config: {url: %q, secret_env: CRASH_WEBHOOK_SECRET}}
`, f.desk.server.URL)
	if err := os.WriteFile(filepath.Join(dir, "desk.yaml"), []byte(desk), 0o600); err != nil {
		f.t.Fatal(err)
	}
	compiled, err := programs.Compile(dir)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := compiled.Apply(ctx, f.site, f.gen); err != nil {
		f.t.Fatal(err)
	}
}

// urls are where the replicas of ingest listen now.
func (f *fleet) urls() []string {
	return []string{f.processes[0].addr("ingest-http"), f.processes[1].addr("ingest-http")}
}

// allReady waits until every process says that it is ready.
func (f *fleet) allReady(ctx context.Context) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := await(ctx, "all services to be ready", func() bool {
		return !slices.ContainsFunc(f.processes, func(p *process) bool { return !p.isReady() })
	})
	if err != nil {
		f.trouble()
		f.t.Fatal(err)
	}
}

// trouble fails the test with everything that processes should not have done.
func (f *fleet) trouble() {
	f.t.Helper()
	for _, p := range f.processes {
		for _, what := range p.trouble() {
			f.t.Errorf("%s: %s", p.name, what)
		}
	}
}

// killing kills processes at random moments: each on its own, and now and then all at once.
func (f *fleet) killing(ctx context.Context, plan plan, kills int) (strikes int) {
	order := plan.random.Perm(kills)
	for n := 0; n < kills && ctx.Err() == nil; n++ {
		pause(ctx, between(plan.random, 300*time.Millisecond, 2500*time.Millisecond))
		victims := []*process{f.processes[order[n]%len(f.processes)]}
		if n%6 == 5 {
			victims = f.processes
		}
		f.trouble()
		var wg sync.WaitGroup
		for _, p := range victims {
			wg.Go(p.kill)
		}
		wg.Wait()
		pause(ctx, between(plan.random, 0, 400*time.Millisecond))
		for _, p := range victims {
			if err := p.start(); err != nil {
				f.t.Fatal(err)
			}
		}
		strikes += len(victims)
	}
	return strikes
}

// quiet waits until nothing was appended to any chain for a while, longer than any timer of dispatch that
// finds out what became of a call whose process is gone.
func (f *fleet) quiet(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var before map[string]uint64
	since := time.Now()
	for {
		now, err := programs.Heads(ctx, f.site, f.gen)
		if err != nil {
			return err
		}
		if !maps.Equal(before, now) {
			before, since = now, time.Now()
		}
		if time.Since(since) > 4*time.Second {
			open, err := f.open(ctx)
			if err != nil {
				return err
			}
			if open == 0 {
				return nil
			}
		}
		pause(ctx, 500*time.Millisecond)
		if ctx.Err() != nil {
			open, _ := f.open(context.WithoutCancel(ctx))
			return fmt.Errorf("not settled in %s, %d things open", within, open)
		}
	}
}

// open counts proposals and deliveries that have no end yet.
func (f *fleet) open(ctx context.Context) (int, error) {
	h, err := ledger.Load(ctx, f.site, nil, f.gen)
	if err != nil {
		return 0, err
	}
	report := ledger.Verify(h)
	return report.Totals.Open + report.OpenDeliveries, nil
}

// stopAll ends all processes gracefully, from the first of the flow to the last.
func (f *fleet) stopAll() {
	f.t.Helper()
	f.trouble()
	for _, p := range f.processes {
		if err := p.stop(); err != nil {
			f.t.Errorf("%s did not stop cleanly: %v", p.name, err)
		}
	}
}

// TestServicesSurviveKills kills every service as a process of its own, and all at once, while events come
// in, and counts afterwards.
func TestServicesSurviveKills(t *testing.T) {
	embedtest.Require(t, "redis")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	kills, rate := 24, 40
	if testing.Short() {
		kills, rate = 8, 30
	}
	f := newFleet(ctx, t)
	random := random(t)
	for _, p := range f.processes {
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
	}
	f.allReady(ctx)
	events := &traffic{t: t, random: random, urls: f.urls}
	publishing, stop := context.WithCancel(ctx)
	published := make(chan struct{})
	go func() { defer close(published); events.run(publishing, rate) }()
	imported := f.importLive(ctx, 7)
	started := time.Now()
	strikes := f.killing(ctx, plan{ctx: ctx, random: plannedBy(random)}, kills)
	f.allReady(ctx)
	pause(ctx, time.Second)
	stop()
	<-published
	events.accepted = append(events.accepted, imported()...)
	chaos := time.Since(started)
	t.Logf("%d moments, %d kills in %s; %d events acknowledged after %d retries, %d refused", kills, strikes,
		chaos.Round(time.Second), len(events.accepted), events.retries, len(events.refused))
	if err := f.quiet(ctx, 100*time.Second); err != nil {
		t.Error(err)
	}
	t.Logf("settled after another %s", (time.Since(started) - chaos).Round(time.Second))
	f.stopAll()
	f.check(ctx, events)
}

// check holds the logs and the store against what was acknowledged and what the receivers got.
func (f *fleet) check(ctx context.Context, events *traffic) {
	t := f.t
	t.Helper()
	h, err := ledger.Load(ctx, f.site, f.store, f.gen)
	if err != nil {
		t.Fatal(err)
	}
	rules, errRules := ledger.ReadDefinitions(os.DirFS(filepath.Join(f.dir, "workspace")))
	mails, errMails := ledger.ReadFileChannel(filepath.Join(f.dir, "channels", "email.jsonl"))
	if err := errors.Join(errRules, errMails); err != nil {
		t.Fatal(err)
	}
	tickets, bad := f.desk.got()
	h.Definitions, h.Received = map[string]*ledger.Definitions{"": rules}, slices.Concat(mails, tickets)
	h.Sent, h.Settled, h.Skew = acknowledged(events.accepted), true, time.Second
	report := ledger.Verify(h)
	wrong := slices.Concat(bad, events.refused, report.Unchecked)
	for _, v := range report.Violations {
		wrong = append(wrong, v.String())
	}
	for n, what := range wrong {
		if n == 20 {
			t.Errorf("… and %d more", len(wrong)-n)
			break
		}
		t.Errorf("wrong: %s", what)
	}
	totals := report.Totals
	t.Logf("%d mails, %d tickets, %d records\n  %v", len(mails), len(tickets), report.Records, totals)
	if len(mails) < 20 || len(tickets) < 10 || totals.Suppressed == 0 || totals.Open > 0 {
		t.Errorf("the run proves little: %d mails, %d tickets, %v", len(mails), len(tickets), totals)
	}
}

// acknowledged are events of which only that is known.
func acknowledged(ids []string) []ledger.Sent {
	out := make([]ledger.Sent, 0, len(ids))
	for _, id := range ids {
		out = append(out, ledger.Sent{ID: id, Acknowledged: time.Now()})
	}
	return out
}
