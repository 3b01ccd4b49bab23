package simulate_test

import (
	"testing"

	"refrain.dev/pkg/simulate/schedule"
)

func BenchmarkRun(b *testing.B) {
	steps := uint64(0)
	n := uint64(0)
	for b.Loop() {
		n++
		r := run(setup{seed: n, sched: schedule.Schedule{Operations: operations(4, 50)}})
		steps += r.Steps
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(steps), "ns/step")
	b.ReportMetric(float64(steps)/float64(n), "steps/run")
}
