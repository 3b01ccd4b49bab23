//go:build unix

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"refrain.dev/pkg/embed/faultproxy"
	"refrain.dev/tools/internal/fleet"
)

// The parts of a run that make choices of their own.
const (
	partTraffic = iota + 1
	partReceipts
	partProvider
	partStorms
	partApply
	partKills
	partStops
	partBrokers
	partStore
	partCuts
	partRevive
	partStarts
)

// faults breaks things until ctx ends: several kinds beside each other, each at its own pace.
type faults struct {
	*world

	mu     sync.Mutex
	starts *rand.Rand // chooses failpoints
	failed []error
}

// all runs until ctx ends and everything that was under way is done.
func (f *faults) all(ctx context.Context) {
	var wait sync.WaitGroup
	for _, lane := range []func(context.Context){
		f.kill, f.stop, f.breakBrokers, f.breakStore, f.cut, f.revive, f.storms, f.applyEach,
	} {
		wait.Go(func() { lane(ctx) })
	}
	wait.Wait()
}

// failing notes an error of the test itself.
func (f *faults) failing(err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = append(f.failed, err)
}

// start starts a replica whose process is gone; the caller holds busy.
func (f *faults) start(r *replica, failpoints float64) {
	f.mu.Lock()
	random := rand.New(rand.NewPCG(f.starts.Uint64(), f.starts.Uint64())) //nolint:gosec // choices of a test
	f.mu.Unlock()
	f.failing(r.start(random, failpoints))
}

// kill kills services: one process mostly, now and then both replicas of a service, or everything.
func (f *faults) kill(ctx context.Context) {
	random := f.random(partKills)
	var wait sync.WaitGroup
	defer wait.Wait()
	for {
		victims := []*replica{f.replicas[random.IntN(len(f.replicas))]}
		switch k := random.IntN(24); {
		case k == 0:
			victims = f.replicas
		case k < 4:
			victims = f.of(victims[0].service)
		}
		// Kills of several processes count as so many.
		fleet.Pause(ctx, time.Duration(len(victims))*every(random, f.plan.kills))
		if ctx.Err() != nil {
			return
		}
		for _, r := range victims {
			// Mostly it is back before anybody misses it, and sometimes only after others took over.
			down := between(random, 0, 500*time.Millisecond)
			if random.IntN(3) == 0 {
				down = between(random, f.plan.ttl, 2*f.plan.ttl)
			}
			wait.Go(func() { f.killOne(ctx, r, down) })
		}
	}
}

// killOne kills a replica and starts it again after some time, or when the faults are over.
func (f *faults) killOne(ctx context.Context, r *replica, down time.Duration) {
	if !r.busy.TryLock() {
		return
	}
	defer r.busy.Unlock()
	f.noteTrouble(r)
	done, err := r.Kill()
	f.failing(err)
	if done {
		f.tally.add("kills: "+r.service, 1)
	}
	fleet.Pause(ctx, down)
	f.start(r, f.plan.failpoints)
}

// stop pauses services for longer than their leases.
func (f *faults) stop(ctx context.Context) {
	random := f.random(partStops)
	var wait sync.WaitGroup
	defer wait.Wait()
	for {
		fleet.Pause(ctx, every(random, f.plan.stops))
		if ctx.Err() != nil {
			return
		}
		r, length := f.replicas[random.IntN(len(f.replicas))], f.plan.ttl+between(random, time.Second, 6*time.Second)
		wait.Go(func() {
			if !r.busy.TryLock() {
				return
			}
			defer r.busy.Unlock()
			if !r.Running() {
				return
			}
			f.failing(r.Pause())
			fleet.Pause(ctx, length)
			f.failing(r.Resume())
			f.tally.add("stops: "+r.service, 1)
		})
	}
}

// revive starts again what killed itself at a failpoint. What ended otherwise is wrong, and started again too.
func (f *faults) revive(ctx context.Context) {
	random := f.random(partRevive)
	for {
		fleet.Pause(ctx, 100*time.Millisecond)
		if ctx.Err() != nil {
			return
		}
		for _, r := range f.replicas {
			if !r.busy.TryLock() {
				continue
			}
			if !r.Running() {
				f.noteTrouble(r)
				if r.Died() {
					f.tally.add("kills: by itself at a failpoint, "+r.service, 1)
				}
				fleet.Pause(ctx, between(random, 0, 500*time.Millisecond))
				f.start(r, f.plan.failpoints)
			}
			r.busy.Unlock()
		}
	}
}

// noteTrouble keeps what a process did that it should not have, before its life ends.
func (f *faults) noteTrouble(r *replica) {
	for _, what := range r.Trouble() {
		f.failing(fmt.Errorf("%s, life %d: %s", r.Name(), r.Lives(), what))
	}
}

// cut breaks the network between a service and the brokers or Redis, and in front of the provider.
func (f *faults) cut(ctx context.Context) {
	random := f.random(partCuts)
	var wait sync.WaitGroup
	defer wait.Wait()
	for {
		fleet.Pause(ctx, every(random, f.plan.cuts))
		if ctx.Err() != nil {
			return
		}
		r, length := f.replicas[random.IntN(len(f.replicas))], between(random, 200*time.Millisecond, f.plan.ttl+4*time.Second)
		proxies, where := r.brokers, r.service+" and brokers"
		switch k := random.IntN(8); {
		case k < 3 && r.service != "ingest":
			proxies, where = []*faultproxy.Proxy{r.redis}, r.service+" and redis"
		case k == 3:
			n := random.IntN(len(r.brokers))
			proxies, where = r.brokers[n:n+1], r.service+" and one broker"
		case k == 4:
			// What is held up on its way to a provider would reach it later than the mesh can know: reset only.
			f.tally.add("cuts: provider reset", 1)
			wait.Go(func() { f.breakLines(ctx, []*faultproxy.Proxy{f.provider.door}, 0, length/4) })
			continue
		}
		how := random.IntN(3)
		f.tally.add("cuts: "+where+" "+howNames()[how], 1)
		wait.Go(func() { f.breakLines(ctx, proxies, how, length) })
	}
}

// howNames are the ways in which lines break.
func howNames() []string { return []string{"reset", "blackhole", "delay"} }

// breakLines breaks lines in one of the ways for some time.
func (f *faults) breakLines(ctx context.Context, proxies []*faultproxy.Proxy, how int, length time.Duration) {
	for _, p := range proxies {
		switch how {
		case 0:
			p.Cut()
		case 1:
			p.Blackhole(faultproxy.Both)
		default:
			p.Delay(100 * time.Millisecond)
		}
	}
	fleet.Pause(ctx, length)
	for _, p := range proxies {
		p.Restore()
	}
}
