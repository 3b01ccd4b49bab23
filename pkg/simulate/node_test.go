package simulate_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/simulate"
	"refrain.dev/pkg/simulate/schedule"
)

func provisioned(t *testing.T, cfg simulate.Config) *simulate.World {
	t.Helper()
	w := simulate.New(cfg)
	gen := log.Generation{Number: 1, Partitions: 2, Streams: 2, Replicas: 1}
	if _, err := log.Provision(t.Context(), w.Log(), gen, log.ProvisionConfig{}); err != nil {
		t.Fatal(err)
	}
	return w
}

func published(t *testing.T, w *simulate.World, subject string) int {
	t.Helper()
	n := 0
	for at := uint64(0); ; n++ {
		m, err := w.Log().Next(t.Context(), subject, at)
		if errors.Is(err, log.ErrNotFound) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		at = m.Sequence
	}
}

// A crashed process has no effect any more, not even by its deferred calls, and is unwound.
func TestCrash(t *testing.T) {
	w := provisioned(t, simulate.Config{Seed: 3})
	unwound, reached := 0, 0
	n := w.Node("victim", simulate.NodeConfig{})
	n.Start(func(p *simulate.Process) error {
		busy := func() {
			defer func() { unwound++ }()
			defer func() {
				_, _ = p.Broker().Publish(context.Background(), "evt.live.0", []byte("from the dead"))
				reached++
			}()
			defer func() { _ = recover() }() // even who recovers does not live on
			for {
				_ = p.Sleep(p.Context(), time.Millisecond)
			}
		}
		for range 5 {
			p.Go(busy)
		}
		busy()
		reached++
		return nil
	})
	var first *simulate.Process
	r := w.Run(func(ctx context.Context, p *simulate.Process) error {
		_ = p.Sleep(ctx, 20*time.Millisecond)
		first = n.Process()
		n.Crash()
		if n.Process() != nil {
			t.Error("it still runs")
		}
		if err := p.Sleep(ctx, time.Minute); err != nil {
			return err
		}
		if unwound != 6 || reached != 0 || n.Process() != nil {
			t.Errorf("%d unwound, %d reached, process %v", unwound, reached, n.Process())
		}
		return nil
	})
	if len(r.Violations) > 0 || published(t, w, "evt.live.0") != 0 || first == nil {
		t.Errorf("%v, %d published", r.Violations, published(t, w, "evt.live.0"))
	}
}

// At a failpoint the schedule crashes the process that passes: the next line never runs.
func TestCrashAtAPoint(t *testing.T) {
	after := map[int]int{}
	sched, err := schedule.Parse("when=point:x.done#2 what=crash for=1s\nwhen=point:x.done#4 what=crash node=n for=-1s")
	if err != nil {
		t.Fatal(err)
	}
	w := simulate.New(simulate.Config{Seed: 3, Schedule: sched})
	starts, restarted := 0, time.Duration(0)
	w.Node("n", simulate.NodeConfig{}).Start(func(p *simulate.Process) error {
		if starts++; starts == 2 {
			restarted = w.Elapsed()
		}
		for n := range 3 {
			p.Points().At("x.done")
			after[starts*10+n]++
		}
		return errors.New("unexpected end")
	})
	r := w.Run(func(ctx context.Context, p *simulate.Process) error { return p.Sleep(ctx, time.Minute) })
	if len(after) != 2 || after[10] != 1 || after[20] != 1 || starts != 2 || restarted < time.Second || restarted > 2*time.Second {
		t.Errorf("passed %v, %d starts, the second at %s, %v", after, starts, restarted, r.Violations)
	}
	if r.Goals["point.x.done"] != 4 || r.Goals["fault.crash"] != 2 {
		t.Errorf("goals %v", r.Goals)
	}
}

// A process that is paused goes on where it was, later than everybody else.
func TestPause(t *testing.T) {
	sched, err := schedule.Parse("when=at:1s what=pause node=n for=30s")
	if err != nil {
		t.Fatal(err)
	}
	w := simulate.New(simulate.Config{Seed: 3, Schedule: sched})
	var gaps []time.Duration
	var expired error
	w.Node("n", simulate.NodeConfig{}).Start(func(p *simulate.Process) error {
		lease, cancel := p.Clock().Within(p.Context(), 10*time.Second)
		defer cancel()
		for range 20 {
			at := p.Clock().Elapsed()
			_ = p.Sleep(p.Context(), 100*time.Millisecond)
			gaps = append(gaps, p.Clock().Elapsed()-at)
		}
		expired = lease.Err()
		_, err := p.Clock().Wait(p.Context(), clock.Forever)
		return err
	})
	others := 0
	w.Run(func(ctx context.Context, p *simulate.Process) error {
		for w.Elapsed() < time.Minute {
			others++
			_ = p.Sleep(ctx, 100*time.Millisecond)
		}
		return nil
	})
	long := 0
	for _, g := range gaps {
		if g > 29*time.Second {
			long++
		}
	}
	if long != 1 || len(gaps) != 20 || !errors.Is(expired, context.DeadlineExceeded) || others < 500 {
		t.Errorf("gaps %v, lease %v, %d steps of others", gaps, expired, others)
	}
}

