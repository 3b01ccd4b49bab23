package log_test

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/embed"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/log/logtest"
)

func provisioned(t *testing.T, nc *nats.Conn, replicas int) *log.JetStream {
	t.Helper()
	site, err := log.NewJetStream(nc)
	if err != nil {
		t.Fatal(err)
	}
	gen := log.Generation{Number: 1, Partitions: 2, Streams: 1, Replicas: replicas}
	if _, err := log.Provision(t.Context(), site, gen, log.ProvisionConfig{MaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	return site
}

// A feed, a chain and what they stored go on by themselves after the server was started again.
func TestJetStreamSurvivesRestart(t *testing.T) {
	cfg := embed.NATSConfig{Dir: t.TempDir(), Port: -1}
	first, err := embed.StartNATS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(first.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(firstWait))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	site := provisioned(t, nc, 1)
	at, err := site.Last(t.Context(), "prf.0")
	if err != nil {
		t.Fatal(err)
	}
	feed, err := site.Feed(t.Context(), map[string]uint64{"prf.0": at.Sequence})
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	chain, position := log.OpenChain(site, "prf.0", clock.Wall{}), at.Sequence
	step := func(data string) {
		t.Helper()
		if position, err = chain.Append(t.Context(), position, []byte(data)); err != nil {
			t.Fatal(err)
		}
		m, err := logtest.Take(t.Context(), feed.Tail("prf.0"))
		if err != nil || m.Sequence != position || string(m.Data) != data {
			t.Fatalf("got %q at %d, %v; want %q at %d", m.Data, m.Sequence, err, data, position)
		}
	}
	step("before")
	at0 := first.ClientURL()
	first.Shutdown()
	if _, err := fmt.Sscanf(at0, "nats://127.0.0.1:%d", &cfg.Port); err != nil {
		t.Fatalf("port of %s: %v", at0, err)
	}
	second, err := embed.StartNATS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Shutdown)
	step("after")
	step("later")
}

// The protocol holds on three servers with three replicas.
func TestJetStreamCluster(t *testing.T) {
	if testing.Short() {
		t.Log("NOT TESTED with -short: three replicas")
		return
	}
	nc := cluster(t)
	site := provisioned(t, nc, 3)
	at, err := site.Last(t.Context(), "act.1")
	if err != nil {
		t.Fatal(err)
	}
	lose := 0
	lossy := logtest.Lossy{Broker: site, Lose: func() bool { lose++; return lose%3 == 0 }}
	chain, position := log.OpenChain(lossy, "act.1", clock.Wall{}), at.Sequence
	feed, err := site.Feed(t.Context(), map[string]uint64{"act.0": 0, "act.1": at.Sequence})
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	for i := range 50 {
		if position, err = chain.Append(t.Context(), position, []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		m, err := logtest.Take(t.Context(), feed.Tail("act.1"))
		if err != nil || m.Sequence != position {
			t.Fatalf("got %d, %v; want %d", m.Sequence, err, position)
		}
	}
	gen, err := log.FindGeneration(t.Context(), site.KV())
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Assert(t.Context(), site, gen); err != nil {
		t.Fatal(err)
	}
}

// freeRoutes reserves ports that servers need to know of each other before they start.
func freeRoutes(t *testing.T, n int) []*url.URL {
	t.Helper()
	routes := make([]*url.URL, n)
	for i := range routes {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test
		if err != nil {
			t.Fatal(err)
		}
		routes[i] = &url.URL{Scheme: "nats", Host: l.Addr().String()}
		defer func() { _ = l.Close() }()
	}
	return routes
}

// cluster starts three servers and returns a connection to one of them.
func cluster(t *testing.T) *nats.Conn {
	t.Helper()
	routes := freeRoutes(t, 3)
	servers := make([]*server.Server, len(routes))
	for i, route := range routes {
		port, err := strconv.Atoi(route.Port())
		if err != nil {
			t.Fatal(err)
		}
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(),
			JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 16 << 30, NoSigs: true, NoLog: true, Routes: routes,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port},
		})
		if err != nil {
			t.Fatal(err)
		}
		servers[i] = s
		go s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	}
	for _, s := range servers {
		if !s.ReadyForConnections(startWithin) {
			t.Fatal("server is not ready")
		}
	}
	nc, err := nats.Connect(servers[0].ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	eventually(t, "the cluster has a leader that sees three servers", func() bool {
		for _, s := range servers {
			if s.JetStreamIsLeader() {
				return len(s.JetStreamClusterPeers()) == len(servers)
			}
		}
		return false
	})
	return nc
}
