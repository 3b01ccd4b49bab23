// Command simulate runs the five services, unchanged, in simulated worlds where things go wrong, one world per
// seed, and holds each against what Refrain promises (docs/promises.md). A seed that fails is shrunk to a few
// lines, which replay it and make a regression test. Then it does the same with bugs planted into the
// production code, every one of which must be found.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"refrain.dev/pkg/simulate"
	"refrain.dev/pkg/simulate/schedule"
	"refrain.dev/pkg/simulate/sweep"
	"refrain.dev/tools/simulate/internal/shop"
)

// settings are what the command is told.
type settings struct {
	seeds, first uint64
	workers      int
	replay       string
	loud, trace  bool
	about        string
	mutants      string
	mutantSeeds  uint64
	stopAt       int
	shrinkRuns   int
	goals        bool
	gc           int
}

func main() {
	var s settings
	flag.Uint64Var(&s.seeds, "seeds", 1000, "how many seeds to run")
	flag.Uint64Var(&s.first, "first", 1, "the first seed")
	flag.IntVar(&s.workers, "workers", runtime.NumCPU(), "how many worlds at once")
	flag.StringVar(&s.replay, "replay", "", "run one case: a seed, or a file with a printed case")
	flag.BoolVar(&s.loud, "loud", false, "with -replay: let the services log")
	flag.StringVar(&s.about, "about", "", "with -replay: print what the chains say about a proposal or a customer")
	flag.BoolVar(&s.trace, "trace", false, "with -replay: print every step")
	flag.StringVar(&s.mutants, "mutants", "", "also find planted bugs: all, or names separated by commas")
	flag.Uint64Var(&s.mutantSeeds, "mutant-seeds", 3000, "how many seeds to try on each")
	flag.IntVar(&s.stopAt, "stop-at", 0, "end after so many failures; 0: never")
	flag.IntVar(&s.shrinkRuns, "shrink", 400, "how many runs to spend on shrinking the first failure; 0: none")
	flag.BoolVar(&s.goals, "goals", true, "fail if a coverage goal was not reached, unless there are no seeds")
	flag.IntVar(&s.gc, "gc", 1000, "garbage collection target; worlds are short-lived")
	flag.Parse()
	debug.SetGCPercent(s.gc)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	ok, err := execute(ctx, s)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

func execute(ctx context.Context, s settings) (ok bool, err error) {
	bundles, err := shop.NewBundles()
	if err != nil {
		return false, err
	}
	if s.replay != "" {
		return replay(bundles, s)
	}
	var required []string
	if s.goals && s.seeds > 0 {
		required = shop.Goals()
	}
	report := sweep.Run(ctx, sweep.Config{
		First: s.first, Count: s.seeds, Workers: s.workers, StopAt: s.stopAt, Required: required,
		Progress: func(r sweep.Report) {
			fmt.Printf("  %d seeds, %d failed, %.0f/s%s\n", r.Runs, r.Failed, r.PerSecond(), seedsOf(r.Failures))
		}, Every: 30 * time.Second,
	}, func(seed uint64) simulate.Result { return bundles.Run(seed, shop.Generate(seed), shop.Options{}) })
	fmt.Print(report)
	for n, f := range report.Failures {
		fmt.Printf("seed %d: %s\n", f.Seed, first(f))
		if n == 0 && s.shrinkRuns > 0 {
			shrink(bundles, f, s.shrinkRuns)
		}
	}
	found, planted := 0, 0
	if s.mutants != "" {
		if found, planted, err = hunt(ctx, s); err != nil {
			return false, err
		}
	}
	fmt.Printf("simulate: seeds=%d violations=%d mutants=%d/%d goals=%d/%d\n",
		report.Runs, report.Failed, found, planted, len(required)-len(report.Missed), len(required))
	return report.Passed() && found == planted && report.Runs == s.seeds, nil
}

// first is the first thing that is wrong with a run, in a line.
func first(r simulate.Result) string {
	text, _, _ := strings.Cut(r.Violations[0].Text, "\n")
	return r.Rule() + ": " + text
}

// seedsOf names the failed seeds: a long sweep need not end before one of them is looked at.
func seedsOf(failures []simulate.Result) string {
	var text strings.Builder
	for _, f := range failures {
		fmt.Fprintf(&text, " [%d %s]", f.Seed, f.Rule())
	}
	return text.String()
}

// shrink prints a failure as small as it can be made.
func shrink(b *shop.Bundles, failed simulate.Result, runs int) {
	smallest, made := schedule.Shrinker{Runs: runs, Fails: func(c schedule.Case) string {
		return b.Run(c.Seed, c.Schedule, shop.Options{}).Rule()
	}}.Shrink(schedule.Case{Seed: failed.Seed, Schedule: failed.Schedule}, failed.Rule())
	fmt.Printf("shrunk in %d runs; simulate -replay FILE replays it, and in testdata/cases it is a regression test:\n%s", made, smallest)
}

// replay runs one case and says what came of it.
func replay(b *shop.Bundles, s settings) (bool, error) {
	c, err := readCase(s.replay)
	if err != nil {
		return false, err
	}
	o := shop.Options{About: s.about}
	if s.loud {
		o.Logger = slog.New(slog.NewTextHandler(os.Stdout, nil))
	}
	if s.trace {
		o.Trace = func(line string) { fmt.Println(line) }
	}
	r := b.Run(c.Seed, c.Schedule, o)
	fmt.Print(schedule.Case{Seed: r.Seed, Schedule: r.Schedule})
	fmt.Printf("%d steps, %d operations, %s simulated, trace %x\n", r.Steps, r.Operations, r.Elapsed.Round(time.Millisecond), r.Hash)
	for _, v := range r.Violations {
		fmt.Printf("%s: %s\n", v.Rule, v.Text)
	}
	return len(r.Violations) == 0, nil
}

// readCase reads a seed or a file.
func readCase(what string) (schedule.Case, error) {
	var seed uint64
	if _, err := fmt.Sscanf(what, "%d", &seed); err == nil && fmt.Sprint(seed) == what {
		return schedule.Case{Seed: seed, Schedule: shop.Generate(seed)}, nil
	}
	data, err := os.ReadFile(what) //nolint:gosec // the file that the user names
	if err != nil {
		return schedule.Case{}, fmt.Errorf("read the case: %w", err)
	}
	c, err := schedule.ParseCase(string(data))
	if err != nil {
		return schedule.Case{}, fmt.Errorf("read the case %s: %w", what, err)
	}
	return c, nil
}
