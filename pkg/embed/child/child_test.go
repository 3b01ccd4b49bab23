//go:build unix

package child_test

import (
	"bufio"
	"errors"
	"io"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"refrain.dev/pkg/embed/child"
)

const stopWithin = 20 * time.Second

// shell runs a script that says "ready" when it is.
func shell(t *testing.T, script string) (*child.Process, *bufio.Reader) {
	t.Helper()
	r, w := io.Pipe()
	p, err := child.Start(child.Config{Path: "/bin/sh", Args: []string{"-c", script}, Output: w})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.Close()
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	out := bufio.NewReader(r)
	want(t, out, "ready\n")
	return p, out
}

func want(t *testing.T, out *bufio.Reader, line string) {
	t.Helper()
	if got, err := out.ReadString('\n'); err != nil || got != line {
		t.Fatalf("it wrote %q, %v; want %q", got, err, line)
	}
}

func endedBy(t *testing.T, p *child.Process, by syscall.Signal) {
	t.Helper()
	exit, ok := errors.AsType[*exec.ExitError](p.Err())
	if !ok || p.Running() {
		t.Fatalf("running %v, %v; want it ended by %s", p.Running(), p.Err(), by)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); !ok || status.Signal() != by {
		t.Fatalf("%v; want it ended by %s", exit, by)
	}
}

func TestKillEndsWithoutAWarning(t *testing.T) {
	p, _ := shell(t, `trap "echo warned" TERM; echo ready; while :; do sleep 0.1; done`)
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	endedBy(t, p, syscall.SIGKILL)
	if err := errors.Join(p.Kill(), p.Pause(), p.Resume(), p.Stop(stopWithin)); err != nil {
		t.Errorf("a process that is gone: %v", err)
	}
}

func TestKillEndsAPausedProcess(t *testing.T) {
	p, _ := shell(t, `echo ready; while :; do sleep 0.1; done`)
	if err := errors.Join(p.Pause(), p.Kill()); err != nil {
		t.Fatal(err)
	}
	endedBy(t, p, syscall.SIGKILL)
}

func TestStopIsHeardByAPausedProcess(t *testing.T) {
	p, out := shell(t, `trap "echo bye; exit 3" TERM; echo ready; while :; do sleep 0.1; done`)
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	if !p.Running() || p.Err() != nil {
		t.Fatalf("paused: running %v, %v", p.Running(), p.Err())
	}
	stopped := make(chan error, 1)
	go func() { stopped <- p.Stop(stopWithin) }()
	want(t, out, "bye\n")
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if exit, ok := errors.AsType[*exec.ExitError](p.Err()); !ok || exit.ExitCode() != 3 {
		t.Errorf("%v, want exit status 3", p.Err())
	}
}

func TestStopKillsWhatDoesNotListen(t *testing.T) {
	p, _ := shell(t, `trap "" TERM; echo ready; while :; do sleep 0.1; done`)
	if err := p.Stop(10 * time.Millisecond); err == nil {
		t.Error("Stop = nil, want that it was killed")
	}
	endedBy(t, p, syscall.SIGKILL)
}

func TestStartOfNothing(t *testing.T) {
	if _, err := child.Start(child.Config{Path: "/nonexistent/program"}); err == nil {
		t.Error("Start = nil, want an error")
	}
}
