package main

import (
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
	"strings"
	"time"

	"refrain.dev/tools/simulate/internal/mutant"
)

//go:embed mutants/*.mutant
var mutants embed.FS

// hunt builds this program once with each planted bug and lets it look for it.
func hunt(ctx context.Context, s settings) (found, planted int, err error) {
	dir, err := fs.Sub(mutants, "mutants")
	if err != nil {
		return 0, 0, fmt.Errorf("open the mutants: %w", err)
	}
	all, err := mutant.Read(dir)
	if err != nil {
		return 0, 0, err
	}
	root, err := repository(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, m := range all {
		if s.mutants != "all" && !slices.Contains(strings.Split(s.mutants, ","), m.Name) {
			continue
		}
		planted++
		rule, after, err := find(ctx, m, root, s)
		switch {
		case err != nil:
			return found, planted, err
		case rule == "":
			fmt.Printf("mutant %-40s NOT FOUND in %s (%s)\n", m.Name, after, m.Breaks)
		default:
			found++
			fmt.Printf("mutant %-40s found as %s %s\n", m.Name, rule, after)
		}
	}
	return found, planted, nil
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

var (
	seedFailed = regexp.MustCompile(`(?m)^seed (\d+): ([a-z_.]+)`)
	runsMade   = regexp.MustCompile(`(?m)^(\d+) runs in (\S+)`)
)

// find builds the program with a mutant and runs it until it fails; rule is empty if it never does.
func find(ctx context.Context, m mutant.Mutant, root string, s settings) (rule, after string, err error) {
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return "", "", fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	overlay, err := m.Overlay(root, dir)
	if err != nil {
		return "", "", err
	}
	program := filepath.Join(dir, "simulate")
	build := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", program, "./simulate")
	build.Dir = filepath.Join(root, "tools")
	if out, err := build.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("build mutant %s: %w\n%s", m.Name, err, out)
	}
	limited, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	run := exec.CommandContext(limited, program, "-seeds", fmt.Sprint(s.mutantSeeds), "-first", fmt.Sprint(s.first), //nolint:gosec // our own program
		"-workers", fmt.Sprint(s.workers), "-stop-at", "1", "-shrink", "0", "-goals=false")
	out, err := run.Output()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		return "", "", fmt.Errorf("run mutant %s: %w", m.Name, err)
	}
	took := "nothing was run"
	if r := runsMade.FindSubmatch(out); r != nil {
		took = fmt.Sprintf("after %s seeds, %s", r[1], r[2])
	}
	if f := seedFailed.FindSubmatch(out); f != nil {
		return string(f[2]), took, nil
	}
	return "", took, nil
}
