// Command load runs a mesh in this process under more load than it can take, and says what became of it.
//
// It first measures what the mesh can do: publishers that wait for each answer, as many as it bears. Then it
// offers multiples of that, whether or not anything is answered: requests have times that were fixed before,
// a latency counts from that time and not from when the request could be sent, and a refusal changes nothing
// about the next request. So what a slow mesh delays is measured, not left out. At last it waits until
// everything is through and holds the log against what was acknowledged (refrain.dev/tools/ledger).
//
// It asserts nothing about time. It fails if something does not work, or if the check finds anything wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"refrain.dev/services/ingest/ingestsvc"
)

func main() {
	p := plan{}
	times := flag.String("times", "0.5,1,2,5,10", "multiples of the capacity to offer; the first is what latencies are compared with")
	flag.DurationVar(&p.each, "for", 10*time.Second, "how long each multiple is offered")
	flag.StringVar(&p.workspace, "workspace", "tools/bench/testdata/shop", "directory of definitions to apply")
	flag.StringVar(&p.keep, "keep", "", "directory to keep the mesh and the log of acknowledgements in; empty: a temporary one")
	flag.StringVar(&p.redis, "redis", "memory", "memory, auto, or the address of a Redis for the states")
	flag.IntVar(&p.partitions, "partitions", 8, "partitions of the mesh")
	flag.IntVar(&p.batch, "batch", 100, "live and bulk events per request")
	flag.IntVar(&p.customers, "customers", 5_000, "how many customers the events are about")
	flag.Float64Var(&p.capacity, "capacity", 0, "events per second to take multiples of; 0: measured")
	flag.Float64Var(&p.hot, "hot", 0, "share of the live events that one customer has, 0 to 1")
	flag.Uint64Var(&p.seed, "seed", 1, "of the times and customers of requests")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := p.parse(*times)
	if err == nil {
		err = load(ctx, os.Stdout, p)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// plan is what to do.
type plan struct {
	times      []float64
	each       time.Duration
	workspace  string
	keep       string
	redis      string
	partitions int
	batch      int
	customers  int
	hot        float64
	seed       uint64
	// capacity in events per second; 0: measured.
	capacity float64
	// ingest changes the settings of ingest; nil leaves the defaults.
	ingest func(*ingestsvc.Config)
}

// parse reads the multiples and checks the rest.
func (p *plan) parse(times string) error {
	for text := range strings.SplitSeq(times, ",") {
		x, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil || x <= 0 || x > 1000 {
			return fmt.Errorf("--times: %q is no multiple such as 0.5", text)
		}
		p.times = append(p.times, x)
	}
	switch {
	case p.each <= 0:
		return errors.New("--for: must be positive")
	case p.batch < 1 || p.batch > 1000:
		return errors.New("--batch: want 1 to 1000")
	case p.customers < 1:
		return errors.New("--customers: must be positive")
	case p.hot < 0 || p.hot > 1:
		return errors.New("--hot: want 0 to 1")
	}
	return nil
}

func load(ctx context.Context, out io.Writer, p plan) (err error) {
	dir := p.keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "refrain-load-"); err != nil {
			return fmt.Errorf("make a directory: %w", err)
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	}
	m, err := startMesh(ctx, dir, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	r, err := newRun(m, p, dir)
	if err != nil {
		return err
	}
	report := &report{plan: p}
	if err := r.all(ctx, report); err != nil {
		return err
	}
	fmt.Fprint(out, report)
	return report.problem()
}

// all runs every part of the plan.
func (r *run) all(ctx context.Context, out *report) error {
	if err := r.introduce(ctx); err != nil {
		return fmt.Errorf("introduce customers: %w", err)
	}
	out.capacity = r.plan.capacity
	if out.capacity == 0 {
		c, err := r.measure(ctx)
		if err != nil {
			return fmt.Errorf("measure the capacity: %w", err)
		}
		out.capacity = c
	}
	for n, times := range r.plan.times {
		if err := r.mesh.rest(ctx); err != nil { // mails of what came before must not slow what comes now
			return fmt.Errorf("wait for the mesh to rest: %w", err)
		}
		ph, err := r.offer(ctx, n, times*out.capacity)
		if err != nil {
			return fmt.Errorf("offer %g times the capacity: %w", times, err)
		}
		ph.times = times
		out.phases = append(out.phases, ph)
	}
	var err error
	out.ledger, err = r.verify(ctx)
	return err
}
