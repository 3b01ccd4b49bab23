package meshsvc

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

func settingsOf(dir, workspace string) Config {
	cfg := Default()
	cfg.Dir, cfg.Workspace, cfg.Redis, cfg.NATSPort = dir, workspace, RedisMemory, -1
	cfg.GRPC, cfg.Admin, cfg.Ingest.HTTP = "", "", "127.0.0.1:0"
	return cfg
}

// What New started is stopped again when it fails, and the error says why.
func TestNewFailsCleanly(t *testing.T) {
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "a.yaml"), []byte("kind: Nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for range 2 { // the second finds the directory free
		m, err := New(t.Context(), settingsOf(dir, broken), Env{Log: io.Discard, Getenv: os.Getenv})
		if err == nil || m != nil {
			t.Fatalf("a mesh with a broken workspace started: %v", err)
		}
	}
}

// A workspace may be applied as often as a mesh is started on it: equal definitions are equal bytes.
func TestTheSameWorkspaceIsAppliedAgain(t *testing.T) {
	m, err := New(t.Context(), settingsOf(t.TempDir(), "../../../examples/retail"), Env{Log: io.Discard, Getenv: os.Getenv})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.stack.Stop(t.Context(), m.cfg.StopWithin.Std(), m.logger); err != nil {
			t.Error(err)
		}
	}()
	for range 20 {
		if _, err := m.Apply(t.Context(), "../../../examples/retail"); err != nil {
			t.Fatal(err)
		}
	}
}
