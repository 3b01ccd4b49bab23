package log_test

import (
	"testing"

	"refrain.dev/pkg/embed"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/log/logtest"
)

func TestMemory(t *testing.T) {
	logtest.Run(t, func(*testing.T) log.Site { return log.NewMemory() })
}

func TestJetStream(t *testing.T) {
	logtest.Run(t, func(t *testing.T) log.Site { return openJetStream(t) })
}

func openJetStream(tb testing.TB) *log.JetStream {
	tb.Helper()
	server, err := embed.StartNATS(embed.NATSConfig{Dir: tb.TempDir(), DontListen: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(server.Shutdown)
	nc, err := server.Connect()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	site, err := log.NewJetStream(nc)
	if err != nil {
		tb.Fatal(err)
	}
	return site
}
