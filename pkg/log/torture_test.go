//go:build unix

package log_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/embed/cluster"
	"refrain.dev/pkg/embed/embedtest"
	"refrain.dev/pkg/embed/faultproxy"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/log/logtest"
)

const (
	// tortureFor is how long the log is broken unless REFRAIN_TORTURE_FOR says otherwise.
	tortureFor = 20 * time.Second
	// answerWithin is shorter than in production so that a pause of a few seconds is longer than it.
	answerWithin = time.Second
	processes    = 3
)

// Whatever is done to three servers: what was acknowledged stays, once; every chain has one history; whoever
// lost, lost against somebody; feeds have it all in order. REFRAIN_TORTURE_SEED repeats what was done.
func TestJetStreamTorture(t *testing.T) {
	if testing.Short() {
		t.Log("NOT TESTED with -short: a log whose servers are killed")
		return
	}
	seed, length := tortured(t)
	c := embedtest.Cluster(t)
	work := &logtest.Torture{
		Seed: seed, Lanes: []string{"evt.live.1", "evt.control.3"},
		Groups: [][]string{{"prf.0", "prf.2"}, {"prf.1", "prf.3"}},
	}
	work.Sites = tortureSites(t, c)
	b := &breaker{t: t, c: c, rng: rand.New(rand.NewPCG(seed, 1)), began: time.Now()} //nolint:gosec // a test
	b.connect()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		work.Run(ctx)
	}()
	b.run(ctx)
	<-done
	t.Log(work)
	if acknowledged, lost := work.Counts(); acknowledged < 100 || lost < 10 {
		t.Errorf("%d appends were acknowledged and %d lost: that proves little", acknowledged, lost)
	}
	ctx, cancel = context.WithTimeout(t.Context(), healWithin)
	defer cancel()
	if err := errors.Join(c.WaitReady(ctx), work.Verify(ctx, work.Sites[0])); err != nil {
		b.tell()
		t.Fatalf("REFRAIN_TORTURE_SEED=%d: %v", seed, err)
	}
}

// tortured says what is to be done and for how long.
func tortured(t *testing.T) (seed uint64, length time.Duration) {
	t.Helper()
	seed, length = uint64(time.Now().UnixNano()), tortureFor //nolint:gosec // any bits will do
	var err, err2 error
	if text := os.Getenv("REFRAIN_TORTURE_SEED"); text != "" {
		seed, err = strconv.ParseUint(text, 10, 64)
	}
	if text := os.Getenv("REFRAIN_TORTURE_FOR"); text != "" {
		length, err2 = time.ParseDuration(text)
	}
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	t.Logf("REFRAIN_TORTURE_SEED=%d REFRAIN_TORTURE_FOR=%s", seed, length)
	return seed, length
}

// tortureSites returns as many views of one provisioned log, each with a connection of its own.
func tortureSites(t *testing.T, c *cluster.Cluster) []log.Site {
	t.Helper()
	var sites []log.Site
	gen := log.Generation{Number: 1, Partitions: 4, Streams: 2, Replicas: 3, Secret: make([]byte, 32)}
	for range processes {
		site, err := log.NewJetStream(connectCluster(t, c))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Provision(t.Context(), site, gen, log.ProvisionConfig{MaxBytes: 1 << 30}); err != nil {
			t.Fatal(err)
		}
		site.SetTimeout(answerWithin)
		sites = append(sites, site)
	}
	return sites
}

// breaker breaks a cluster, mostly one thing at a time.
type breaker struct {
	t      *testing.T
	c      *cluster.Cluster
	rng    *rand.Rand
	began  time.Time
	client *nats.Conn
	system *nats.Conn
	done   []string
}

func (b *breaker) connect() {
	b.client = connectCluster(b.t, b.c)
	system, err := b.c.ConnectSystem(nats.PingInterval(time.Second), nats.ReconnectWait(firstWait),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		b.t.Fatal(err)
	}
	b.system = system
	b.t.Cleanup(system.Close)
}

