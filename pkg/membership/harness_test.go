package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/telemetry/telemetrytest"
)

const (
	testPartitions = 32
	testTTL        = 10 * time.Second
	testHold       = 10 * time.Second
)

// cluster is several replicas over one store of leases, in a bubble with a clock of its own.
type cluster struct {
	t       *testing.T
	memory  *log.Memory
	members map[string]*member
	lives   int
}

// member is one process.
type member struct {
	*Group

	name    string
	blocked *atomic.Bool // its calls are not answered
	slow    *slowness
	stop    context.CancelFunc
	ended   chan struct{}
	said    *telemetrytest.Log
	ready   *atomic.Bool
}

// inBubble runs a test whose replicas have a store of leases with a clock that stands still: nothing goes by
// the broker's time.
func inBubble(t *testing.T, run func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		still := time.Now()
		c := &cluster{t: t, memory: log.NewMemory(log.WithClock(func() time.Time { return still })), members: map[string]*member{}}
		defer func() {
			for _, m := range c.members {
				m.kill()
			}
		}()
		run(t, c)
	})
}

// start begins a process and waits until it has joined.
func (c *cluster) start(name string) *member {
	c.t.Helper()
	c.lives++
	said, ready, blocked, slow := &telemetrytest.Log{}, &atomic.Bool{}, &atomic.Bool{}, &slowness{}
	g, err := New(Config{
		Service: "s", Generation: 1, Partitions: testPartitions, Replica: name, Incarnation: fmt.Sprint(c.lives),
		Address: name + ":7400", TTL: testTTL, Hold: testHold,
	}, Ports{
		Leases: gate{Leases: c.memory.Leases(), blocked: blocked, slow: slow}, Clock: clock.Wall{}, Meter: noop.NewMeterProvider(),
		Logger: slog.New(slog.NewTextHandler(said, nil)), Ready: ready.Store,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(c.t.Context()))
	m := &member{Group: g, name: name, stop: stop, ended: make(chan struct{}), said: said, ready: ready, blocked: blocked, slow: slow}
	if err := g.Join(ctx); err != nil {
		c.t.Fatal(err)
	}
	go func() {
		defer close(m.ended)
		_ = g.Run(ctx)
	}()
	c.members[name] = m
	synctest.Wait()
	return m
}

// kill ends a process without a word.
func (m *member) kill() {
	m.stop()
	<-m.ended
}

// leave ends a process gracefully.
func (m *member) leave(t *testing.T) {
	t.Helper()
	m.kill()
	if err := m.Leave(t.Context()); err != nil {
		t.Errorf("%s leaves: %v", m.name, err)
	}
}

// owned lists what a replica owns.
func (m *member) owned() []int {
	var out []int
	for p := range testPartitions {
		if m.Owns(p) {
			out = append(out, p)
		}
	}
	return out
}

// split says who owns what, and fails if two own the same.
func (c *cluster) split(names ...string) []string {
	c.t.Helper()
	out := make([]string, testPartitions)
	for _, name := range names {
		for _, p := range c.members[name].owned() {
			if out[p] != "" {
				c.t.Errorf("partition %d is owned by %s and %s", p, out[p], name)
			}
			out[p] = name
		}
	}
	return out
}

// wantSplit checks that the partitions are shared among exactly these replicas, as the hashing says.
func (c *cluster) wantSplit(names ...string) {
	c.t.Helper()
	want := assign("s", testPartitions, named(slices.Sorted(slices.Values(names))...))
	if got := c.split(names...); !slices.Equal(got, want) {
		c.t.Errorf("owners are\n%v, want\n%v", got, want)
	}
}

// pass lets time pass, looking in between.
func (c *cluster) pass(d time.Duration, look func()) {
	const step = 50 * time.Millisecond
	for range d / step {
		_ = clock.Sleep(c.t.Context(), clock.Wall{}, step)
		synctest.Wait()
		look()
	}
}

func nothing() {}

// gate is a store of leases that may be out of reach.
type gate struct {
	log.Leases

	blocked *atomic.Bool
	slow    *slowness
}

// slowness lets the answers to renewals take their time, and knows when the last one was sent.
type slowness struct {
	answer atomic.Int64
	sent   atomic.Int64
}

var errBlocked = errors.New("no way to the broker")

// Hold implements log.Leases.
func (g gate) Hold(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (uint64, error) {
	if g.blocked.Load() {
		<-ctx.Done()
		return 0, errors.Join(log.ErrUnknown, errBlocked)
	}
	sent := time.Now()
	revision, err := g.Leases.Hold(ctx, key, value, revision, ttl)
	_ = clock.Sleep(ctx, clock.Wall{}, time.Duration(g.slow.answer.Load()))
	if err == nil {
		g.slow.sent.Store(sent.UnixNano())
	}
	return revision, err
}

// All implements log.Leases.
func (g gate) All(ctx context.Context, group string) ([]log.Lease, error) {
	if g.blocked.Load() {
		<-ctx.Done()
		return nil, errors.Join(log.ErrUnknown, errBlocked)
	}
	return g.Leases.All(ctx, group)
}
