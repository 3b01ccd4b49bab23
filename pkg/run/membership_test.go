package run_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"refrain.dev/pkg/embed/embedtest"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/telemetry/telemetrytest"
)

// replica runs a service that does nothing, as a process does, and returns what it was given once it is ready.
func replica(t *testing.T, url, redis string, args ...string) (deps run.Deps, out *telemetrytest.Log, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	built, code := make(chan run.Deps, 1), make(chan int, 1)
	service := run.Service[settings]{Name: "x", Defaults: settings{Word: "w"}, Build: func(_ context.Context, _ settings, deps run.Deps) (run.Component, error) {
		return run.Func(func(ctx context.Context) error {
			deps.Ready("x", true)
			built <- deps
			<-ctx.Done()
			return nil
		}), nil
	}}
	out = &telemetrytest.Log{}
	args = append([]string{"--nats", url, "--redis", redis, "--grpc", "127.0.0.1:0", "--admin", "", "--membership-ttl", "2s", "--membership-hold", "0s"}, args...)
	go func() { code <- run.Execute(ctx, service, run.Environment{Args: args, Stderr: out}) }()
	stop = func() {
		cancel()
		select {
		case c := <-code:
			if c != 0 {
				t.Errorf("ended with %d: %s", c, out)
			}
			code <- c
		case <-time.After(30 * time.Second):
			t.Errorf("does not stop: %s", out)
		}
	}
	t.Cleanup(stop)
	select {
	case deps = <-built:
	case c := <-code:
		code <- c
		t.Fatalf("ended with %d: %s", c, out)
	case <-time.After(30 * time.Second):
		t.Fatalf("not built: %s", out)
	}
	return deps, out, stop
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: never", what)
		}
	}
}

// Processes of one service share its partitions without being told, find each other, and take over at once
// from one that stops.
func TestProcessesShareThePartitions(t *testing.T) {
	embedtest.Require(t, "redis")
	url, redis := startNATS(t), embedtest.Redis(t)
	provision(t, url)
	a, said, stop := replica(t, url, redis, "--replica", "a")
	if !a.Ownership.Owns(0) || !a.Ownership.Owns(1) || a.Locate(0) != "" {
		t.Fatal("the only replica does not own everything as it starts")
	}
	b, _, _ := replica(t, url, redis, "--replica", "c") // whose weights are greater for one of the two
	eventually(t, "a partition each", func() bool {
		return a.Ownership.Owns(0) != a.Ownership.Owns(1) && a.Ownership.Owns(0) != b.Ownership.Owns(0) && a.Ownership.Owns(1) != b.Ownership.Owns(1)
	})
	for p := range 2 {
		if here := a.Ownership.Owns(p); here != (a.Locate(p) == "") || here == (b.Locate(p) == "") {
			t.Errorf("partition %d, a's: %v, is located at %q and %q", p, here, a.Locate(p), b.Locate(p))
		}
	}
	if !b.Ownership.Present("a") {
		t.Error("a is not present")
	}
	stop()
	if text := said.String(); !strings.Contains(text, "joined the replicas") || !strings.Contains(text, "stopped") {
		t.Errorf("a said %s", text)
	}
	eventually(t, "the rest takes over", func() bool { return b.Ownership.Owns(0) && b.Ownership.Owns(1) && !b.Ownership.Present("a") })
}

func TestStaticPartitionsNeedNoMembers(t *testing.T) {
	embedtest.Require(t, "redis")
	url, redis := startNATS(t), embedtest.Redis(t)
	provision(t, url)
	deps, _, _ := replica(t, url, redis, "--partitions", "1")
	if deps.Ownership.Owns(0) || !deps.Ownership.Owns(1) || deps.Locate != nil || deps.Ownership.Present("anybody") {
		t.Error("partitions that are set are not what is owned")
	}
}
