package embed_test

import (
	"strings"
	"testing"

	"refrain.dev/pkg/embed"
	"refrain.dev/pkg/log"
)

func TestNATS(t *testing.T) {
	cfg := embed.NATSConfig{Dir: t.TempDir(), DontListen: true, SyncAlways: true}
	server, err := embed.StartNATS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if url := server.ClientURL(); url != "" {
		t.Errorf("a server that does not listen has the URL %s", url)
	}
	if d := server.Durability(); !d.Known || !d.SyncAlways {
		t.Errorf("durability is %v, want every message on disk", d)
	}
	if d := log.ProbeDurability(t.Context(), nc); d.Known {
		t.Errorf("a connection without the system account learns %v", d)
	}
	server.Shutdown()

	cfg.DontListen, cfg.SyncAlways = false, false
	again, err := embed.StartNATS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Shutdown()
	if url := again.ClientURL(); !strings.HasPrefix(url, "nats://127.0.0.1:") {
		t.Errorf("URL is %q", url)
	}
	if d := again.Durability(); d.SyncAlways || d.SyncInterval == 0 || !strings.Contains(d.String(), "2m0s") {
		t.Errorf("durability is %v, want an interval", d)
	}
	if _, err := embed.StartNATS(embed.NATSConfig{}); err == nil {
		t.Error("a server without a directory started")
	}
}
