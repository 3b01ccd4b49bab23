package crash

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// build builds services and returns the directory of the programs.
func build(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	for _, name := range names {
		args = append(args, "refrain.dev/services/"+name)
	}
	started := time.Now()
	out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput() //nolint:gosec // the toolchain that runs this test
	if err != nil {
		t.Fatalf("build %v: %v\n%s", names, err, out)
	}
	t.Logf("built %v in %s", names, time.Since(started).Round(time.Millisecond))
	return dir
}

// process is a program that is started, killed and started again.
type process struct {
	name    string
	command string
	args    []string
	env     []string
	log     *os.File

	mu      sync.Mutex
	current *life
	lives   int
	kills   int
}

// life is one run of a process.
type life struct {
	pid    int
	ended  chan struct{}
	err    error // after ended
	mu     sync.Mutex
	heard  map[string]string // component: address
	ready  bool
	asked  bool // it was killed or stopped by us
	unwell []string
}

// newProcess makes a process whose log lines are kept in dir; whatever runs of it at the test's end is killed.
func newProcess(t *testing.T, dir, name, command string, args ...string) *process {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, name+".log")) //nolint:gosec // the test's own file
	if err != nil {
		t.Fatal(err)
	}
	p := &process{name: name, command: command, args: args, env: os.Environ(), log: f}
	t.Cleanup(func() {
		p.kill()
		_ = f.Close()
	})
	return p
}

// start starts the process; it must not run.
func (p *process) start() error {
	cmd := exec.Command(p.command, p.args...) //nolint:gosec,noctx // built by the test; it outlives contexts on purpose
	cmd.Env, cmd.SysProcAttr, cmd.Stdout = p.env, childAttributes(), p.log
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	l := &life{ended: make(chan struct{}), heard: map[string]string{}}
	started := make(chan error)
	go func() { // a thread of its own: Linux tells the child of its parent's death when that thread ends
		runtime.LockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		l.pid = cmd.Process.Pid
		started <- nil
		l.listen(stderr, p.log)
		l.err = cmd.Wait()
		close(l.ended)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current, p.lives = l, p.lives+1
	return nil
}

// listen reads the log lines of a life until its end.
func (l *life) listen(r io.Reader, keep io.Writer) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		_, _ = keep.Write(append(s.Bytes(), '\n'))
		var line struct {
			Level, Msg, Component, Address string
			Ready                          bool
		}
		if json.Unmarshal(s.Bytes(), &line) != nil {
			l.mu.Lock()
			l.unwell = append(l.unwell, s.Text()) // a panic, for instance
			l.mu.Unlock()
			continue
		}
		l.mu.Lock()
		switch line.Msg {
		case "listening":
			l.heard[line.Component] = line.Address
		case "readiness changed":
			l.ready = line.Ready
		case "partition halted":
			l.unwell = append(l.unwell, s.Text())
		}
		l.mu.Unlock()
	}
}

func (p *process) life() *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

// addr is where a component of the running process listens; empty while it does not.
func (p *process) addr(component string) string {
	l := p.life()
	if l == nil {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard[component]
}

// isReady says whether the running process has said that it is.
func (p *process) isReady() bool {
	l := p.life()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ready
}

// kill is kill -9, by process id, and waits until the process is gone.
func (p *process) kill() {
	l := p.life()
	if l == nil {
		return
	}
	l.signal(syscall.SIGKILL)
	p.mu.Lock()
	p.kills++
	p.mu.Unlock()
}

// freeze is kill -STOP: the process keeps what it has under way, and the rest of the world does not.
func (p *process) freeze() { p.send(syscall.SIGSTOP) }

// thaw lets it go on.
func (p *process) thaw() { p.send(syscall.SIGCONT) }

func (p *process) send(s syscall.Signal) {
	l := p.life()
	select {
	case <-l.ended:
	default:
		_ = syscall.Kill(l.pid, s)
	}
}

// signal sends one signal and waits for the end.
func (l *life) signal(s syscall.Signal) {
	l.mu.Lock()
	l.asked = true
	l.mu.Unlock()
	select {
	case <-l.ended:
		return
	default:
	}
	_ = syscall.Kill(l.pid, s)
	<-l.ended
}

// stop asks the process to end and returns how it did.
func (p *process) stop() error {
	l := p.life()
	l.signal(syscall.SIGTERM)
	return l.err
}

// trouble says what a process should not have done: ended by itself, halted a partition, panicked.
func (p *process) trouble() []string {
	l := p.life()
	l.mu.Lock()
	defer l.mu.Unlock()
	out := append([]string(nil), l.unwell...)
	select {
	case <-l.ended:
		if !l.asked {
			out = append(out, fmt.Sprintf("%s ended by itself: %v", p.name, l.err))
		}
	default:
	}
	return out
}

// await polls until ok, and says what was waited for if it never is.
func await(ctx context.Context, what string, ok func() bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// answersReady asks a process's admin server.
func (p *process) answersReady(ctx context.Context) bool {
	addr := p.addr("admin")
	if addr == "" {
		return false
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, res.Body)
	return errors.Join(err, res.Body.Close()) == nil && res.StatusCode == http.StatusOK
}
