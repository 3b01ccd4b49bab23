package degraded

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/rpc"
	"refrain.dev/services/mesh/meshsvc"
)

// "Consent feed stale": the profile stage stands still, so nobody knows of the newest opt-outs. An approved mail
// is not sent until it goes on.
func TestTheFeedOfConsentIsStale(t *testing.T) {
	w := build(t)
	w.delivers("ann", "order-0")
	w.offered("ann")
	w.stop("dispatch")
	before := w.ends("vdc")
	w.publish("track", order("ann", "order-1"))
	w.eventually("the mail is approved", func() bool { return !slices.Equal(before, w.ends("vdc")) })
	w.stop("profile")
	pings := w.pinged()
	w.start("dispatch")
	w.eventually("dispatch asks how fresh its view is", func() bool { return w.pinged() >= pings+3 })
	w.cell("dispatch", func(t *testing.T) {
		if n := w.sent("email", "order-1"); n > 0 {
			t.Fatalf("%d mails were sent on a stale view", n)
		}
	})
	w.cell("ingest", func(t *testing.T) {
		if code, _ := w.post("track", stock("bob", "back-1")); code != http.StatusOK {
			t.Errorf("an event was answered with %d", code)
		}
	})
	w.cell("query", func(t *testing.T) { // who asks for a position is told that it is not met
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		res, err := decisionv1.NewDecisionServiceClient(w.conns["decision"]).NextBestActions(ctx, &decisionv1.NextBestActionsRequest{
			Identifier: ident("ann"), Placement: "web-banner", AtLeast: &eventv1.Position{Lane: "live", Partition: w.home("ann"), Sequence: 1 << 40},
		})
		late := []reasonv1.Code{reasonv1.Code_CODE_STALE_VIEW, reasonv1.Code_CODE_DEADLINE_DEGRADED}
		if err != nil || len(res.GetDegraded()) != 1 || !slices.Contains(late, res.GetDegraded()[0].GetCode()) {
			t.Errorf("answered %v, %v", res, err)
		}
	})
	w.start("profile")
	w.arrives("email", "order-1")
}

// home is the partition of a customer who made a profile by this id: the one in which the chain of profiles has it.
func (w *town) home(user string) uint32 {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Second)
	defer cancel()
	for p := range uint32(w.gen.Partitions) { //nolint:gosec // few
		res, err := decisionv1.NewDecisionServiceClient(w.conns["decision"]).NextBestActions(ctx, &decisionv1.NextBestActionsRequest{
			Identifier: ident(user), Placement: "web-banner", AtLeast: &eventv1.Position{Lane: "live", Partition: p},
		})
		if err == nil && len(res.GetDegraded()) == 0 {
			return p
		}
	}
	w.t.Fatalf("%s has no home", user)
	return 0
}

// "Definitions store down": everybody goes on with the catalog that is in force; a new one is waited for.
func TestTheDefinitionsAreAway(t *testing.T) {
	w := build(t)
	w.delivers("ann", "order-0")
	w.offered("ann")
	w.kv.prefix.Store("bundle/")
	w.kv.down.Store(true)
	w.cell("everything", func(*testing.T) { w.delivers("bob", "order-1") })
	w.cell("query", func(*testing.T) { w.offered("bob") })
	w.cell("a new catalog", func(t *testing.T) {
		from := w.kv.asked.Load()
		w.apply(words{"EMAIL": "adapter: file, config: {path: new.jsonl}", "HOOK": "adapter: file, config: {path: hook.jsonl}"})
		w.publish("track", order("ann", "order-2"))
		w.eventually("it is asked for", func() bool { return w.kv.asked.Load() >= from+5 })
		if w.sent("new", "order-2")+w.sent("email", "order-2") > 0 {
			t.Error("something was decided under a catalog that nobody could read")
		}
		w.kv.down.Store(false)
		w.arrives("new", "order-2")
	})
}

// "Provider slow/failing": what it refuses waits and is sent once when it is back; other channels and queries go
// on.
func TestAProviderFails(t *testing.T) {
	var calls, taken atomic.Int64
	var back atomic.Bool
	provider := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		if !back.Load() {
			rw.Header().Set("Retry-After", "1")
			rw.WriteHeader(http.StatusTooManyRequests)
			return
		}
		taken.Add(1)
	}))
	t.Cleanup(provider.Close)
	w := build(t, func(_ *town, text *words) {
		(*text)["HOOK"] = `adapter: webhook, config: {url: "` + provider.URL + `/in", secret_env: HOOK_SECRET}`
	})
	w.publish("track", stock("ann", "back-1"))
	w.eventually("the provider was called", func() bool { return calls.Load() > 0 })
	w.cell("dispatch/another channel", func(*testing.T) { w.delivers("bob", "order-1") })
	w.cell("query", func(*testing.T) { w.offered("bob") })
	w.cell("suppression", func(*testing.T) { // goes on to approve; dispatch holds, until the proposal expires
		before := w.ends("vdc")
		w.publish("track", stock("cid", "back-2"))
		w.eventually("it is approved", func() bool { return !slices.Equal(before, w.ends("vdc")) })
	})
	back.Store(true)
	w.cell("dispatch", func(t *testing.T) {
		w.eventually("what was refused is sent", func() bool { return taken.Load() == 2 })
		w.delivers("dora", "order-2") // behind them
		if n := taken.Load(); n != 2 {
			t.Errorf("%d calls were taken, want 2", n)
		}
	})
}

