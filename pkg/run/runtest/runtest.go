// Package runtest holds what every service's test shares: dependencies in memory, and the contract that
// every service keeps.
package runtest

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/config"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/source"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/state"
)

// Partitions of the generation that Deps provisions.
const Partitions = 4

// Deps returns dependencies in memory: a provisioned log, a state store, the wall clock, a gRPC server
// that does not listen. Tests change what they need.
func Deps(t testing.TB) run.Deps {
	t.Helper()
	memory, generation, err := log.ProvisionMemory(t.Context(), log.Generation{Number: 1, Partitions: Partitions, Streams: 1, Replicas: 1})
	if err != nil {
		t.Fatalf("provision the log in memory: %v", err)
	}
	server, err := rpc.NewServer(rpc.ServerConfig{StopWithin: time.Second})
	if err != nil {
		t.Fatalf("build a gRPC server: %v", err)
	}
	return run.Deps{
		Logger: slog.New(slog.DiscardHandler),
		Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(),
		Broker: memory, KV: memory.KV(), Bundles: source.StoreOf(memory), Store: state.NewMemory(), Generation: generation,
		Runner: stage.NewFreeRunner(), Clock: clock.Wall{}, GRPC: server,
		Ready: func(string, bool) {}, Ownership: stage.Always(func(int) bool { return true }), Replica: "test",
		Dial: func(address string) (run.Conn, error) { return rpc.Dial(address, rpc.ClientConfig{}) },
	}
}

// Contract checks what every service promises: its defaults validate; built and run with cfg and
// cancelled, twice, it leaves no goroutine; a build that is cancelled leaves none either. cfg must listen
// on port 0 only.
func Contract[C any](t *testing.T, s run.Service[C], cfg C) {
	t.Run("defaults validate", func(t *testing.T) {
		defaults := s.Defaults
		if v, ok := any(&defaults).(config.Validator); ok {
			if err := v.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("build, run, cancel, twice", func(t *testing.T) {
		for range 2 {
			runOnce(t, s, cfg)
		}
	})
	t.Run("a cancelled build rolls back", func(t *testing.T) {
		deps := Deps(t)
		before := goleak.IgnoreCurrent()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if component, err := s.Build(ctx, cfg, deps); err == nil {
			finish(t, component, ctx)
		}
		goleak.VerifyNone(t, before)
	})
}

func runOnce[C any](t *testing.T, s run.Service[C], cfg C) {
	t.Helper()
	deps := Deps(t)
	before := goleak.IgnoreCurrent()
	ready := make(chan struct{})
	var once sync.Once
	deps.Ready = func(_ string, up bool) {
		if up {
			once.Do(func() { close(ready) })
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	component, err := s.Build(ctx, cfg, deps)
	if err != nil {
		t.Fatalf("build: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- component.Run(ctx) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("run ended before it was ready: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("run did not become ready in 20 s")
	}
	cancel()
	wait(t, done)
	goleak.VerifyNone(t, before)
}

func finish(t *testing.T, component run.Component, ctx context.Context) { //nolint:revive // the context is the subject
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- component.Run(ctx) }()
	wait(t, done)
}

func wait(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("run ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("run did not end within 20 s after its context")
	}
}
