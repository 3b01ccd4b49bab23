// Command bench prints a table of ratios: what a piece of Refrain costs against the barest thing that moves
// the same bytes or gives the same answer, both taken in the same run on the same machine, in turn. The
// absolute figures beside them are those of this machine, now, and say nothing about another.
//
// It asserts nothing about time; it fails if something does not work.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

func main() {
	within := flag.Duration("for", time.Minute, "how long the whole run may take, about; more gives steadier ratios")
	rounds := flag.Int("rounds", 5, "how often each figure is taken on both sides")
	profiles := flag.Int("rebuild", 0, "instead of the table: the time to make the states of so many profiles again")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	var err error
	if *profiles > 0 {
		err = runRebuild(ctx, os.Stdout, *profiles)
	} else {
		err = bench(ctx, os.Stdout, plan{within: *within, rounds: *rounds})
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// figureCount is how many figures share the time of a run; a test holds it to what there is.
const figureCount = 7

// plan says how much is measured.
type plan struct {
	within time.Duration
	rounds int
}

// slice is how long one side is measured in a round: half of the run, the rest starts and stops things.
func (p plan) slice() time.Duration {
	return p.within / 2 / time.Duration(2*figureCount*p.rounds)
}

// suite is the figures that are taken on one set of running things.
type suite struct {
	figures []figure
	close   func() error
}

func suites() []func(ctx context.Context, dir string) (*suite, error) {
	return []func(context.Context, string) (*suite, error){chainSuite, stateSuite, coreSuite, meshSuite}
}

func bench(ctx context.Context, out io.Writer, p plan) error {
	if p.rounds < 1 || p.within <= 0 {
		return errors.New("want --rounds of at least 1 and a positive --for")
	}
	dir, err := os.MkdirTemp("", "refrain-bench-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	t := &taking{plan: p, began: time.Now()}
	for n, build := range suites() {
		if err := t.suite(ctx, build, filepath.Join(dir, fmt.Sprint(n))); err != nil {
			return err
		}
	}
	return printTable(out, t.lines, p)
}

// taking is a run and what it has taken so far.
type taking struct {
	plan  plan
	began time.Time
	lines []line
}

// suite builds one suite, takes its figures and stops what it started. Each figure has its share of the time
// and what those before it left over.
func (t *taking) suite(ctx context.Context, build func(context.Context, string) (*suite, error), dir string) (err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	s, err := build(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, f := range s.figures {
		share := t.plan.within * time.Duration(len(t.lines)+1) / figureCount
		l, err := f.take(ctx, t.plan, t.began.Add(share))
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		t.lines = append(t.lines, l)
	}
	return nil
}
