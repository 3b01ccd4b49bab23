package crash

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	programs "refrain.dev/tools/internal/fleet"
)

// build builds services and returns the directory of the programs.
func build(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	started := time.Now()
	if err := programs.Build(t.Context(), dir, names...); err != nil {
		t.Fatal(err)
	}
	t.Logf("built %v in %s", names, time.Since(started).Round(time.Millisecond))
	return dir
}

// process is a program of the test that is started, killed and started again.
type process struct {
	*programs.Process

	t     *testing.T
	name  string
	kills int
}

// newProcess makes a process whose log lines are kept in dir; whatever runs of it at the test's end is killed.
func newProcess(t *testing.T, dir, name, command string, args ...string) *process {
	t.Helper()
	p, err := programs.New(programs.Config{
		Name: name, Dir: dir, Path: command, Args: args, Env: append(os.Environ(), "CRASH_WEBHOOK_SECRET="+webhookSecret),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return &process{Process: p, t: t, name: name}
}

// start starts the process; it must not run.
func (p *process) start() error { return p.Start(false) }

// addr is where a component of the running process listens; empty while it does not.
func (p *process) addr(component string) string { return p.Addr(component) }

// isReady says whether the running process has said that it is.
func (p *process) isReady() bool { return p.Ready() }

// kill is kill -9, by process id, and waits until the process is gone.
func (p *process) kill() {
	if _, err := p.Kill(); err != nil {
		p.t.Error(err)
	}
	p.kills++
}

// freeze is kill -STOP: the process keeps what it has under way, and the rest of the world does not.
func (p *process) freeze() { p.must(p.Pause()) }

// thaw lets it go on.
func (p *process) thaw() { p.must(p.Resume()) }

func (p *process) must(err error) {
	if err != nil {
		p.t.Error(err)
	}
}

// stopWithin bounds a clean end.
const stopWithin = time.Minute

// stop asks the process to end and returns how it did.
func (p *process) stop() error { return p.Stop(stopWithin) }

// trouble says what a process should not have done: ended by itself, halted a partition, panicked.
func (p *process) trouble() []string { return p.Trouble() }

// await polls until ok, and says what was waited for if it never is.
func await(ctx context.Context, what string, ok func() bool) error {
	return programs.Await(ctx, what, ok)
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
