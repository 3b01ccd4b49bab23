// Package sweep runs many seeds of a simulated world beside each other and adds up what came of them.
package sweep

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"refrain.dev/pkg/simulate"
)

// Config says what is run.
type Config struct {
	// First seed, and how many.
	First, Count uint64
	// Workers is how many run at once; 0 means one.
	Workers int
	// Keep is how many failed results are kept whole; 0 means 10. StopAt ends the sweep at so many failures;
	// 0 means never.
	Keep, StopAt int
	// Required goals: those that no run reached are in Report.Missed.
	Required []string
	// Progress is told now and then how far it is; may be nil. It is called by one goroutine at a time.
	Progress func(Report)
	// Every is how often Progress is told; 0 means 10 s.
	Every time.Duration
}

// Report is what came of a sweep, or of its part until now.
type Report struct {
	Runs, Failed, Steps, Operations uint64
	// Simulated time of all runs, and real time of the sweep.
	Simulated, Took time.Duration
	// Goals that were reached: in how many runs, and how often in all.
	Goals map[string]Reached
	// Rules that were broken, with how often a run broke it first.
	Rules map[string]uint64
	// Failures are the first failed results, by seed.
	Failures []simulate.Result
	// Missed are the required goals that were not reached.
	Missed []string
}

// Reached says how a goal was reached.
type Reached struct{ Runs, Times uint64 }

// Passed says that no run failed and no required goal was missed.
func (r Report) Passed() bool { return r.Failed == 0 && len(r.Missed) == 0 }

// PerSecond is how many runs were made in a second.
func (r Report) PerSecond() float64 { return float64(r.Runs) / max(r.Took.Seconds(), 1e-9) }

// String is a summary of some lines.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d runs in %s (%.1f/s): %d failed, %d steps, %d operations, %s simulated\n",
		r.Runs, r.Took.Round(time.Millisecond), r.PerSecond(), r.Failed, r.Steps, r.Operations, r.Simulated.Round(time.Second))
	for _, rule := range slices.Sorted(maps.Keys(r.Rules)) {
		fmt.Fprintf(&b, "broken %s: %d\n", rule, r.Rules[rule])
	}
	for _, goal := range r.Missed {
		fmt.Fprintf(&b, "never reached: %s\n", goal)
	}
	return b.String()
}

// sweep is a sweep under way.
type sweep struct {
	cfg   Config
	began time.Time

	mu     sync.Mutex
	next   uint64
	report Report
}

// Run runs the seeds until all are done, ctx ends or too many have failed. The result of a seed is run's,
// which makes its world itself and is called by several goroutines at once.
func Run(ctx context.Context, cfg Config, run func(seed uint64) simulate.Result) Report {
	s := &sweep{cfg: cfg, began: time.Now()}
	s.report = Report{Goals: map[string]Reached{}, Rules: map[string]uint64{}}
	if s.cfg.Keep <= 0 {
		s.cfg.Keep = 10
	}
	if s.cfg.Every <= 0 {
		s.cfg.Every = 10 * time.Second
	}
	done := make(chan struct{})
	var workers, teller sync.WaitGroup
	for range max(cfg.Workers, 1) {
		workers.Go(func() { s.work(ctx, run) })
	}
	if cfg.Progress != nil {
		teller.Go(func() { s.tell(done) })
	}
	workers.Wait()
	close(done)
	teller.Wait()
	return s.sofar()
}

func (s *sweep) work(ctx context.Context, run func(seed uint64) simulate.Result) {
	for ctx.Err() == nil {
		s.mu.Lock()
		seed := s.cfg.First + s.next
		over := s.next >= s.cfg.Count || (s.cfg.StopAt > 0 && s.report.Failed >= uint64(s.cfg.StopAt)) //nolint:gosec // positive
		s.next++
		s.mu.Unlock()
		if over {
			return
		}
		s.add(run(seed))
	}
}

func (s *sweep) add(r simulate.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.Runs++
	s.report.Steps += r.Steps
	s.report.Operations += r.Operations
	s.report.Simulated += r.Elapsed
	for goal, times := range r.Goals {
		g := s.report.Goals[goal]
		s.report.Goals[goal] = Reached{g.Runs + 1, g.Times + uint64(times)} //nolint:gosec // a count
	}
	if len(r.Violations) == 0 {
		return
	}
	s.report.Failed++
	s.report.Rules[r.Rule()]++
	s.report.Failures = append(s.report.Failures, r)
	slices.SortFunc(s.report.Failures, func(a, b simulate.Result) int {
		if a.Seed < b.Seed {
			return -1
		}
		return 1
	})
	s.report.Failures = s.report.Failures[:min(len(s.report.Failures), s.cfg.Keep)]
}

// sofar is a copy of the report until now.
func (s *sweep) sofar() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.report
	r.Took = time.Since(s.began)
	r.Goals, r.Rules, r.Failures = maps.Clone(r.Goals), maps.Clone(r.Rules), slices.Clone(r.Failures)
	for _, goal := range s.cfg.Required {
		if r.Goals[goal].Times == 0 {
			r.Missed = append(r.Missed, goal)
		}
	}
	return r
}

func (s *sweep) tell(done <-chan struct{}) {
	tick := time.NewTicker(s.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			s.cfg.Progress(s.sofar())
		}
	}
}