// "Clock skew > 2 s": a dispatcher whose clock differs from the log's gives up what it owns and contacts nobody, at
// once; set right it goes on.
func TestTheClockIsWrong(t *testing.T) {
	w := build(t)
	w.delivers("ann", "order-0")
	for name, by := range map[string]time.Duration{"ahead": 4 * time.Second, "behind": -4 * time.Second} {
		w.cell("dispatch/"+name, func(t *testing.T) {
			const said = "the clock of this machine is"
			from := w.logs.Count(said)
			w.skewed.by.Store(int64(by))
			for n := 0; w.logs.Count(said) == from; n++ { // the clock is compared when there is something to decide
				before := w.ends("snd")
				w.publish("track", stock("ann", fmt.Sprint("first-", name, n)))
				w.eventually("dispatch has it, or stands by", func() bool {
					return !slices.Equal(before, w.ends("snd")) || w.logs.Count(said) > from
				})
			}
			before, from := w.ends("vdc"), w.logs.Count(said)
			w.publish("track", order("ann", "order-"+name))
			w.eventually("it is approved", func() bool { return !slices.Equal(before, w.ends("vdc")) })
			w.eventually("dispatch compares the clocks", func() bool { return w.logs.Count(said) > from })
			if n := w.sent("email", "order-"+name); n > 0 {
				t.Errorf("%d mails were sent with a clock that is wrong", n)
			}
			w.skewed.by.Store(0)
			w.arrives("email", "order-"+name)
		})
	}
}

// "Stream ≥ 80 % full": ingest refuses what can wait, with Retry-After; what restricts contact is taken; what is in
// the mesh goes on; when there is room again everything is taken.
func TestAStreamIsNearlyFull(t *testing.T) {
	w := build(t)
	w.delivers("ann", "order-0")
	last := w.fill("dlq.profile.0")
	w.cell("ingest", func(t *testing.T) {
		w.eventually("an order is refused", func() bool {
			code, after := w.post("track", order("ann", "order-1"))
			return (code == http.StatusServiceUnavailable || code == http.StatusTooManyRequests) && after != ""
		})
		code, _ := w.post("track", object{
			"userId": "ann", "messageId": "no-more", "event": "consent_withdrawn", "properties": object{"channel": "email", "topic": "*"},
		})
		if code != http.StatusOK {
			t.Errorf("an opt-out was answered with %d", code)
		}
	})
	w.cell("query", func(*testing.T) { w.offered("ann") })
	if err := w.site.Purge(t.Context(), "dlq.profile.0", last); err != nil {
		t.Fatal(err)
	}
	w.cell("all go on", func(*testing.T) { w.delivers("bob", "order-2") })
}

// What no reader reads back drops its oldest messages and closes nothing.
func TestRefusedItemsCloseNothing(t *testing.T) {
	w := build(t)
	w.delivers("ann", "order-0")
	w.fill("dlq.ingest.0")
	w.cell("all go on", func(*testing.T) { w.delivers("bob", "order-1") })
}

// fill publishes junk until the stream of a subject is 90 % full, and returns the last message's sequence.
func (w *town) fill(subject string) (last uint64) {
	w.t.Helper()
	for junk, full := make([]byte, 1000<<10), false; !full; {
		var err error
		if last, err = w.site.Publish(w.t.Context(), subject, junk); err != nil {
			w.t.Fatal(err)
		}
		u, err := w.site.Usage(w.t.Context(), subject)
		if err != nil {
			w.t.Fatal(err)
		}
		full = u.Bytes > u.MaxBytes/10*9
	}
	return last
}

// "OTel collector down": telemetry is dropped, nothing waits for it.
func TestTheCollectorIsDown(t *testing.T) {
	w := newTown(t)
	cfg := meshsvc.Default()
	cfg.Dir, cfg.Redis, cfg.Partitions = filepath.Join(w.dir, "mesh"), meshsvc.RedisMemory, 2
	cfg.NATSPort, cfg.GRPC, cfg.Admin, cfg.Ingest.HTTP = -1, "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	env := map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp",
		"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_METRIC_EXPORT_INTERVAL": "50",
	}
	m, err := meshsvc.New(t.Context(), cfg, meshsvc.Env{Log: w.logs, Getenv: func(name string) string { return env[name] }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the mesh ended: %v", err)
		}
	})
	w.eventually("the mesh is ready", func() bool { return len(m.Ready()) == 0 })
	w.site, w.gen, w.kv = m.Site(), m.Generation(), &frailKV{KV: m.Site().KV()}
	w.url = "http://" + m.Addr("ingest-http").String()
	w.dir = filepath.Join(cfg.Dir, "channels")
	conn, err := rpc.Dial(m.Addr("grpc").String(), rpc.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	w.conns["profile"], w.conns["decision"] = conn, conn
	w.apply(words{"EMAIL": "adapter: file, config: {path: email.jsonl}", "HOOK": "adapter: file, config: {path: hook.jsonl}"})
	w.cell("everything", func(*testing.T) { w.delivers("ann", "order-0") })
	w.cell("query", func(*testing.T) { w.offered("ann") })
}
