// Command tour is what "make run" starts: a mesh with the example workspace, the last full week of a small
// shop on the replay clock, one line per moment and why, and then the mesh, on the wall clock, for you.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"refrain.dev/services/mesh/meshsvc"
)

func main() {
	dir := flag.String("dir", ".run/tour", "directory of the mesh; emptied at the start")
	workspace := flag.String("workspace", "examples/retail", "directory of definitions, with data/week.ndjson")
	pace := flag.Duration("pace", 1200*time.Millisecond, "pause between the events of the week")
	exit := flag.Bool("exit", false, "end after the week")
	redis := flag.String("redis", meshsvc.RedisAuto, "auto, memory or an address")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	t := &tour{dir: *dir, workspace: *workspace, pace: *pace, exit: *exit, redis: *redis, out: newPrinter(os.Stdout)}
	if err := t.run(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}

type tour struct {
	dir, workspace, redis string
	pace                  time.Duration
	exit                  bool
	out                   *printer
}

func (t *tour) run(ctx context.Context) error {
	t.out.sayf("Refrain starts a mesh of five services in this process, with %s, and plays a shop's last week.", t.workspace)
	week, err := readWeek(filepath.Join(t.workspace, "data", "week.ndjson"), time.Now())
	if err != nil {
		return err
	}
	if err := t.empty(); err != nil {
		return err
	}
	logs, err := os.Create(filepath.Join(t.dir, logName))
	if err != nil {
		return fmt.Errorf("make the log file: %w", err)
	}
	defer logs.Close() //nolint:errcheck // logs only
	t.out.sayf("Logs go to %s; what the channels write is in %s.", logs.Name(), filepath.Join(t.dir, "channels"))
	cfg := meshsvc.Default()
	cfg.Dir, cfg.Workspace, cfg.Clock, cfg.Redis = t.dir, t.workspace, meshsvc.ClockReplay, t.redis
	cfg.Dispatch.Secret = os.LookupEnv
	t.choosePorts(ctx, &cfg)
	m, err := meshsvc.New(ctx, cfg, meshsvc.Env{Log: logs, Getenv: os.Getenv})
	if err != nil {
		return err
	}
	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- m.Run(runCtx) }()
	if err := t.play(ctx, m, week); err != nil {
		cancel()
		return errors.Join(err, <-ended)
	}
	if t.exit {
		cancel()
	}
	return <-ended
}

// logName is the log file's; a directory that has one is the tour's own.
const logName = "mesh.log"

// empty makes the tour's directory anew. It removes none that is not its own.
func (t *tour) empty() error {
	entries, err := os.ReadDir(t.dir)
	if err == nil && len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(t.dir, logName)); err != nil {
			return fmt.Errorf("the directory %s is not empty and not of an earlier run; --dir names another", t.dir)
		}
	}
	if err := os.RemoveAll(t.dir); err != nil {
		return fmt.Errorf("empty the directory of the tour: %w", err)
	}
	if err := os.MkdirAll(t.dir, 0o750); err != nil {
		return fmt.Errorf("make the directory of the tour: %w", err)
	}
	return nil
}

// choosePorts takes the usual ports, or free ones where somebody else has them.
func (t *tour) choosePorts(ctx context.Context, cfg *meshsvc.Config) {
	for _, address := range []*string{&cfg.Ingest.HTTP, &cfg.GRPC, &cfg.Admin} {
		if !free(ctx, *address) {
			t.out.sayf("%s is taken; a free port is used instead.", *address)
			*address = "127.0.0.1:0"
		}
	}
	if address := fmt.Sprintf("127.0.0.1:%d", cfg.NATSPort); !free(ctx, address) {
		t.out.sayf("%s is taken; a free port is used instead.", address)
		cfg.NATSPort = -1
	}
}

func free(ctx context.Context, address string) bool {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// play publishes the week, prints its moments, ends the replay clock and says what to try.
func (t *tour) play(ctx context.Context, m *meshsvc.Mesh, week []happening) error {
	if err := until(ctx, func() bool { return len(m.Ready()) == 0 }); err != nil {
		return err
	}
	moments, err := follow(ctx, m, t)
	if err != nil {
		return err
	}
	defer moments.close()
	t.out.sayf("Monday %s to Sunday; quiet stretches are skipped. Times are the shop's, in London.\n", week[0].at.Format("2 January"))
	for n, h := range week {
		if err := t.publish(ctx, m, h); err != nil {
			return err
		}
		if n+1 < len(week) && week[n+1].at.Equal(h.at) {
			continue
		}
		m.Replay().Advance(newest) // nothing more of this instant comes
		if err := settle(ctx, m); err != nil {
			return err
		}
		if moments.print() {
			pause(ctx, t.pace)
		}
	}
	m.Replay().Advance(endOfWeek)
	if err := settle(ctx, m); err != nil {
		return err
	}
	moments.print()
	moments.total()
	at, err := m.SwitchToWall(ctx)
	if err != nil {
		return err
	}
	t.out.sayf("\nThe replay clock ended at %s, for good and on record; the mesh goes on with the wall clock.", at.In(london()).Format("Mon 15:04"))
	t.out.yourTurn(m, t.workspace)
	return nil
}

// newest lets the clock run to the newest event, and not past it.
func newest(t time.Time) time.Time { return t }

func settle(ctx context.Context, m *meshsvc.Mesh) error {
	return until(ctx, func() bool { return m.Replay().Status().Settled })
}

func until(ctx context.Context, ok func() bool) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
