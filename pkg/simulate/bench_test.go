package simulate_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/simulate"
	"refrain.dev/pkg/simulate/schedule"
)

// BenchmarkSteps is what the engine adds to the operations of the log: 30 coroutines of which most wait, and
// 2,000 operations. The ratio is that to a bare loop over the same operations.
func BenchmarkSteps(b *testing.B) {
	gen := log.Generation{Number: 1, Partitions: 1, Streams: 1, Replicas: 1}
	data := make([]byte, 300)
	var steps, operations uint64
	var bare, simulated time.Duration
	for b.Loop() {
		m, _, err := log.ProvisionMemory(b.Context(), gen)
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		for range 2000 {
			if _, err := m.Publish(b.Context(), "evt.live.0", data); err != nil {
				b.Fatal(err)
			}
		}
		bare += time.Since(began)
		w := simulate.New(simulate.Config{Seed: 1})
		if _, err := log.Provision(b.Context(), w.Log(), gen, log.ProvisionConfig{}); err != nil {
			b.Fatal(err)
		}
		began = time.Now()
		r := w.Run(func(ctx context.Context, p *simulate.Process) error { return work(ctx, p, data) })
		simulated += time.Since(began)
		if len(r.Violations) > 0 {
			b.Fatal(r.Violations)
		}
		steps, operations = steps+r.Steps, operations+r.Operations
	}
	b.ReportMetric(float64(simulated.Nanoseconds())/float64(steps), "ns/step")
	b.ReportMetric(float64(simulated.Nanoseconds())/float64(operations), "ns/operation")
	b.ReportMetric(float64(simulated)/float64(bare), "ratio")
}

// work is 10 writers of 200 messages and 20 that wait for something that seldom comes.
func work(ctx context.Context, p *simulate.Process, data []byte) error {
	idle, end := context.WithCancel(ctx)
	defer end()
	wakes := make([]<-chan struct{}, 4)
	for i := range wakes {
		wakes[i] = make(chan struct{})
	}
	for range 20 {
		p.Go(func() {
			for {
				if _, err := p.Clock().Wait(idle, 50*time.Millisecond, wakes...); err != nil {
					return
				}
			}
		})
	}
	writers := clock.NewGroup(p.Clock(), 0)
	for n := range 10 {
		writers.Go(func() error {
			for range 200 {
				if _, err := p.Broker().Publish(ctx, "evt.live.0", data); err != nil {
					return fmt.Errorf("writer %d: %w", n, err)
				}
			}
			return nil
		})
	}
	return writers.Wait(ctx)
}

// BenchmarkRun is a run of the tests' service, with its own work.
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
