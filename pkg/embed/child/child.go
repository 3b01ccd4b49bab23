//go:build unix

package child

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"refrain.dev/pkg/fault"
)

// outputDelay is how long the end of a process is held up by its own children that still have its output.
const outputDelay = time.Second

// Config says what to run.
type Config struct {
	// Path of the program.
	Path string
	// Args without the program's name.
	Args []string
	// Dir to run in; empty means this process's own.
	Dir string
	// Env of the process; nil means this process's own.
	Env []string
	// Output takes what it writes to its standard output and error; nil discards it. It must be safe for
	// what the process writes while somebody else reads it; an *os.File is.
	Output io.Writer
}

// Process is a program that runs, or ran. Its methods are safe for concurrent use.
type Process struct {
	path    string
	command *exec.Cmd
	ended   chan struct{}
	err     error // how it ended; read after ended is closed
}

// Start starts a process in a process group of its own, so that a terminal's interrupt does not reach it.
func Start(cfg Config) (*Process, error) {
	p := &Process{path: cfg.Path, ended: make(chan struct{})}
	p.command = exec.Command(cfg.Path, cfg.Args...) //nolint:gosec // running programs is what this package is for
	p.command.Dir, p.command.Env = cfg.Dir, cfg.Env
	p.command.Stdout, p.command.Stderr = cfg.Output, cfg.Output
	p.command.SysProcAttr = attributes()
	p.command.WaitDelay = outputDelay
	started := make(chan error)
	go p.supervise(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cfg.Path, err)
	}
	return p, nil
}

// supervise starts the process and reaps it, on a thread that nothing else uses: Linux sends the
// parent-death signal when the thread that started the process ends.
func (p *Process) supervise(started chan<- error) {
	runtime.LockOSThread()
	err := p.command.Start()
	started <- err
	if err != nil {
		return
	}
	if err = p.command.Wait(); err != nil {
		p.err = fmt.Errorf("%s ended: %w", p.path, err)
	}
	close(p.ended)
}

// PID of the process.
func (p *Process) PID() int { return p.command.Process.Pid }

// Ended is closed when the process is gone and reaped.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Running says whether the process is there; a paused one is.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Err says how the process ended, nil if it did so with status 0 or is still there.
func (p *Process) Err() error {
	if p.Running() {
		return nil
	}
	return p.err
}

// Kill ends the process at once (SIGKILL), also a paused one, and returns when it is reaped.
func (p *Process) Kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.ended
	return nil
}

// Pause stops the process where it is (SIGSTOP) until Resume. Its connections stay open.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on (SIGCONT).
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

// Stop asks the process to end (SIGTERM), also a paused one, kills it if it does not within the given time,
// which is an error, and returns when it is reaped. Idempotent.
func (p *Process) Stop(within time.Duration) error {
	if err := errors.Join(p.signal(syscall.SIGTERM), p.Resume()); err != nil {
		return err
	}
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	select {
	case <-p.ended:
		return nil
	case <-timeout.C:
	}
	if err := p.Kill(); err != nil {
		return err
	}
	return fault.New(fault.Unavailable, "%s did not end within %s and was killed", p.path, within)
}

func (p *Process) signal(s os.Signal) error {
	if err := p.command.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s to %s: %w", s, p.path, err)
	}
	return nil
}
