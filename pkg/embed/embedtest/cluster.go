//go:build unix

package embedtest

import (
	"context"
	"testing"
	"time"

	"refrain.dev/pkg/embed/cluster"
)

// clusterWithin bounds the build of a server and the start of three on a busy machine.
const clusterWithin = 3 * time.Minute

// Cluster builds nats-server, starts three as processes of their own with JetStream, and kills them at the
// test's end.
func Cluster(t testing.TB) *cluster.Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clusterWithin)
	defer cancel()
	server, err := cluster.Build(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Start(ctx, cluster.Config{Server: server, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Errorf("stop the NATS cluster: %v", err)
		}
	})
	return c
}
