package simulate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/simulate"
)

// alone runs a scenario in a world of its own and fails the test with what was broken.
func alone(t *testing.T, s simulate.Scenario) simulate.Result {
	t.Helper()
	r := simulate.New(simulate.Config{Seed: 7}).Run(s)
	for _, v := range r.Violations {
		t.Errorf("%s: %s", v.Rule, v.Text)
	}
	return r
}

func TestWait(t *testing.T) {
	alone(t, func(ctx context.Context, p *simulate.Process) error {
		c := p.Clock()
		began := c.Elapsed()
		if n, err := c.Wait(ctx, time.Hour); n != -1 || err != nil || c.Elapsed()-began < time.Hour || c.Elapsed()-began > time.Hour+time.Second {
			t.Errorf("an hour: %d, %v after %s", n, err, c.Elapsed()-began)
		}
		wake := make(chan struct{}, 1)
		c.Go(func() {
			_ = p.Sleep(ctx, time.Minute)
			wake <- struct{}{}
		})
		if n, err := c.Wait(ctx, clock.Forever, nil, wake); n != 1 || err != nil || len(wake) != 0 {
			t.Errorf("a wake: %d, %v, %d left", n, err, len(wake))
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		wake <- struct{}{}
		if n, err := c.Wait(ended, 0, wake); n != -1 || !errors.Is(err, context.Canceled) || len(wake) != 1 {
			t.Errorf("an ended context: %d, %v, %d left", n, err, len(wake))
		}
		closed := make(chan struct{})
		close(closed)
		if n, err := c.Wait(ctx, clock.Forever, closed); n != 0 || err != nil {
			t.Errorf("a closed channel: %d, %v", n, err)
		}
		return nil
	})
}

// A wake that is there and a deadline that has passed both win at times, and the wake is not lost.
func TestWaitIsFair(t *testing.T) {
	woken, passed := 0, 0
	alone(t, func(ctx context.Context, p *simulate.Process) error {
		wake := make(chan struct{}, 1)
		for range 200 {
			select {
			case wake <- struct{}{}:
			default:
			}
			n, err := p.Clock().Wait(ctx, 0, wake)
			if err != nil {
				return err
			}
			if n == 0 {
				woken++
			} else if passed++; len(wake) != 1 {
				t.Fatal("a wake was lost")
			}
		}
		return nil
	})
	if woken < 50 || passed < 50 {
		t.Errorf("woken %d times, passed %d times", woken, passed)
	}
}

func TestWithin(t *testing.T) {
	alone(t, func(ctx context.Context, p *simulate.Process) error {
		type key struct{}
		c := p.Clock()
		limited, cancel := c.Within(context.WithValue(ctx, key{}, 1), time.Minute)
		defer cancel()
		child, cancelChild := context.WithCancel(limited)
		defer cancelChild()
		nested, cancelNested := c.Within(child, time.Hour)
		defer cancelNested()
		if left, ok := c.Left(nested); !ok || left > time.Minute || left < 59*time.Second {
			t.Errorf("left %s, %v", left, ok)
		}
		for name, of := range map[string]context.Context{"itself": limited, "a child": child, "a nested one": nested} {
			if of.Err() != nil || of.Value(key{}) != 1 {
				t.Errorf("%s before: %v, %v", name, of.Err(), of.Value(key{}))
			}
		}
		p.Node().StepClock(-time.Hour) // the time of day does not matter
		if _, err := c.Wait(nested, clock.Forever); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the wait ended with %v", err)
		}
		for name, of := range map[string]context.Context{"itself": limited, "a child": child, "a nested one": nested} {
			select {
			case <-of.Done():
			default:
				t.Errorf("%s is not done", name)
			}
			if !errors.Is(of.Err(), context.DeadlineExceeded) || !errors.Is(context.Cause(of), context.DeadlineExceeded) {
				t.Errorf("%s after: %v, %v", name, of.Err(), context.Cause(of))
			}
		}
		return nil
	})
}

func TestWithinEndsWithItsParent(t *testing.T) {
	alone(t, func(ctx context.Context, p *simulate.Process) error {
		parent, cancelParent := context.WithCancel(ctx)
		limited, cancel := p.Clock().Within(parent, time.Minute)
		defer cancel()
		child, cancelChild := context.WithCancel(limited)
		defer cancelChild()
		p.Go(func() {
			_ = p.Sleep(ctx, time.Second)
			cancelParent()
			if !errors.Is(limited.Err(), context.Canceled) || !errors.Is(child.Err(), context.Canceled) {
				t.Errorf("right after: %v, %v", limited.Err(), child.Err())
			}
		})
		began := p.Clock().Elapsed()
		if _, err := p.Clock().Wait(child, clock.Forever); !errors.Is(err, context.Canceled) || p.Clock().Elapsed()-began > 2*time.Second {
			t.Errorf("a wait of a grandchild ended with %v after %s", err, p.Clock().Elapsed()-began)
		}
		again, cancelAgain := p.Clock().Within(ctx, time.Minute)
		grandchild, cancelGrandchild := context.WithCancel(again)
		defer cancelGrandchild()
		cancelAgain()
		if !errors.Is(grandchild.Err(), context.Canceled) {
			t.Errorf("cancelled: %v", grandchild.Err())
		}
		if done, cancelDone := p.Clock().Within(ctx, 0); !errors.Is(done.Err(), context.DeadlineExceeded) {
			t.Errorf("no time at all: %v", done.Err())
		} else {
			cancelDone()
		}
		return nil
	})
}

