package log_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

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

// A feed whose stream is deleted and made again tells its readers, instead of going on at a position of the old one.
func TestAFeedIsToldThatItsStreamIsAnother(t *testing.T) {
	site := openJetStream(t)
	gen := log.Generation{Number: 1, Partitions: 1, Streams: 1, Replicas: 1}
	if _, err := log.Provision(t.Context(), site, gen, log.ProvisionConfig{MaxBytes: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	const name, subject = "EVENTS-g1-0", "evt.live.0"
	feed, err := site.Feed(t.Context(), map[string]uint64{subject: 0})
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	cfg, err := site.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(site.DeleteStream(t.Context(), name), site.CreateStream(t.Context(), cfg)); err != nil {
		t.Fatal(err)
	}
	if _, err := site.Publish(t.Context(), subject, []byte("new")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := logtest.Take(ctx, feed.Tail(subject))
	if anew, ok := errors.AsType[*log.AnewError](err); !ok || anew.Stream != name {
		t.Errorf("got %q, %v; want an AnewError of %s", m.Data, err, name)
	}
}
