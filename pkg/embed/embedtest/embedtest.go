// Package embedtest gives tests the servers and programs that they need beside Go, and says loudly when
// one is not there: the test is skipped with a line in the file that REFRAIN_ABSENT names, which
// "make test" prints at its end, or fails if REFRAIN_REQUIRE lists what is absent.
package embedtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"refrain.dev/pkg/embed"
)

// startWithin bounds the start of a server on a busy machine.
const startWithin = 30 * time.Second

// Redis starts a real Redis or Valkey server of the test's own, empty, stops it at the test's end, and
// returns its address for state.RedisOptions. See Require for what happens where there is none.
func Redis(t testing.TB) string {
	t.Helper()
	return RedisAt(t, t.TempDir()).Addr()
}

// RedisAt is Redis with the files in dir, and returns the server so that a test can stop it early.
func RedisAt(t testing.TB, dir string) *embed.RedisServer {
	t.Helper()
	Require(t, "redis")
	ctx, cancel := context.WithTimeout(t.Context(), startWithin)
	defer cancel()
	server, err := embed.StartRedis(ctx, embed.RedisConfig{Dir: dir})
	if err != nil {
		t.Fatalf("start redis: %v", err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Errorf("stop redis: %v", err)
		}
	})
	return server
}

// Require goes on if what the test needs is on this machine: "redis" (redis-server or valkey-server),
// "node", or "smtp" (python3 with aiosmtpd). Otherwise it fails the test if the environment variable
// REFRAIN_REQUIRE, a list separated by commas, has the name, and else skips it, loudly.
func Require(t testing.TB, what string) {
	t.Helper()
	if present(t, what) {
		return
	}
	if slices.Contains(strings.Split(os.Getenv("REFRAIN_REQUIRE"), ","), what) {
		t.Fatalf("%s is required by REFRAIN_REQUIRE and is not here", what)
	}
	report(t, what)
	t.Skipf("NOT TESTED: %s is not here", what)
}

func present(t testing.TB, what string) bool {
	t.Helper()
	switch what {
	case "redis":
		return found("redis-server") || found("valkey-server")
	case "node":
		return found("node")
	case "smtp":
		return found("python3") && exec.CommandContext(t.Context(), "python3", "-c", "import aiosmtpd").Run() == nil
	}
	t.Fatalf("nothing is known about %q; see embedtest.Require", what)
	return false
}

func found(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// report adds a line to the file of what was not tested; go test itself shows no skips of what passes.
func report(t testing.TB, what string) {
	t.Helper()
	path := os.Getenv("REFRAIN_ABSENT")
	if path == "" {
		return
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // the caller's own file
	if err != nil {
		t.Fatalf("report what is not tested: %v", err)
	}
	_, err = fmt.Fprintf(file, "NOT TESTED: %s (%s is not here)\n", t.Name(), what)
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatalf("report what is not tested: %v", err)
	}
}
