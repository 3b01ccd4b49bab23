// Command demo runs a whole year of a web shop through a mesh on the replay clock, over the public HTTP
// API, and checks afterwards, from the logs and from what the channels really got, that nothing was lost,
// nothing was sent twice and no cap was exceeded. It prints one line and exits 0, or says what is wrong and
// exits 1.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"refrain.dev/services/mesh/meshsvc"
	"refrain.dev/tools/ledger"
	"refrain.dev/tools/publish"
	"refrain.dev/tools/retail"
)

func main() {
	data := flag.String("data", "", "the UCI Online Retail file, plain or gzip; default: the sample in examples/retail")
	workspace := flag.String("workspace", "examples/retail", "directory of definitions")
	dir := flag.String("dir", "", "directory of the mesh; default: a fresh one that is removed afterwards")
	redis := flag.String("redis", meshsvc.RedisAuto, "auto, memory or an address")
	flag.Parse()
	if *data == "" {
		*data = filepath.Join(*workspace, "data", "sample.csv")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	d := &demo{out: os.Stdout, data: *data, workspace: *workspace, dir: *dir, redis: *redis}
	err := d.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// advance is how far the clock runs on after the last event.
const advance = 90 * 24 * time.Hour

type demo struct {
	out io.Writer

	data, workspace, dir, redis string

	started time.Time
}

func (d *demo) sayf(format string, args ...any) {
	_, _ = fmt.Fprintf(d.out, "%6.1fs  %s\n", time.Since(d.started).Seconds(), fmt.Sprintf(format, args...))
}

func (d *demo) run(ctx context.Context) error {
	d.started = time.Now()
	messages, err := d.read()
	if err != nil {
		return err
	}
	if d.dir == "" {
		if d.dir, err = os.MkdirTemp("", "refrain-demo-"); err != nil {
			return fmt.Errorf("make a directory: %w", err)
		}
		defer os.RemoveAll(d.dir) //nolint:errcheck // a temporary directory
	}
	if err := os.MkdirAll(d.dir, 0o750); err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	logs, err := os.Create(filepath.Join(d.dir, "mesh.log"))
	if err != nil {
		return fmt.Errorf("make the log file: %w", err)
	}
	defer logs.Close() //nolint:errcheck // logs only
	cfg := meshsvc.Default()
	cfg.Dir, cfg.Workspace, cfg.Redis, cfg.Clock = d.dir, d.workspace, d.redis, meshsvc.ClockReplay
	cfg.NATSPort, cfg.GRPC, cfg.Admin, cfg.Ingest.HTTP = -1, "127.0.0.1:0", "", "127.0.0.1:0"
	m, err := meshsvc.New(ctx, cfg, meshsvc.Env{Log: logs, Getenv: os.Getenv})
	if err != nil {
		return err
	}
	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- m.Run(runCtx) }()
	report, err := d.drive(ctx, m, messages, ended)
	cancel()
	if stopped := <-ended; stopped != nil {
		err = errors.Join(err, fmt.Errorf("stop the mesh: %w", stopped))
	}
	if err != nil {
		return err
	}
	for n, v := range report.Violations {
		if n == 20 {
			_, _ = fmt.Fprintf(d.out, "  … and %d more\n", report.Count-n)
			break
		}
		_, _ = fmt.Fprintln(d.out, "  wrong:", v)
	}
	for _, what := range report.Unchecked {
		_, _ = fmt.Fprintln(d.out, "  not checked:", what)
	}
	_, _ = fmt.Fprintln(d.out, "demo:", report.Totals)
	if report.Count > 0 {
		return fmt.Errorf("%d things are wrong", report.Count)
	}
	return nil
}

func (d *demo) read() ([]retail.Message, error) {
	f, err := os.Open(d.data)
	if err != nil {
		return nil, fmt.Errorf("open the data: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	messages, report, err := retail.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.data, err)
	}
	d.sayf("%s: %d lines, %d invoices, %d customers, %d invoices without one, %d cancelled",
		filepath.Base(d.data), report.Lines, report.Invoices, report.Customers, report.WithoutCustomer, report.Cancelled)
	return messages, nil
}

// drive publishes everything, lets the clock run out and checks.
func (d *demo) drive(ctx context.Context, m *meshsvc.Mesh, messages []retail.Message, ended chan error) (*ledger.Report, error) {
	if err := waitFor(ctx, ended, func() bool { return len(m.Ready()) == 0 }); err != nil {
		return nil, fmt.Errorf("wait for the mesh: %w", err)
	}
	d.sayf("the mesh is up; publishing %d events", len(messages))
	accepted, err := d.publish(ctx, m, messages)
	if err != nil {
		return nil, err
	}
	d.sayf("all events are stored; the clock runs %d days past the last", int(advance.Hours()/24))
	m.Replay().Advance(func(t time.Time) time.Time { return t.Add(advance) })
	shown := time.Now()
	err = waitFor(ctx, ended, func() bool {
		st := m.Replay().Status()
		if time.Since(shown) > 2*time.Second {
			shown = time.Now()
			d.sayf("the clock is at %s, %d instants", st.Now.Format("2006-01-02 15:04"), st.Instants)
		}
		return st.Settled
	})
	if err != nil {
		return nil, fmt.Errorf("wait until the mesh has settled: %w", err)
	}
	st := m.Replay().Status()
	d.sayf("settled after %d instants; checking logs and channels", st.Instants)
	return d.check(ctx, m, accepted)
}

func (d *demo) publish(ctx context.Context, m *meshsvc.Mesh, messages []retail.Message) ([]string, error) {
	var raw []json.RawMessage
	for _, msg := range messages {
		data, err := json.Marshal(msg)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", msg.MessageID, err)
		}
		raw = append(raw, data)
	}
	client := publish.Client{URL: "http://" + m.Addr("ingest-http").String(), WriteKey: "demo", Patience: time.Minute}
	refused, err := client.Send(ctx, raw)
	if err != nil {
		return nil, err
	}
	no := map[int]bool{}
	for _, r := range refused {
		no[r.Index] = true
		d.sayf("refused: %s: %s %s", messages[r.Index].MessageID, r.Field, r.Why)
	}
	var accepted []string
	for n, msg := range messages {
		if !no[n] {
			accepted = append(accepted, msg.MessageID)
		}
	}
	return accepted, nil
}

// check holds the mesh against what was accepted and what the channels got. Acknowledgements are not timed:
// the clock of the mesh is another.
func (d *demo) check(ctx context.Context, m *meshsvc.Mesh, accepted []string) (*ledger.Report, error) {
	h, err := ledger.Load(ctx, m.Site(), m.Store(), m.Generation())
	if err != nil {
		return nil, err
	}
	rules, err := ledger.ReadDefinitions(os.DirFS(d.workspace))
	if err != nil {
		return nil, err
	}
	mails, err := ledger.ReadFileChannel(filepath.Join(d.dir, "channels", "email.jsonl"))
	if err != nil {
		return nil, err
	}
	tasks, err := ledger.ReadFileChannel(filepath.Join(d.dir, "channels", "team.jsonl"))
	if err != nil {
		return nil, err
	}
	h.Definitions, h.Received = map[string]*ledger.Definitions{"": rules}, slices.Concat(mails, tasks)
	h.Settled, h.Now, h.AllSent = true, m.Replay().Status().Now, true
	for _, id := range accepted {
		h.Sent = append(h.Sent, ledger.Sent{ID: id, Acknowledged: d.started})
	}
	return ledger.Verify(h), nil
}

func waitFor(ctx context.Context, ended chan error, ok func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case err := <-ended:
			ended <- nil
			return fmt.Errorf("the mesh ended: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
