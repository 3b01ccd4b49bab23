package log_test

import (
	"path/filepath"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"refrain.dev/pkg/embed"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/log/logtest"
)

// What is simulated behaves as what is real. Every sequence of operations gets a server of its own: a stream
// that is removed twice within milliseconds may come back with what it had (nats-server 2.15.2 moves its
// directory to where the one before is still being removed, and leaves it if it cannot).
func TestMemoryAndJetStreamAgree(t *testing.T) {
	dir, number := t.TempDir(), 0
	logtest.Fidelity(t, func(rt *rapid.T) (simulated, genuine log.Site) {
		number++
		server, err := embed.StartNATS(embed.NATSConfig{Dir: filepath.Join(dir, strconv.Itoa(number)), DontListen: true})
		if err != nil {
			t.Fatal(err)
		}
		rt.Cleanup(server.Shutdown)
		nc, err := server.Connect()
		if err != nil {
			t.Fatal(err)
		}
		rt.Cleanup(nc.Close)
		site, err := log.NewJetStream(nc)
		if err != nil {
			t.Fatal(err)
		}
		return log.NewMemory(), site
	})
}