func (b *breaker) notef(format string, args ...any) {
	b.done = append(b.done, fmt.Sprintf("%8s ", time.Since(b.began).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

func (b *breaker) tell() {
	for _, line := range b.done {
		b.t.Log(line)
	}
}

// run breaks something, lets it be so for a while, and mends it, until ctx ends; then all is mended.
func (b *breaker) run(ctx context.Context) {
	for b.wait(ctx, 1500*time.Millisecond) {
		faults := []func(){b.stepdown, b.stepdown, b.kill, b.kill, b.pause, b.pause, b.routes, b.clients, b.killAll}
		for range 1 + b.rng.IntN(8)/6 {
			faults[b.rng.IntN(len(faults))]()
		}
		b.wait(ctx, 5*time.Second)
		b.notef("mend")
		b.heal()
	}
	b.heal()
}

func (b *breaker) heal() {
	ctx, cancel := context.WithTimeout(b.t.Context(), healWithin)
	defer cancel()
	if err := b.c.Heal(ctx); err != nil {
		b.t.Errorf("heal: %v", err)
	}
}

func (b *breaker) wait(ctx context.Context, most time.Duration) bool {
	return clock.Sleep(ctx, clock.Wall{}, time.Duration(b.rng.Int64N(int64(most)))) == nil
}

func (b *breaker) node() *cluster.Node { return b.c.Nodes()[b.rng.IntN(len(b.c.Nodes()))] }

// stepdown makes the leaders of some streams, or of JetStream itself, give up.
func (b *breaker) stepdown() {
	if b.rng.IntN(4) == 0 {
		b.notef("step down: JetStream")
		b.ask(b.system, "$JS.API.META.LEADER.STEPDOWN")
	}
	for _, stream := range []string{"PROFILES-g1-0", "PROFILES-g1-1", "EVENTS-g1-1"} {
		if b.rng.IntN(2) == 0 {
			b.notef("step down: %s", stream)
			b.ask(b.client, "$JS.API.STREAM.LEADER.STEPDOWN."+stream)
		}
	}
}

// ask sends a request whose answer may get lost.
func (b *breaker) ask(nc *nats.Conn, subject string) {
	if answer, err := nc.Request(subject, nil, answerWithin); err == nil {
		b.notef("%.100s", answer.Data)
	}
}

func (b *breaker) kill() {
	n := b.node()
	b.notef("kill %s", n.Name())
	if err := n.Kill(); err != nil {
		b.t.Error(err)
	}
}

func (b *breaker) killAll() {
	for _, n := range b.c.Nodes() {
		b.notef("kill %s", n.Name())
		if err := n.Kill(); err != nil {
			b.t.Error(err)
		}
	}
}

func (b *breaker) pause() {
	if n := b.node(); n.Running() {
		b.notef("pause %s", n.Name())
		if err := n.Pause(); err != nil {
			b.t.Error(err)
		}
	}
}

// routes breaks the network between one server and another, or all others.
func (b *breaker) routes() {
	i := b.rng.IntN(3)
	links := b.c.Links(i)
	if b.rng.IntN(2) == 0 {
		links = b.c.Link(i, (i+1)%3)
	}
	how := b.fault()
	b.notef("%s %d routes of n%d", how.name, len(links), i)
	for _, p := range links {
		how.do(p)
	}
}

// clients breaks the network between servers and clients.
func (b *breaker) clients() {
	for _, n := range b.c.Nodes() {
		if b.rng.IntN(2) == 0 {
			how := b.fault()
			b.notef("%s clients of %s", how.name, n.Name())
			how.do(n.Clients())
		}
	}
}

type networkFault struct {
	name string
	do   func(*faultproxy.Proxy)
}

func (b *breaker) fault() networkFault {
	all := []networkFault{
		{"cut", (*faultproxy.Proxy).Cut},
		{"blackhole", func(p *faultproxy.Proxy) { p.Blackhole(faultproxy.Both) }},
		{"blackhole from", func(p *faultproxy.Proxy) { p.Blackhole(faultproxy.Back) }},
		{"blackhole to", func(p *faultproxy.Proxy) { p.Blackhole(faultproxy.Forth) }},
		{"delay", func(p *faultproxy.Proxy) { p.Delay(150 * time.Millisecond) }},
	}
	return all[b.rng.IntN(len(all))]
}
