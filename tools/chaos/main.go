//go:build unix

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	p := defaults()
	p.flags(flag.CommandLine)
	flag.Parse()
	// The processes end with this one, whatever ends it; on a signal they are also reaped.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := chaos(ctx, os.Stdout, p)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// plan is what a run does.
type plan struct {
	during     time.Duration
	seed       uint64
	dir        string
	rate       int
	partitions int
	ttl        time.Duration
	// How often per minute.
	kills, stops, brokers, redis, cuts, applies float64
	// failpoints is the part of starts after which a process kills itself somewhere.
	failpoints float64
	// lies is the part of requests to providers that are not answered truly.
	lies float64
	// shared is the part of links in which two customers share an address.
	shared float64
	keep   bool
}

func defaults() plan {
	return plan{
		during: 2 * time.Minute, seed: uint64(time.Now().UnixNano()), //nolint:gosec // any number will do
		rate: 12, partitions: 8, ttl: 3 * time.Second, failpoints: 0.4, lies: 0.35, shared: 0.25,
		kills: 20, stops: 2, brokers: 5, redis: 3, cuts: 6, applies: 1,
	}
}

func (p *plan) flags(f *flag.FlagSet) {
	f.DurationVar(&p.during, "for", p.during, "how long things break")
	f.Uint64Var(&p.seed, "seed", p.seed, "of all random choices")
	f.StringVar(&p.dir, "dir", "", "directory for everything; empty: a temporary one, which is removed if nothing is wrong")
	f.IntVar(&p.rate, "rate", p.rate, "what customers do per second")
	f.IntVar(&p.partitions, "partitions", p.partitions, "partitions of the mesh")
	f.DurationVar(&p.ttl, "ttl", p.ttl, "membership_ttl of the services")
	f.Float64Var(&p.kills, "kills", p.kills, "kills of services per minute")
	f.Float64Var(&p.stops, "stops", p.stops, "pauses of services per minute")
	f.Float64Var(&p.brokers, "broker-faults", p.brokers, "kills and cuts of brokers and step-downs per minute, as far as they recover in between")
	f.Float64Var(&p.redis, "redis-faults", p.redis, "kills, wipes and rollbacks of Redis per minute")
	f.Float64Var(&p.cuts, "cuts", p.cuts, "faults of the network around a service per minute")
	f.Float64Var(&p.applies, "applies", p.applies, "new catalogs per minute")
	f.Float64Var(&p.failpoints, "failpoints", p.failpoints, "part of the starts after which a process kills itself between two effects")
	f.Float64Var(&p.lies, "lies", p.lies, "part of the requests that providers do not answer truly")
	f.Float64Var(&p.shared, "shared", p.shared, "part of the links between people in which two customers share an address")
	f.BoolVar(&p.keep, "keep", false, "keep the directory also if nothing is wrong")
}

func (p *plan) check() error {
	switch {
	case p.during < time.Second:
		return errors.New("-for: want a second at least")
	case p.rate < 1 || p.rate > 1000:
		return errors.New("-rate: want 1 to 1000")
	case p.partitions < 1 || p.partitions > 64:
		return errors.New("-partitions: want 1 to 64")
	case p.ttl < time.Second:
		return errors.New("-ttl: want a second at least")
	}
	return nil
}

// chaos does what a plan says and prints what came of it. Anything that is wrong is an error, and keeps the
// directory.
func chaos(ctx context.Context, out io.Writer, p plan) (err error) {
	if err := p.check(); err != nil {
		return err
	}
	if p.dir == "" {
		if p.dir, err = os.MkdirTemp("", "refrain-chaos-"); err != nil {
			return fmt.Errorf("make a directory: %w", err)
		}
		defer func() {
			if err == nil && !p.keep {
				err = os.RemoveAll(p.dir)
			}
		}()
	}
	fmt.Fprintf(out, "chaos: seed %d, %s, %d partitions, in %s\n", p.seed, p.during, p.partitions, p.dir)
	w, err := newWorld(ctx, p)
	if err != nil {
		return errors.Join(err, w.close())
	}
	r := &run{world: w, out: out, began: time.Now()}
	err = r.all(ctx)
	err = errors.Join(err, w.close())
	fmt.Fprintln(out, r.lastLine(err))
	if err != nil {
		return fmt.Errorf("%w\nseed %d; everything is kept in %s", err, p.seed, p.dir)
	}
	return nil
}
