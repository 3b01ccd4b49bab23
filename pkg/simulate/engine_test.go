package simulate_test

import (
	"testing"

	"go.uber.org/goleak"

	"refrain.dev/pkg/simulate"
	"refrain.dev/pkg/simulate/schedule"
	"refrain.dev/pkg/simulate/sweep"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quickly is n, or fewer where tests are to be quick.
func quickly(n, fewer uint64) uint64 {
	if testing.Short() {
		return fewer
	}
	return n
}

func generated(seed uint64, b bug) setup {
	return setup{seed: seed, bug: b, sched: schedule.Schedule{Faults: schedule.Generate(seed, profile()), Operations: operations(3, 10)}}
}

// The right service survives whatever goes wrong, and enough goes wrong.
func TestSweepOfTheRightService(t *testing.T) {
	report := sweep.Run(t.Context(), sweep.Config{
		First: 1, Count: quickly(1000, 600), Workers: 2,
		Required: []string{
			"fault.crash", "fault.pause", "fault.stop", "fault.clock-step", "fault.clock-drift",
			"fault.lost.log", "fault.lost.rpc", "fault.applied.log", "fault.applied.state", "fault.late.log", "landed late.log",
			"fault.double.log", "fault.double.rpc", "fault.slow.log", "fault.unavailable.log", "fault.unavailable.rpc", "fault.pending.log",
			"fault.full.log", "fault.held.feed", "fault.partial.state", "fault.forgets.state", "fault.wiped.state",
			"fault.lost.kv", "fault.lost-read.log", "point.counter.appended", "refused Unavailable", "refused DeadlineExceeded",
		},
	}, func(seed uint64) simulate.Result { return run(generated(seed, none)) })
	t.Log(report)
	if !report.Passed() {
		for _, f := range report.Failures {
			t.Errorf("seed %d: %s: %.3000s\n%s", f.Seed, f.Rule(), f.Violations[0].Text, f.Schedule)
			break
		}
		t.Fatal("the sweep failed")
	}
}

// The same seed and schedule give the same run.
func TestRunsRepeat(t *testing.T) {
	hashes := map[uint64]bool{}
	for seed := range quickly(60, 20) {
		a, b := run(generated(seed, none)), run(generated(seed, none))
		hashes[a.Hash] = true
		if a.Hash == b.Hash && a.Steps == b.Steps {
			continue
		}
		n, first, second := simulate.Diverge(func(trace func(string)) {
			s := generated(seed, none)
			s.trace = trace
			run(s)
		})
		t.Fatalf("seed %d: line %d differs:\n%s\n%s", seed, n, first, second)
	}
	if len(hashes) < int(quickly(60, 20)) {
		t.Errorf("only %d different runs", len(hashes))
	}
}

// A planted bug is found, and its schedule shrinks to what matters.
func TestPlantedBugIsFoundAndShrunk(t *testing.T) {
	for _, b := range []struct {
		bug  bug
		rule string
		most int
	}{{retries, "once", 1}, {storeFirst, "all", 1}} {
		var found simulate.Result
		p := profile()
		p.Least, p.Weights = 3, []schedule.Weight{{Kind: schedule.Late, Weight: 2}, {Kind: schedule.Applied, Weight: 2}, {Kind: schedule.Partial, Weight: 1}, {Kind: schedule.Crash, Weight: 1}}
		for seed := range uint64(2000) {
			s := setup{seed: seed, bug: b.bug, sched: schedule.Schedule{Faults: schedule.Generate(seed, p), Operations: operations(3, 10)}}
			if r := run(s); r.Rule() == b.rule {
				found = r
				break
			}
		}
		if found.Rule() == "" {
			t.Errorf("bug %d was not found", b.bug)
			continue
		}
		shrinker := schedule.Shrinker{Runs: int(quickly(600, 250)), Fails: func(c schedule.Case) string {
			return run(setup{seed: c.Seed, bug: b.bug, sched: c.Schedule}).Rule()
		}}
		small, runs := shrinker.Shrink(schedule.Case{Seed: found.Seed, Schedule: found.Schedule}, found.Rule())
		t.Logf("bug %d, seed %d, %d runs: from\n%sto\n%s", b.bug, found.Seed, runs, found.Schedule, small)
		if len(small.Schedule.Faults) > b.most || len(small.Schedule.Operations) > int(quickly(8, 20)) {
			t.Errorf("bug %d: %d faults and %d operations are left", b.bug, len(small.Schedule.Faults), len(small.Schedule.Operations))
		}
		again, err := schedule.ParseCase(small.String())
		if err != nil {
			t.Fatal(err)
		}
		if rule := run(setup{seed: again.Seed, bug: b.bug, sched: again.Schedule}).Rule(); rule != b.rule {
			t.Errorf("bug %d: the shrunk schedule, printed and parsed, gives %q", b.bug, rule)
		}
		if rule := run(setup{seed: again.Seed, sched: again.Schedule}).Rule(); rule != "" {
			t.Errorf("the right service fails %q too", rule)
		}
	}
}
