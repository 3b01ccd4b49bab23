package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"refrain.dev/tools/simulate/internal/mutant"
	"refrain.dev/tools/simulate/internal/shop"
)

//go:embed mutants/*.mutant
var mutants embed.FS

// hunter looks for planted bugs.
type hunter struct {
	root   string // of the repository
	seeds  uint64
	first  uint64
	within time.Duration // for one mutant
	// sound says whether a seed passes without any mutant: one that fails by itself proves nothing.
	sound func(seed uint64) bool
}

// found is what came of a mutant.
type found struct {
	// by is the rule or test that found it; empty: nothing did.
	by string
	// seed that failed; after so many.
	seed, after uint64
	// others are failures that are no consequence of the mutant, or are there without it.
	others     []string
	build, run time.Duration
}

// hunt builds this program once with each planted bug and lets it look for it, several at a time.
func hunt(ctx context.Context, s settings) (caught, planted int, err error) {
	all, err := planned(s.mutants)
	if err != nil {
		return 0, 0, err
	}
	h, err := newHunter(ctx, s)
	if err != nil {
		return 0, 0, err
	}
	var mu sync.Mutex // guards what follows
	var errs []error
	var wg sync.WaitGroup
	room := make(chan struct{}, max(s.workers, 1))
	for _, m := range all {
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			if ctx.Err() != nil {
				return
			}
			f, err := h.find(ctx, m)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			if f.by != "" {
				caught++
			}
			fmt.Println(f.line(m))
		})
	}
	wg.Wait()
	return caught, len(all), errors.Join(errs...)
}

func (f found) line(m mutant.Mutant) string {
	cost := fmt.Sprintf("built in %.0f s, ran %.0f s", f.build.Seconds(), f.run.Seconds())
	if len(f.others) > 0 {
		cost += ", not counted: " + strings.Join(f.others, ", ")
	}
	switch {
	case f.by == "":
		return fmt.Sprintf("mutant %-44s NOT FOUND in %d seeds (%s): %s", m.Name, f.after, cost, m.Breaks)
	case m.Test.Name != "":
		return fmt.Sprintf("mutant %-44s found by %s (%s)", m.Name, f.by, cost)
	}
	return fmt.Sprintf("mutant %-44s found as %s in seed %d, after %d (%s)", m.Name, f.by, f.seed, f.after, cost)
}

// planned are the mutants of those names, separated by commas, or all.
func planned(names string) ([]mutant.Mutant, error) {
	dir, err := fs.Sub(mutants, "mutants")
	if err != nil {
		return nil, fmt.Errorf("open the mutants: %w", err)
	}
	all, err := mutant.Read(dir)
	if err != nil || names == "all" {
		return all, err
	}
	wanted := strings.Split(names, ",")
	all = slices.DeleteFunc(all, func(m mutant.Mutant) bool { return !slices.Contains(wanted, m.Name) })
	if len(all) != len(wanted) {
		return nil, fmt.Errorf("find the mutants %s: %d of them are there", names, len(all))
	}
	return all, nil
}

func newHunter(ctx context.Context, s settings) (*hunter, error) {
	root, err := repository(ctx)
	if err != nil {
		return nil, err
	}
	bundles, err := shop.NewBundles()
	if err != nil {
		return nil, err
	}
	return &hunter{
		root: root, seeds: s.mutantSeeds, first: s.first, within: 5 * time.Minute,
		sound: func(seed uint64) bool {
			return len(bundles.Run(seed, shop.Generate(seed), shop.Options{}).Violations) == 0
		},
	}, nil
}

// repository is the root of the repository that the command runs in.
func repository(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOWORK").Output()
	work := strings.TrimSpace(string(out))
	if err != nil || work == "" || work == "off" {
		return "", fmt.Errorf("find the repository: run this inside of it (go env GOWORK says %q): %w", work, err)
	}
	return filepath.Dir(work), nil
}

