package run_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/telemetry/telemetrytest"
)

type settings struct {
	Word string `yaml:"word"`
}

func (s settings) Validate() error {
	if s.Word == "" {
		return errors.New("word: is missing")
	}
	return nil
}

func never(context.Context, settings, run.Deps) (run.Component, error) {
	return nil, errors.New("must not be built")
}

func TestWrongSettingsEndWithTwoAndName(t *testing.T) {
	for name, args := range map[string][]string{
		"own": {"--word", ""}, "common": {"--log-level", "loud"}, "unknown": {"--nope"},
	} {
		t.Run(name, func(t *testing.T) {
			var out telemetrytest.Log
			code := run.Execute(t.Context(), run.Service[settings]{Name: "x", Build: never}, run.Environment{Args: args, Stderr: &out})
			if code != 2 || out.String() == "" {
				t.Fatalf("code %d, said %q", code, out.String())
			}
		})
	}
}

func TestHelpIsNoFailure(t *testing.T) {
	var out telemetrytest.Log
	code := run.Execute(t.Context(), run.Service[settings]{Name: "x", Build: never}, run.Environment{Args: []string{"-h"}, Stderr: &out})
	if code != 0 || !strings.Contains(out.String(), "-word") || !strings.Contains(out.String(), "-nats") {
		t.Fatalf("code %d, said %q", code, out.String())
	}
}

// startNATS serves NATS with JetStream on a port of its own.
func startNATS(t *testing.T) string {
	t.Helper()
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("NATS does not start")
	}
	return s.ClientURL()
}

func TestAProcessWaitsForTheGenerationRunsAndStops(t *testing.T) {
	url := startNATS(t)
	file := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(file, []byte("word: hello\nnats: "+url+"\ngrpc: 127.0.0.1:0\nadmin: 127.0.0.1:0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	built := make(chan run.Deps, 1)
	service := run.Service[settings]{Name: "x", Options: []run.Option{run.Stateless()}, Build: func(_ context.Context, cfg settings, deps run.Deps) (run.Component, error) {
		if cfg.Word != "hello" {
			t.Errorf("word is %q", cfg.Word)
		}
		return run.Func(func(ctx context.Context) error {
			deps.Ready("x", true)
			built <- deps
			<-ctx.Done()
			return nil
		}), nil
	}}
	var out telemetrytest.Log
	code := make(chan int, 1)
	go func() {
		code <- run.Execute(ctx, service, run.Environment{Env: []string{"REFRAIN_X_CONFIG=" + file}, Stderr: &out})
	}()
	provision(t, url)
	select {
	case deps := <-built:
		if deps.Generation.Partitions != 2 || deps.NATS == nil || deps.Store != nil {
			t.Errorf("got %+v", deps)
		}
	case c := <-code:
		t.Fatalf("ended with %d: %s", c, out.String())
	case <-time.After(30 * time.Second):
		t.Fatalf("not built: %s", out.String())
	}
	cancel()
	select {
	case c := <-code:
		if c != 0 {
			t.Fatalf("ended with %d: %s", c, out.String())
		}
	case <-time.After(30 * time.Second):
		t.Fatal("does not stop")
	}
	for _, line := range []string{"waiting for the generation", `"ready":true`, `"ready":false`, "stopped"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("the log does not say %s:\n%s", line, out.String())
		}
	}
}

func provision(t *testing.T, url string) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	site, err := log.NewJetStream(nc)
	if err != nil {
		t.Fatal(err)
	}
	_, err = log.Provision(t.Context(), site, log.Generation{Number: 1, Partitions: 2, Streams: 1, Replicas: 1},
		log.ProvisionConfig{Owner: "test", MaxBytes: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
}
