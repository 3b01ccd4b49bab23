package shop

import (
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"refrain.dev/pkg/simulate/schedule"
)

var (
	seed  = flag.Uint64("shop.seed", 1, "seed of TestSeed")
	count = flag.Uint64("shop.count", 20, "seeds of TestSeeds")
	quiet = flag.Bool("shop.quiet", false, "no faults in TestSeed")
	loud  = flag.Bool("shop.loud", false, "let services log in TestSeed")
)

func bundles(t testing.TB) *Bundles {
	t.Helper()
	b, err := NewBundles()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSeed(t *testing.T) {
	s := Generate(*seed)
	if *quiet {
		s = schedule.Schedule{Operations: s.Operations}
	}
	o := Options{}
	if *loud {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	r := bundles(t).Run(*seed, s, o)
	t.Logf("%d steps, %s, %d operations, hash %x\n%v", r.Steps, r.Elapsed, r.Operations, r.Hash, r.Goals)
	for _, v := range r.Violations {
		t.Errorf("%s: %s", v.Rule, v.Text)
	}
}

func TestSeeds(t *testing.T) {
	b := bundles(t)
	for n := range *count {
		r := b.Run(n, Generate(n), Options{})
		for _, v := range r.Violations {
			t.Errorf("seed %d: %s: %.300s", n, v.Rule, v.Text)
		}
	}
}

// The same seed and schedule make the same run, to the last operation: else no failure could be replayed.
func TestRunsAreDeterministic(t *testing.T) {
	b := bundles(t)
	for n := range uint64(40) {
		one, two := b.Run(n, Generate(n), Options{}), b.Run(n, Generate(n), Options{})
		if one.Hash != two.Hash || one.Steps != two.Steps {
			t.Errorf("seed %d: %d steps %x, then %d steps %x", n, one.Steps, one.Hash, two.Steps, two.Hash)
		}
	}
}

// What no log may do is noticed: the partition halts, and nobody is contacted who should not be.
func TestLossesBeyondTheModelAreNoticed(t *testing.T) {
	b := bundles(t)
	halts, runs := map[string]int{}, map[string]int{}
	for n := range *count {
		s := Beyond(n)
		r := b.Run(n, s, Options{Beyond: true})
		halted, harm := Noticed(r)
		kind := string(s.Faults[0].What)
		runs[kind]++
		if halted {
			halts[kind]++
		} else {
			t.Errorf("seed %d: nobody noticed %s", n, s.Faults[0])
		}
		for _, v := range harm {
			t.Errorf("seed %d: %s: %s", n, v.Rule, v.Text)
		}
	}
	t.Logf("halted %v of %v", halts, runs)
}

// Every case was once a seed that failed, shrunk or as it was; none may fail again.
func TestCases(t *testing.T) {
	b := bundles(t)
	files, err := filepath.Glob("testdata/cases/*.case")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".case"), func(t *testing.T) {
			text, err := os.ReadFile(file) //nolint:gosec // our own testdata
			if err != nil {
				t.Fatal(err)
			}
			c, err := schedule.ParseCase(string(text))
			if err != nil {
				t.Fatal(err)
			}
			for n := range uint64(5) { // what happens when differs from seed to seed
				for _, v := range b.Run(c.Seed+n, c.Schedule, Options{}).Violations {
					t.Errorf("seed %d: %s: %s", c.Seed+n, v.Rule, v.Text)
				}
			}
		})
	}
}