func TestStopAndExit(t *testing.T) {
	sched, err := schedule.Parse("when=at:1s what=stop node=polite for=2s\nwhen=at:1s what=stop node=stubborn for=2s")
	if err != nil {
		t.Fatal(err)
	}
	w := simulate.New(simulate.Config{Seed: 3, Schedule: sched})
	starts := map[string][]time.Duration{}
	begin := func(p *simulate.Process) { starts[p.Node().Name()] = append(starts[p.Node().Name()], w.Elapsed()) }
	w.Node("polite", simulate.NodeConfig{}).Start(func(p *simulate.Process) error {
		begin(p)
		p.Go(func() { _, _ = p.Clock().Wait(context.Background(), clock.Forever) }) // ends with the process
		_, _ = p.Clock().Wait(p.Context(), clock.Forever)
		return nil
	})
	w.Node("stubborn", simulate.NodeConfig{}).Start(func(p *simulate.Process) error {
		begin(p)
		_, _ = p.Clock().Wait(context.Background(), clock.Forever)
		return nil
	})
	w.Node("failing", simulate.NodeConfig{RestartAfter: time.Second}).Start(func(p *simulate.Process) error {
		begin(p)
		return errors.New("cannot start")
	})
	r := w.Run(func(ctx context.Context, p *simulate.Process) error { return p.Sleep(ctx, 40*time.Second) })
	near := func(d, want time.Duration) bool { return (d - want).Abs() < 100*time.Millisecond }
	if s := starts["polite"]; len(s) != 2 || !near(s[1], 3*time.Second) {
		t.Errorf("polite: %v", s)
	}
	if s := starts["stubborn"]; len(s) != 2 || !near(s[1], 33*time.Second) {
		t.Errorf("stubborn: %v", s)
	}
	if s := starts["failing"]; len(s) < 38 || r.Goals["process ended with an error"] < 38 {
		t.Errorf("failing: %d starts, %v", len(s), r.Goals)
	}
}

// Calm ends pauses, starts what is to start again and delivers what is held.
func TestCalm(t *testing.T) {
	sched, err := schedule.Parse(`when=at:0s what=held on=feed:evt. for=1h
when=at:1s what=pause node=paused for=1h
when=at:1s what=crash node=down for=1h
when=at:500ms what=late on=log:evt. for=1h
when=at:30s what=crash node=paused for=-1s`)
	if err != nil {
		t.Fatal(err)
	}
	w := provisioned(t, simulate.Config{Seed: 5, Schedule: sched})
	started, ran := 0, false
	w.Node("down", simulate.NodeConfig{}).Start(func(p *simulate.Process) error {
		started++
		_, err := p.Clock().Wait(p.Context(), clock.Forever)
		return err
	})
	got := 0
	w.Node("paused", simulate.NodeConfig{}).Start(func(p *simulate.Process) error {
		f, err := p.Broker().Feed(p.Context(), map[string]uint64{"evt.live.0": 0, "evt.control.0": 0})
		if err != nil {
			return err
		}
		_, _ = p.Broker().Publish(p.Context(), "evt.live.0", []byte("x"))
		_ = p.Sleep(p.Context(), 800*time.Millisecond)
		p.Go(func() { _, _ = p.Broker().Publish(p.Context(), "evt.live.0", []byte("late")) })
		_ = p.Sleep(p.Context(), 3*time.Second)
		_, _ = p.Broker().Publish(p.Context(), "evt.live.0", []byte("y"))
		ran = true
		for tail := f.Tail("evt.live.0"); ; {
			if _, ok := tail.Peek(); ok {
				got++
				tail.Pop()
				continue
			}
			if _, err := p.Clock().Wait(p.Context(), clock.Forever, tail.Wake()); err != nil {
				return err
			}
		}
	})
	r := w.Run(func(ctx context.Context, p *simulate.Process) error {
		_ = p.Sleep(ctx, 10*time.Second)
		if ran || got != 0 || started != 1 || published(t, w, "evt.live.0") != 1 {
			t.Errorf("before: ran %v, %d delivered, %d starts", ran, got, started)
		}
		w.Calm()
		_ = p.Sleep(ctx, time.Minute)
		if !ran || got != 3 || started != 2 {
			t.Errorf("after: ran %v, %d delivered, %d starts", ran, got, started)
		}
		return nil
	})
	if len(r.Violations) > 0 {
		t.Error(r.Violations)
	}
}

// Nothing is left of a run: neither goroutines nor timers.
func TestNothingLeaks(t *testing.T) {
	runs := 100_000
	if testing.Short() {
		runs = 5_000
	}
	before := runtime.NumGoroutine()
	for seed := range uint64(runs) { //nolint:gosec // positive
		w := simulate.New(simulate.Config{Seed: seed})
		n := w.Node("n", simulate.NodeConfig{})
		n.Start(func(p *simulate.Process) error {
			limited, cancel := p.Clock().Within(p.Context(), time.Minute)
			defer cancel()
			p.Go(func() { _, _ = p.Clock().Wait(limited, clock.Forever) })
			_ = p.Sleep(p.Context(), 5*time.Millisecond)
			p.Go(func() {}) // may never begin
			_, err := p.Clock().Wait(p.Context(), clock.Forever)
			return err
		})
		r := w.Run(func(ctx context.Context, p *simulate.Process) error {
			err := p.Sleep(ctx, time.Duration(seed%10)*time.Millisecond)
			if seed%3 == 0 {
				n.Crash()
			}
			return err
		})
		if len(r.Violations) > 0 {
			t.Fatal(r.Violations)
		}
	}
	if after := runtime.NumGoroutine(); after > before+2 {
		t.Errorf("%d goroutines before, %d after", before, after)
	}
}
