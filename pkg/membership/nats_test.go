package membership

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/embed"
	"refrain.dev/pkg/log"
)

// Three replicas come and go over a real broker, whose own time removes what nobody renews.
func TestReplicasShareOverNATS(t *testing.T) {
	server, err := embed.StartNATS(embed.NATSConfig{Dir: t.TempDir(), DontListen: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	site, err := log.NewJetStream(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := site.Prepare(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	start := func(name string, life int) *member {
		g, err := New(Config{
			Service: "s", Generation: 1, Partitions: testPartitions, Replica: name, Incarnation: fmt.Sprint(name, life),
			TTL: 2 * time.Second, Hold: 500 * time.Millisecond,
		}, Ports{Leases: site.Leases(), Clock: clock.Wall{}, Meter: noop.NewMeterProvider()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
		m := &member{Group: g, name: name, stop: stop, ended: make(chan struct{})}
		if err := g.Join(ctx); err != nil {
			t.Fatal(err)
		}
		go func() { defer close(m.ended); _ = g.Run(ctx) }()
		t.Cleanup(m.kill)
		return m
	}
	share := func(members ...*member) {
		t.Helper()
		var names []string
		for _, m := range members {
			names = append(names, m.name)
		}
		want := assign("s", testPartitions, named(names...))
		got := make([]string, testPartitions)
		err := eventually(t.Context(), func() bool {
			clear(got)
			for _, m := range members {
				for _, p := range m.owned() {
					got[p] += m.name
				}
			}
			return slices.Equal(got, want)
		})
		if err != nil {
			t.Fatalf("owners are %q, want %q: %v", got, want, err)
		}
	}
	a := start("a", 1)
	share(a)
	b, c := start("b", 1), start("c", 1)
	share(a, b, c)
	b.leave(t)
	share(a, c)
	c.kill() // its lease runs out
	share(a)
	c = start("c", 2)
	share(a, c)
	again := start("c", 3) // while the second still runs
	share(a, again)
	c.kill()
	again.leave(t)
	a.leave(t)
	all, err := site.Leases().All(t.Context(), "s-g1")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if v, ok := decodeLease(l.Value); !ok || v.State != stateLeft {
			t.Errorf("%s says %s", l.Key, l.Value)
		}
	}
}

func eventually(ctx context.Context, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for !ok() {
		if err := clock.Sleep(ctx, clock.Wall{}, 10*time.Millisecond); err != nil {
			return errors.Join(errors.New("it never came"), err)
		}
	}
	return nil
}
