//go:build unix

package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"refrain.dev/pkg/embed/cluster"
	"refrain.dev/pkg/embed/embedtest"
)

// within bounds what must happen; nothing is measured against it.
const within = time.Minute

func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Log("NOT TESTED with -short: three server processes")
		return
	}
	c := embedtest.Cluster(t)
	nc, err := c.Connect(nats.ReconnectWait(20*time.Millisecond), nats.PingInterval(time.Second), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, c: c, nc: nc, js: js}
	f.publish()
	t.Run("a killed server comes back with what it had", f.killed)
	t.Run("all killed at once lose nothing that was acknowledged", f.allKilled)
	t.Run("a paused server is not ready and does not stop the others", f.paused)
	t.Run("a server cut off from the others is missed by them", f.cutOff)
	t.Run("two servers cut off from each other find no way around the proxies", f.gossip)
	t.Run("a client cut off connects elsewhere", f.clientCut)
}

type fixture struct {
	t    *testing.T
	c    *cluster.Cluster
	nc   *nats.Conn
	js   jetstream.JetStream
	sent uint64
}

// publish stores one message, however long it takes, and checks that nothing before was lost. A message may
// come twice, so sequences only grow.
func (f *fixture) publish() {
	f.t.Helper()
	f.eventually("a message is stored", func(ctx context.Context) error {
		ack, err := f.js.Publish(ctx, "s", []byte("x"))
		if err != nil {
			return err
		}
		if ack.Sequence <= f.sent {
			f.t.Fatalf("stored at %d after %d was acknowledged", ack.Sequence, f.sent)
		}
		f.sent = ack.Sequence
		return nil
	})
}

func (f *fixture) eventually(what string, try func(ctx context.Context) error) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), within)
	defer cancel()
	for {
		once, done := context.WithTimeout(ctx, time.Second)
		err := try(once)
		done()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			f.t.Fatalf("waited in vain until %s: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (f *fixture) ready() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), within)
	defer cancel()
	if err := errors.Join(f.c.Heal(ctx), f.c.WaitReady(ctx)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) leader() *cluster.Node {
	f.t.Helper()
	info, err := f.js.Stream(f.t.Context(), "S")
	f.must(err)
	for _, n := range f.c.Nodes() {
		if n.Name() == info.CachedInfo().Cluster.Leader {
			return n
		}
	}
	f.t.Fatal("the stream has no leader")
	return nil
}

// notReady waits until a fault shows.
func (f *fixture) notReady() {
	f.t.Helper()
	f.eventually("the fault shows", func(ctx context.Context) error {
		if f.c.Ready(ctx) == nil {
			return errors.New("all is well")
		}
		return nil
	})
}

func (f *fixture) killed(t *testing.T) {
	f.t = t
	n := f.leader()
	was := n.URL()
	f.must(n.Kill())
	if n.Running() {
		t.Fatalf("%s runs after it was killed", n.Name())
	}
	f.notReady()
	f.publish()
	f.ready()
	if n.URL() != was {
		t.Errorf("%s moved from %s to %s", n.Name(), was, n.URL())
	}
	f.publish()
}

func (f *fixture) allKilled(t *testing.T) {
	f.t = t
	f.publish()
	for _, n := range f.c.Nodes() {
		f.must(n.Kill())
	}
	f.ready()
	f.publish()
}

func (f *fixture) paused(t *testing.T) {
	f.t = t
	n := f.c.Nodes()[1]
	f.must(n.Pause())
	if !n.Running() || !n.Paused() {
		t.Fatal("a paused server does not say so")
	}
	f.notReady()
	f.publish()
	f.ready()
	if n.Paused() {
		t.Fatal("a resumed server is still paused")
	}
}

func (f *fixture) cutOff(t *testing.T) {
	f.t = t
	// A client of the server that is cut off would stay there.
	away := 2
	if f.nc.ConnectedUrl() == f.c.Nodes()[away].URL() {
		away = 1
	}
	for _, p := range f.c.Links(away) {
		p.Cut()
	}
	f.eventually("the others notice", func(ctx context.Context) error { return f.offline(ctx, away) })
	f.publish()
	f.ready()
}

// A server that two others connect to tells each of them about the other one.
func (f *fixture) gossip(t *testing.T) {
	f.t = t
	for _, p := range f.c.Link(1, 2) {
		p.Cut()
	}
	f.must(f.c.Nodes()[0].Kill())
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	f.must(f.c.Nodes()[0].Start(ctx))
	f.eventually("both are connected to the first", func(ctx context.Context) error { return f.routes(ctx, "n0") })
	// A server that heard of a way around the proxies takes it within a second.
	for range 3 {
		<-time.After(time.Second)
		f.must(f.routes(ctx, "n0"))
	}
	f.ready()
	f.publish()
}

// routes checks to which servers the second and the third are connected.
func (f *fixture) routes(ctx context.Context, want string) error {
	for _, n := range f.c.Nodes()[1:] {
		got, err := n.Routes(ctx)
		if err != nil {
			return err
		}
		if strings.Join(got, " ") != want {
			return fmt.Errorf("%s is connected to %q, want %q", n.Name(), got, want)
		}
	}
	return nil
}

// offline says nil when the leader has lost sight of a server.
func (f *fixture) offline(ctx context.Context, i int) error {
	info, err := f.js.Stream(ctx, "S")
	if err != nil {
		return err
	}
	for _, r := range info.CachedInfo().Cluster.Replicas {
		if r.Name == f.c.Nodes()[i].Name() && (r.Offline || !r.Current) {
			return nil
		}
	}
	return fmt.Errorf("all is well: leader %s", info.CachedInfo().Cluster.Leader)
}

func (f *fixture) clientCut(t *testing.T) {
	f.t = t
	for _, n := range f.c.Nodes() {
		n.Clients().Cut()
		f.publish()
		n.Clients().Restore()
	}
	f.ready()
}
