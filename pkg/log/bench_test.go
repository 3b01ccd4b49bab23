package log_test

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/embed"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/log/logtest"
)

func benchSite(b *testing.B) (*log.JetStream, jetstream.JetStream) {
	b.Helper()
	server, err := embed.StartNATS(embed.NATSConfig{Dir: b.TempDir(), DontListen: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(server.Shutdown)
	nc, err := server.Connect()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	site, err := log.NewJetStream(nc)
	if err != nil {
		b.Fatal(err)
	}
	gen := log.Generation{Number: 1, Partitions: 4, Streams: 1, Replicas: 1}
	if _, err := log.Provision(b.Context(), site, gen, log.ProvisionConfig{}); err != nil {
		b.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	return site, js
}

// BenchmarkAppend compares an append through Chain with a bare publish, and measures until a feed has it.
func BenchmarkAppend(b *testing.B) {
	site, js := benchSite(b)
	data := make([]byte, 4096)
	b.Run("publish", func(b *testing.B) {
		for b.Loop() {
			if _, err := js.Publish(b.Context(), "evt.live.0", data); err != nil {
				b.Fatal(err)
			}
		}
	})
	genesis, err := site.Last(b.Context(), "prf.0")
	if err != nil {
		b.Fatal(err)
	}
	at, chain := genesis.Sequence, log.OpenChain(site, "prf.0", clock.Wall{})
	b.Run("chain", func(b *testing.B) {
		for b.Loop() {
			if at, err = chain.Append(b.Context(), at, data); err != nil {
				b.Fatal(err)
			}
		}
	})
	feed, err := site.Feed(b.Context(), map[string]uint64{"prf.0": at, "prf.1": 0, "prf.2": 0, "prf.3": 0})
	if err != nil {
		b.Fatal(err)
	}
	defer feed.Close()
	b.Run("chain to feed", func(b *testing.B) {
		for b.Loop() {
			if at, err = chain.Append(b.Context(), at, data); err != nil {
				b.Fatal(err)
			}
			if _, err := logtest.Take(b.Context(), feed.Tail("prf.0")); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkFeed reads what is there already.
func BenchmarkFeed(b *testing.B) {
	site, _ := benchSite(b)
	data := make([]byte, 4096)
	const count = 5000
	for range count {
		if _, err := site.Publish(b.Context(), "evt.live.0", data); err != nil {
			b.Fatal(err)
		}
	}
	from := map[string]uint64{}
	for _, lane := range log.Lanes() {
		for p := range 4 {
			from[log.Subject(log.Lane(lane), p)] = 0
		}
	}
	for b.Loop() {
		feed, err := site.Feed(b.Context(), from)
		if err != nil {
			b.Fatal(err)
		}
		for range count {
			if _, err := logtest.Take(b.Context(), feed.Tail("evt.live.0")); err != nil {
				b.Fatal(err)
			}
		}
		feed.Close()
	}
}