// find looks for one mutant. An error says that it could not be looked for.
func (h *hunter) find(ctx context.Context, m mutant.Mutant) (f found, err error) {
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return f, fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	overlay, err := m.Overlay(h.root, dir)
	if err != nil {
		return f, err
	}
	if m.Test.Name != "" {
		return h.findByTest(ctx, m, overlay)
	}
	began := time.Now()
	program := filepath.Join(dir, "simulate")
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-overlay", overlay, "-o", program, "./simulate")
	build.Dir = filepath.Join(h.root, "tools")
	if out, err := build.CombinedOutput(); err != nil {
		return f, fmt.Errorf("build mutant %s: %w\n%s", m.Name, err, out)
	}
	f.build = time.Since(began)
	began = time.Now()
	limited, cancel := context.WithTimeout(ctx, h.within)
	defer cancel()
	err = h.chase(limited, m, program, &f)
	f.run = time.Since(began)
	return f, err
}

// findByTest runs a mutant's test, without it and with it.
func (h *hunter) findByTest(ctx context.Context, m mutant.Mutant, overlay string) (f found, err error) {
	limited, cancel := context.WithTimeout(ctx, h.within)
	defer cancel()
	began := time.Now()
	module, pkg, _ := strings.Cut(m.Test.Package, "/")
	test := func(flags ...string) ([]byte, error) {
		args := append([]string{"test", "-run", "^" + m.Test.Name + "$"}, flags...)
		cmd := exec.CommandContext(limited, "go", append(args, "./"+pkg)...) //nolint:gosec // our own tests
		cmd.Dir = filepath.Join(h.root, module)
		return cmd.CombinedOutput()
	}
	if out, err := test(); err != nil {
		return f, fmt.Errorf("mutant %s: %s fails without it: %w\n%s", m.Name, m.Test.Name, err, out)
	}
	out, err := test("-overlay", overlay)
	f.run = time.Since(began)
	switch {
	case bytes.Contains(out, []byte("--- FAIL: "+m.Test.Name)):
		f.by = m.Test.Name
	case bytes.Contains(out, []byte("no tests to run")), err != nil:
		return f, fmt.Errorf("mutant %s: run %s: %w\n%s", m.Name, m.Test.Name, err, out)
	}
	return f, nil
}

var (
	seedFailed = regexp.MustCompile(`(?m)^seed (\d+): ([a-z_.]+)`)
	runsMade   = regexp.MustCompile(`(?m)^(\d+) runs in `)
)

// chase runs a program with a mutant from seed to seed until one fails that is sound without it, by a rule whose
// breach is a consequence of the mutant.
func (h *hunter) chase(ctx context.Context, m mutant.Mutant, program string, f *found) error {
	for next := h.first; next < h.first+h.seeds && ctx.Err() == nil; {
		run := exec.CommandContext(ctx, program, "-seeds", fmt.Sprint(h.first+h.seeds-next), "-first", fmt.Sprint(next), //nolint:gosec // our own program
			"-workers", "1", "-stop-at", "1", "-shrink", "0", "-goals=false")
		out, err := run.CombinedOutput()
		seed, rule := failure(out)
		if seed == 0 {
			if err == nil || ctx.Err() != nil {
				f.after += made(out)
				return nil //nolint:nilerr // the end was asked for
			}
			return fmt.Errorf("run mutant %s from seed %d: %w\n%s", m.Name, next, err, tail(out))
		}
		f.after += seed - next + 1
		next = seed + 1
		switch {
		case !slices.Contains(m.Rules, rule):
			f.others = append(f.others, fmt.Sprintf("%s (%d)", rule, seed))
		case !h.sound(seed):
			f.others = append(f.others, fmt.Sprintf("%s without it (%d)", rule, seed))
		default:
			f.by, f.seed = rule, seed
			return nil
		}
	}
	return nil
}

// failure is the first seed that failed, and the rule that it broke.
func failure(out []byte) (seed uint64, rule string) {
	if f := seedFailed.FindSubmatch(out); f != nil {
		seed, _ = strconv.ParseUint(string(f[1]), 10, 64) // it is digits
		return seed, string(f[2])
	}
	return 0, ""
}

// made is how many seeds a program ran.
func made(out []byte) uint64 {
	if r := runsMade.FindSubmatch(out); r != nil {
		n, _ := strconv.ParseUint(string(r[1]), 10, 64) // it is digits
		return n
	}
	return 0
}

// tail is the end of what a program said.
func tail(out []byte) []byte { return out[max(0, len(out)-2000):] }
