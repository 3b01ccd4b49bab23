// Package embedtest gives tests the servers and programs that they need beside Go, and says loudly when
// one is not there: the test is skipped, which "make test" lists at its end, or fails if REFRAIN_REQUIRE
// lists what is absent.
package embedtest

import (
	"context"
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
// REFRAIN_REQUIRE, a list separated by commas, has the name, and else skips it with the reason.
func Require(t testing.TB, what string) {
	t.Helper()
	if present(t, what) {
		return
	}
	Absent(t, what, what)
}

// Absent ends the test because a part of what is there is missing: what is a name that Require knows,
// missing says what it is and how one gets it.
func Absent(t testing.TB, what, missing string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("REFRAIN_REQUIRE"), ","), what) {
		t.Fatalf("%s is required by REFRAIN_REQUIRE and is not here: %s", what, missing)
	}
	t.Skipf("NOT TESTED: %s is not here", missing)
}

func present(t testing.TB, what string) bool {
	t.Helper()
	switch what {
	case "redis":
		return found("redis-server") || found("valkey-server")
	case "node":
		return found("node")
	case "smtp":
		return python(t) != ""
	}
	t.Fatalf("nothing is known about %q; see embedtest.Require", what)
	return false
}

// Python returns a python3 that has aiosmtpd. See Require for what happens where there is none.
func Python(t testing.TB) string {
	t.Helper()
	Require(t, "smtp")
	return python(t)
}

// python looks on the PATH first, then where distributions keep theirs.
func python(t testing.TB) string {
	t.Helper()
	for _, program := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), program, "-c", "import aiosmtpd").Run() == nil { //nolint:gosec // two fixed names
			return program
		}
	}
	return ""
}

func found(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}