// Who waits on a descendant of a context learns of its end although nobody looks.
func TestWithinEndsUnseen(t *testing.T) {
	alone(t, func(ctx context.Context, p *simulate.Process) error {
		parent, cancelParent := context.WithCancel(ctx)
		limited, cancel := p.Clock().Within(parent, time.Hour)
		defer cancel()
		child, cancelChild := context.WithCancel(limited)
		defer cancelChild()
		p.Go(func() {
			_ = p.Sleep(ctx, time.Second)
			cancelParent()
		})
		began := p.Clock().Elapsed()
		if _, err := p.Clock().Wait(child, clock.Forever); !errors.Is(err, context.Canceled) || p.Clock().Elapsed()-began > 2*time.Second {
			t.Errorf("a wait of a grandchild ended with %v after %s", err, p.Clock().Elapsed()-began)
		}
		return nil
	})
}

// A dead process starts nothing.
func TestTheDeadStartNothing(t *testing.T) {
	w := simulate.New(simulate.Config{Seed: 1})
	ran := false
	n := w.Node("n", simulate.NodeConfig{})
	n.Start(func(p *simulate.Process) error {
		defer p.Go(func() { ran = true })
		_, err := p.Clock().Wait(p.Context(), clock.Forever)
		return err
	})
	r := w.Run(func(ctx context.Context, p *simulate.Process) error {
		_ = p.Sleep(ctx, time.Second)
		n.Crash()
		return p.Sleep(ctx, time.Second)
	})
	if ran || len(r.Violations) > 0 {
		t.Errorf("ran %v, %v", ran, r.Violations)
	}
}

func TestNodesHaveTheirOwnTimeOfDay(t *testing.T) {
	w := simulate.New(simulate.Config{Seed: 1})
	var seen []time.Duration
	w.Node("late", simulate.NodeConfig{Skew: -time.Minute, Drift: 100}).Start(func(p *simulate.Process) error {
		look := func() { seen = append(seen, p.Clock().Now().Sub(w.Now())) }
		look()
		_ = p.Sleep(p.Context(), time.Hour)
		look()
		p.Node().Drift(0)
		p.Node().StepClock(time.Hour)
		before := p.Clock().Elapsed()
		_ = p.Sleep(p.Context(), time.Hour)
		look()
		if d := p.Clock().Elapsed() - before; d < time.Hour || d > time.Hour+time.Second {
			t.Errorf("an hour took %s", d)
		}
		_, err := p.Clock().Wait(p.Context(), clock.Forever)
		return err
	})
	w.Run(func(ctx context.Context, p *simulate.Process) error { return p.Sleep(ctx, 3*time.Hour) })
	want := []time.Duration{-time.Minute, -time.Minute + 360*time.Millisecond, 59*time.Minute + 360*time.Millisecond}
	for i, d := range seen {
		if off := d - want[i]; off.Abs() > 10*time.Millisecond {
			t.Errorf("look %d: %s, want %s", i, d, want[i])
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d looks", len(seen))
	}
}

func TestRunsThatDoNotEnd(t *testing.T) {
	forever := func(ctx context.Context, p *simulate.Process) error {
		_, err := p.Clock().Wait(ctx, clock.Forever)
		return err
	}
	for rule, c := range map[string]struct {
		cfg simulate.Config
		s   simulate.Scenario
	}{
		simulate.RuleDeadlock: {simulate.Config{}, forever},
		simulate.RuleEndless: {simulate.Config{Steps: 1000}, func(ctx context.Context, p *simulate.Process) error {
			for p.Sleep(ctx, 0) == nil { //nolint:revive // it is to turn for ever
			}
			return nil
		}},
		simulate.RuleScenario: {simulate.Config{}, func(context.Context, *simulate.Process) error { return errors.New("no") }},
		simulate.RulePanic: {simulate.Config{}, func(ctx context.Context, p *simulate.Process) error {
			p.Go(func() { panic("boom") })
			return forever(ctx, p)
		}},
	} {
		r := simulate.New(c.cfg).Run(c.s)
		if r.Rule() != rule {
			t.Errorf("got %v, want %s", r.Violations, rule)
		}
		if rule == simulate.RulePanic && !strings.Contains(r.Violations[0].Text, "clock_test.go") {
			t.Errorf("the panic does not say where: %s", r.Violations[0].Text)
		}
	}
	late := simulate.New(simulate.Config{Time: time.Hour}).Run(func(ctx context.Context, p *simulate.Process) error { return p.Sleep(ctx, 2*time.Hour) })
	if late.Rule() != simulate.RuleEndless || late.Steps > 10 {
		t.Errorf("too late: got %v after %d steps", late.Violations, late.Steps)
	}
}

// Who waits for real is found, and shown.
func TestWatchdog(t *testing.T) {
	free := make(chan struct{})
	done := make(chan struct{})
	r := simulate.New(simulate.Config{Watchdog: 50 * time.Millisecond}).Run(func(context.Context, *simulate.Process) error {
		defer close(done)
		<-free
		return nil
	})
	if r.Rule() != simulate.RuleBlocked || !strings.Contains(r.Violations[0].Text, "clock_test.go") {
		t.Errorf("got %q: %.2000s", r.Rule(), r.Violations)
	}
	close(free) // so that nothing is left of it
	<-done
}
