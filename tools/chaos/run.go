//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"refrain.dev/tools/internal/fleet"
	"refrain.dev/tools/ledger"
)

const (
	// calmFor is how long load goes on after the faults: what works again must take it.
	calmFor = 5 * time.Second
	// settleWithin bounds how long the mesh may need to do all that it has to do.
	settleWithin = 12 * time.Minute
	// quietFor is how long nothing may have been appended, longer than any time-out of a call.
	quietFor = 5 * time.Second
)

// run is one run over a world.
type run struct {
	world   *world
	faults  *faults
	clients *clients
	out     io.Writer
	began   time.Time
	kept    *kept
	report  *ledger.Report
	wrong   []string
}

func (r *run) sayf(format string, args ...any) {
	fmt.Fprintf(r.out, "%7s  %s\n", time.Since(r.began).Round(time.Second), fmt.Sprintf(format, args...))
}

// all is the course of a run.
func (r *run) all(ctx context.Context) error {
	w := r.world
	r.faults, r.clients, r.kept = &faults{world: w, starts: w.random(partStarts)}, newClients(w), newKept(w)
	r.kept.follow(ctx)
	defer func() { r.kept.stop() }()
	for _, p := range w.replicas {
		if err := p.Process.Start(false); err != nil {
			return err
		}
	}
	if err := r.allReady(ctx); err != nil {
		return err
	}
	r.sayf("all services are ready")
	if err := r.chaos(ctx); err != nil {
		return err
	}
	if err := r.settle(ctx); err != nil {
		return errors.Join(err, r.verify(context.WithoutCancel(ctx)))
	}
	if err := r.restart(ctx); err != nil {
		return err
	}
	r.stopAll()
	return r.verify(ctx)
}

// chaos lets load come and things break, then things be whole and load come, then load end.
func (r *run) chaos(ctx context.Context) error {
	w := r.world
	life, endLife := context.WithCancel(ctx) // of requests
	defer endLife()
	load, endLoad := context.WithCancel(ctx)
	defer endLoad()
	main := &traffic{clients: r.clients, random: w.random(partTraffic), rate: w.plan.rate, shared: w.plan.shared}
	reports := &traffic{clients: r.clients, random: w.random(partReceipts)}
	var wait sync.WaitGroup
	wait.Go(func() { main.run(load, life) })
	wait.Go(func() { reports.receipts(load, life) })
	wait.Go(func() { r.watchContact(life) })
	breaking, endFaults := context.WithTimeout(ctx, w.plan.during)
	defer endFaults()
	wait.Go(func() { r.progress(breaking) })
	r.faults.all(breaking)
	r.sayf("the faults end")
	healed := time.Now()
	err := r.heal(ctx)
	r.sayf("all services are ready after %s", time.Since(healed).Round(time.Millisecond))
	fleet.Pause(ctx, calmFor)
	endLoad()
	waited := make(chan struct{})
	go func() { defer close(waited); r.clients.wait.Wait() }()
	select {
	case <-waited:
	case <-time.After(settleWithin):
		err = errors.Join(err, errors.New("requests are not acknowledged though nothing is broken any more"))
	case <-ctx.Done():
	}
	endLife()
	wait.Wait()
	<-waited
	r.sayf("load ends: everything is acknowledged")
	return errors.Join(err, ctx.Err())
}

// progress says now and then what was broken so far.
func (r *run) progress(ctx context.Context) {
	for {
		fleet.Pause(ctx, 30*time.Second)
		if ctx.Err() != nil {
			return
		}
		r.sayf("%s", r.counts())
	}
}

// watchContact leads callers of suppression to a replica that runs.
func (r *run) watchContact(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		all := r.world.of("suppression")
		if addr := all[n%len(all)].Addr("grpc"); addr != "" {
			r.world.contact.Retarget(addr)
		}
		fleet.Pause(ctx, 500*time.Millisecond)
	}
}

// heal ends all faults. Processes that may kill themselves are replaced by others, once more without a warning.
func (r *run) heal(ctx context.Context) error {
	w := r.world
	w.provider.calm()
	err := w.brokers.Heal(ctx)
	for _, p := range w.replicas {
		p.heal()
		r.faults.noteTrouble(p)
		if p.Died() {
			w.tally.add("kills: by itself at a failpoint, "+p.service, 1)
		} else if done, e := p.Kill(); done || e != nil {
			err = errors.Join(err, e)
			w.tally.add("kills: "+p.service, 1)
		}
		err = errors.Join(err, p.Process.Start(false))
	}
	wait, cancel := context.WithTimeout(ctx, currentWithin)
	defer cancel()
	return errors.Join(err, w.brokers.WaitReady(wait), r.allReady(ctx))
}

// allReady waits until every process says that it is ready.
func (r *run) allReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	return fleet.Await(ctx, "all services to be ready", func() bool {
		return !slices.ContainsFunc(r.world.replicas, func(p *replica) bool { return !p.Ready() })
	})
}

// settle waits until the mesh has done all that it has to do.
func (r *run) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	began := time.Now()
	var before map[string]uint64
	since, open := time.Now(), -1
	for {
		heads, err := fleet.Heads(ctx, r.world.site, r.world.gen)
		if ctx.Err() != nil {
			return fmt.Errorf("wait until the mesh has settled, %d things open: %w", open, errors.Join(ctx.Err(), err))
		}
		if err != nil || !maps.Equal(before, heads) {
			before, since = heads, time.Now()
		}
		if time.Since(since) > quietFor {
			if open, err = r.open(ctx); err != nil {
				return err
			}
			if open == 0 {
				r.sayf("settled after %s", time.Since(began).Round(time.Second))
				return nil
			}
			since = time.Now()
		}
		fleet.Pause(ctx, time.Second)
	}
}

// open counts proposals and deliveries that have no end yet.
func (r *run) open(ctx context.Context) (int, error) {
	h, err := r.kept.load(ctx, nil)
	if err != nil {
		return 0, err
	}
	report := ledger.Verify(h)
	return report.Totals.Open + report.OpenDeliveries, nil
}

// restart stops and starts one process after the other, as an operator would.
func (r *run) restart(ctx context.Context) error {
	for _, p := range r.world.replicas {
		r.stopOne(p)
		if err := p.Process.Start(false); err != nil {
			return err
		}
		if err := r.allReady(ctx); err != nil {
			return fmt.Errorf("restart %s: %w", p.Name(), err)
		}
	}
	r.sayf("every process was restarted")
	return r.settle(ctx)
}

// stopAll ends all processes in order, from the first of the flow to the last.
func (r *run) stopAll() {
	for _, p := range r.world.replicas {
		r.stopOne(p)
	}
}

// stopWithin is how long a process may take to end when it is asked to.
const stopWithin = 90 * time.Second

func (r *run) stopOne(p *replica) {
	r.faults.noteTrouble(p)
	if err := p.Stop(stopWithin); err != nil {
		r.faults.failing(fmt.Errorf("stop %s: %w", p.Name(), err))
	}
}
