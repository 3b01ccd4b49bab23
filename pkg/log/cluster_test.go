//go:build unix

package log_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"refrain.dev/pkg/embed/cluster"
	"refrain.dev/pkg/embed/embedtest"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/log/logtest"
)

// healWithin bounds what a cluster of three processes needs to elect leaders and to catch up.
const healWithin = 2 * time.Minute

// The suite holds on three server processes with three replicas.
func TestJetStreamCluster(t *testing.T) {
	if testing.Short() {
		t.Log("NOT TESTED with -short: three replicas")
		return
	}
	c := embedtest.Cluster(t)
	nc := connectCluster(t, c)
	open := func(t *testing.T) log.Site {
		wipe(t, nc)
		site, err := log.NewJetStream(nc)
		if err != nil {
			t.Fatal(err)
		}
		return site
	}
	logtest.RunReplicated(t, open)
	logtest.RunLeases(t, open, len(c.Nodes()))
}

// connectCluster returns a connection that notices within seconds that a server does not answer.
func connectCluster(t *testing.T, c *cluster.Cluster, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := c.Connect(append([]nats.Option{
		nats.PingInterval(time.Second), nats.ReconnectWait(firstWait),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}
