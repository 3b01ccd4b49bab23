package sweep

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"refrain.dev/pkg/simulate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake fails every seed that is a multiple of 10, and reaches a goal with every one of 7.
func fake(seed uint64) simulate.Result {
	r := simulate.Result{Seed: seed, Steps: 2, Operations: 3, Elapsed: time.Second, Goals: map[string]int{}}
	if seed%7 == 0 {
		r.Goals["seven"] = 2
	}
	if seed%10 == 0 {
		r.Violations = []simulate.Violation{{Rule: "ten", Text: "no"}, {Rule: "never counted"}}
	}
	return r
}

func TestSweepAddsUp(t *testing.T) {
	var mu sync.Mutex
	seen := map[uint64]int{}
	r := Run(t.Context(), Config{First: 1, Count: 100, Workers: 4, Keep: 3, Required: []string{"seven", "eight"}}, func(seed uint64) simulate.Result {
		mu.Lock()
		defer mu.Unlock()
		seen[seed]++
		return fake(seed)
	})
	if r.Runs != 100 || len(seen) != 100 || r.Failed != 10 || r.Steps != 200 || r.Operations != 300 || r.Simulated != 100*time.Second || r.PerSecond() <= 0 {
		t.Errorf("got %+v", r)
	}
	if r.Goals["seven"] != (Reached{14, 28}) || r.Rules["ten"] != 10 || len(r.Rules) != 1 {
		t.Errorf("goals %v, rules %v", r.Goals, r.Rules)
	}
	if len(r.Failures) != 3 || r.Failures[0].Seed != 10 || r.Failures[2].Seed != 30 {
		t.Errorf("failures %v", r.Failures)
	}
	if len(r.Missed) != 1 || r.Missed[0] != "eight" || r.Passed() {
		t.Errorf("missed %v", r.Missed)
	}
	for _, want := range []string{"100 runs", "10 failed", "broken ten: 10", "never reached: eight"} {
		if !strings.Contains(r.String(), want) {
			t.Errorf("%q is not in\n%s", want, r)
		}
	}
}

// A sweep without failures passes only if every required goal was reached.
func TestSweepPasses(t *testing.T) {
	cfg := Config{First: 1, Count: 9, Required: []string{"seven"}}
	if r := Run(t.Context(), cfg, fake); !r.Passed() {
		t.Errorf("got %s", r)
	}
	cfg.Count = 5
	if r := Run(t.Context(), cfg, fake); r.Passed() || r.Failed > 0 {
		t.Errorf("too short: got %s", r)
	}
}

func TestSweepStops(t *testing.T) {
	if r := Run(t.Context(), Config{First: 1, Count: 1000, StopAt: 2}, fake); r.Runs != 20 || r.Failed != 2 {
		t.Errorf("got %s", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var runs atomic.Int32
	told := make(chan Report, 1)
	r := Run(ctx, Config{Count: 1 << 40, Workers: 2, Every: time.Millisecond, Progress: func(r Report) {
		select {
		case told <- r:
		default:
		}
	}}, func(seed uint64) simulate.Result {
		runs.Add(1)
		if len(told) > 0 {
			cancel()
		}
		return fake(seed)
	})
	if p := <-told; p.Runs > r.Runs || r.Runs != uint64(runs.Load()) { //nolint:gosec // a count
		t.Errorf("told of %d, got %d of %d", p.Runs, r.Runs, runs.Load())
	}
}
