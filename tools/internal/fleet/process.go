//go:build unix

package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"refrain.dev/pkg/embed/child"
)

// Build builds services into a directory, under their own names. It needs the Go tool.
func Build(ctx context.Context, dir string, services ...string) error {
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	for _, name := range services {
		args = append(args, "refrain.dev/services/"+name)
	}
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput() //nolint:gosec // the toolchain that built this program
	if err != nil {
		return fmt.Errorf("build %v: %w: %s", services, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Config says what to run.
type Config struct {
	// Name of the process; its log is <Name>.log in Dir.
	Name, Dir string
	// Path of the program, its arguments, and its variables; nil: those of this process.
	Path string
	Args []string
	Env  []string
}

// Process is a program that is started, killed and started again. Its methods are safe for concurrent use,
// but only one at a time of those that start and end it.
type Process struct {
	cfg Config
	log *os.File

	mu    sync.Mutex
	life  *life
	lives int
}

// life is one run of a process.
type life struct {
	process *child.Process
	said    *listener
	// asked: it was ended from outside; mortal: it may kill itself.
	asked, mortal bool
}

// New makes a process that does not run yet.
func New(cfg Config) (*Process, error) {
	path := filepath.Join(cfg.Dir, cfg.Name+".log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the caller's own directory
	if err != nil {
		return nil, fmt.Errorf("keep the log of %s: %w", cfg.Name, err)
	}
	return &Process{cfg: cfg, log: f}, nil
}

// Name of the process.
func (p *Process) Name() string { return p.cfg.Name }

// Start starts the process, which must not run. A mortal one may kill itself, as with failpoints.
func (p *Process) Start(mortal bool, more ...string) error {
	l := &life{said: &listener{keep: p.log, heard: map[string]string{}}, mortal: mortal}
	var err error
	l.process, err = child.Start(child.Config{
		Path: p.cfg.Path, Args: slices.Concat(p.cfg.Args, more), Env: p.cfg.Env, Output: l.said,
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", p.cfg.Name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.life, p.lives = l, p.lives+1
	return nil
}

func (p *Process) now() *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life
}

// ask notes that what ends from here on was asked to.
func (p *Process) ask() *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life != nil && p.life.process.Running() {
		p.life.asked = true
	}
	return p.life
}

// Kill is kill -9, also of a paused process. It returns when the process is reaped, and says whether there was
// anything to kill.
func (p *Process) Kill() (bool, error) {
	l := p.ask()
	if l == nil || !l.process.Running() {
		return false, nil
	}
	return true, l.process.Kill()
}

// Stop asks the process to end and returns how it did. One that takes longer is killed, which is an error.
func (p *Process) Stop(within time.Duration) error {
	l := p.ask()
	if l == nil {
		return nil
	}
	return errors.Join(l.process.Stop(within), l.process.Err())
}

// Pause is kill -STOP, Resume kill -CONT.
func (p *Process) Pause() error { return p.now().process.Pause() }

// Resume lets a paused process go on.
func (p *Process) Resume() error { return p.now().process.Resume() }

// Running says whether the process is there, if only paused.
func (p *Process) Running() bool {
	l := p.now()
	return l != nil && l.process.Running()
}

// Lives says how often the process was started.
func (p *Process) Lives() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lives
}

// Addr is where a component of the running process listens; empty while it does not.
func (p *Process) Addr(component string) string {
	l := p.now()
	if l == nil || !l.process.Running() {
		return ""
	}
	return l.said.addr(component)
}

// Ready says whether the running process has said that it is.
func (p *Process) Ready() bool {
	l := p.now()
	return l != nil && l.process.Running() && l.said.isReady()
}

// Died says whether the process killed itself, as a mortal one may.
func (p *Process) Died() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life != nil && !p.life.process.Running() && !p.life.asked && p.life.mortal && killed(p.life.process.Err())
}

func killed(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// Trouble says what the process did in this life that it should not have: ended by itself, halted a partition,
// wrote something that is no line of its log, such as a panic.
func (p *Process) Trouble() []string {
	l := p.now()
	if l == nil {
		return nil
	}
	out := l.said.trouble()
	p.mu.Lock()
	asked := l.asked
	p.mu.Unlock()
	if !l.process.Running() && !asked && (!l.mortal || !killed(l.process.Err())) {
		out = append(out, fmt.Sprintf("it ended by itself: %v", l.process.Err()))
	}
	return out
}

// Close kills what runs and closes the log.
func (p *Process) Close() error {
	_, err := p.Kill()
	return errors.Join(err, p.log.Close())
}
