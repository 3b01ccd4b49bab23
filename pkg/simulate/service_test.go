package simulate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/simulate"
	"refrain.dev/pkg/simulate/schedule"
	"refrain.dev/pkg/state"
)

// The tests' own small service: doors take ids by a call and publish them, counters fold them into a chain,
// each id once, with the folded state in the store and a position in the KV store.

const (
	events = "evt.live.0"
	chain  = "prf.0"
	doors  = 1
	counts = 2
)

// record is what the chain holds: how far the events are folded, and every id that was counted.
type record struct {
	Owner  string
	Covers uint64
	Ids    []string
}

// bug is what may be wrong with the counter.
type bug int

const (
	none bug = iota
	// retries repeats an append without an answer under a new expectation.
	retries
	// storeFirst trusts the store, not the chain, about what is folded.
	storeFirst
)

type door struct {
	healthv1.UnimplementedHealthServer
	p *simulate.Process
}

// Check publishes the id that is the request's service.
func (d door) Check(ctx context.Context, r *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	if _, err := d.p.Broker().Publish(ctx, events, []byte(r.GetService())); err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	d.p.Points().At("door.published")
	return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}, nil
}

func runDoor(p *simulate.Process) error {
	healthv1.RegisterHealthServer(p.Registrar(), door{p: p})
	_, err := p.Clock().Wait(p.Context(), clock.Forever)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// counter folds events into the chain.
type counter struct {
	p    *simulate.Process
	bug  bug
	at   uint64
	seen record
	feed log.Feed
}

func runCounter(p *simulate.Process, b bug) error {
	c := &counter{p: p, bug: b}
	ctx := p.Context()
	for ctx.Err() == nil {
		err := c.turn(ctx)
		switch {
		case errors.Is(err, log.ErrLogLostData):
			p.World().Reach("detected")
			return err
		case err != nil:
			c.close()
			_ = p.Sleep(ctx, 50*time.Millisecond)
		}
	}
	return nil
}

func (c *counter) close() {
	if c.feed != nil {
		c.feed.Close()
		c.feed = nil
	}
}

// turn takes the chain over if it is not taken, and folds what there is.
func (c *counter) turn(ctx context.Context) error {
	if c.feed == nil {
		if err := c.take(ctx); err != nil {
			return err
		}
	}
	tail := c.feed.Tail(events)
	next := record{Owner: c.p.Name(), Covers: c.seen.Covers, Ids: slices.Clone(c.seen.Ids)}
	for m, ok := tail.Peek(); ok && m.Sequence > 0; m, ok = tail.Peek() {
		if id := string(m.Data); !slices.Contains(next.Ids, id) {
			next.Ids = append(next.Ids, id)
		}
		next.Covers = m.Sequence
		tail.Pop()
		if len(next.Ids) > len(c.seen.Ids)+3 {
			break
		}
	}
	if err := tail.Err(); err != nil {
		return err
	}
	if next.Covers == c.seen.Covers {
		_, err := c.p.Clock().Wait(ctx, time.Second, tail.Wake())
		return err
	}
	return c.store(ctx, next)
}

func (c *counter) take(ctx context.Context) error {
	last, err := c.p.Broker().Last(ctx, chain)
	if err != nil {
		return err
	}
	c.at, c.seen = last.Sequence, record{}
	_ = json.Unmarshal(last.Data, &c.seen) //nolint:errcheck // the genesis is none
	v, err := c.p.Store().Read(ctx, 0, state.Query{Metas: []string{"count"}, Rows: []state.Row{{Stage: "count", Key: "all"}}})
	if err != nil {
		return err
	}
	if v.Metas["count"].Applied > c.at {
		return fmt.Errorf("the store is ahead: %w", log.ErrLogLostData)
	}
	if c.bug == storeFirst && v.Rows[0] != nil {
		c.seen = record{}
		_ = json.Unmarshal(v.Rows[0], &c.seen) //nolint:errcheck // it was written so
	}
	if c.feed, err = c.p.Broker().Feed(ctx, map[string]uint64{events: c.seen.Covers}); err != nil {
		return err
	}
	c.p.Points().At("counter.took")
	return nil
}

func (c *counter) store(ctx context.Context, next record) error {
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	limited, cancel := c.p.Clock().Within(ctx, 5*time.Second)
	defer cancel()
	prev := c.at
	if c.bug == retries {
		c.at, next, err = c.appendBadly(limited, next)
	} else {
		c.at, err = log.OpenChain(c.p.Broker(), chain, c.p.Clock()).Append(limited, c.at, data)
	}
	if err != nil {
		return err
	}
	c.p.Points().At("counter.appended")
	c.seen = next
	b := state.Batch{Prev: prev, Meta: state.Meta{Applied: c.at}, Writes: []state.Write{{Key: "all", Value: data}, {Key: "owner", Value: []byte(next.Owner)}}}
	err = c.p.Store().Apply(ctx, state.Shard{Stage: "count"}, b)
	if fenced, ok := errors.AsType[*state.FencedError](err); ok && fenced.Applied < c.at {
		b.Prev = fenced.Applied
		err = c.p.Store().Apply(ctx, state.Shard{Stage: "count"}, b)
	}
	if err != nil {
		return err
	}
	return c.p.KV().Put(ctx, "count/position", fmt.Append(nil, c.at))
}

// appendBadly is the planted bug: after a lost answer it looks where the chain ends and appends again. Ids
// that are counted twice show it.
func (c *counter) appendBadly(ctx context.Context, next record) (uint64, record, error) {
	fresh := next.Ids[len(c.seen.Ids):]
	for expect := c.at; ; {
		data, err := json.Marshal(next)
		if err != nil {
			return 0, next, err
		}
		at, err := c.p.Broker().Append(ctx, chain, expect, data)
		if !errors.Is(err, log.ErrUnknown) || ctx.Err() != nil {
			return at, next, err
		}
		last, err := c.p.Broker().Last(ctx, chain)
		if err != nil {
			return 0, next, err
		}
		var r record
		_ = json.Unmarshal(last.Data, &r) //nolint:errcheck // the genesis is none
		expect, next.Ids = last.Sequence, append(slices.Clone(r.Ids), fresh...)
	}
}

// setup is a run of the service.
type setup struct {
	seed  uint64
	sched schedule.Schedule
	bug   bug
	trace func(string)
	// beyond says that detection is enough.
	beyond bool
}

func operations(clients, each int) []schedule.Operation {
	var all []schedule.Operation
	for n := range each {
		for c := range clients {
			all = append(all, schedule.Operation{At: time.Duration(n*40) * time.Millisecond, Client: c, Do: fmt.Sprintf("count id=%d-%d", c, n)})
		}
	}
	return all
}

func targets() schedule.Targets {
	return schedule.Targets{
		Nodes:  []string{"door-0", "counter-0", "counter-1"},
		Points: []string{"door.published", "counter.took", "counter.appended"},
		Places: map[schedule.Class][]string{
			schedule.Log: {"prf.", "evt."}, schedule.Stream: {"PROFILES-g1-0", "EVENTS-g1-0"}, schedule.Feed: {"evt."},
			schedule.KV: {"count/"}, schedule.State: {"0"}, schedule.RPC: {"door-0"},
		},
	}
}

func profile() schedule.Profile {
	return schedule.Profile{Least: 1, Most: 6, Steps: 600, Span: 500 * time.Millisecond, AtPoints: 30, Targets: targets()}
}

// world makes the service's world. fatal ends the test; it is nil in a sweep.
func world(s setup) *simulate.World {
	w := simulate.New(simulate.Config{Seed: s.seed, Schedule: s.sched, Trace: s.trace})
	generation := log.Generation{Number: 1, Partitions: 1, Streams: 1, Replicas: 1, Secret: []byte(strings.Repeat("s", 32))}
	if _, err := log.Provision(context.Background(), w.Log(), generation, log.ProvisionConfig{}); err != nil {
		w.Violate("provision", err.Error())
	}
	for n := range doors {
		w.Node(fmt.Sprintf("door-%d", n), simulate.NodeConfig{}).Start(runDoor)
	}
	for n := range counts {
		w.Node(fmt.Sprintf("counter-%d", n), simulate.NodeConfig{Skew: time.Duration(n) * time.Second}).
			Start(func(p *simulate.Process) error { return runCounter(p, s.bug) })
	}
	return w
}

func run(s setup) simulate.Result {
	w := world(s)
	return w.Run(func(ctx context.Context, p *simulate.Process) error {
		var acked []string
		clients := clock.NewGroup(p.Clock(), 0)
		for c := range s.sched.Clients() {
			clients.Go(func() error {
				for _, o := range w.Operations(c) {
					if err := p.Sleep(ctx, o.At-w.Elapsed()); err != nil {
						return err
					}
					if id := strings.TrimPrefix(o.Do, "count id="); call(ctx, p, id) {
						acked = append(acked, id)
					}
				}
				return nil
			})
		}
		if err := clients.Wait(ctx); err != nil {
			return err
		}
		w.Calm()
		quiet := p.Until(ctx, 15*time.Second, 500*time.Millisecond, func() bool { return missing(w, acked) == "" })
		check(w, acked, quiet, s.beyond)
		return nil
	})
}

// call brings an id to a door; false if it gave up.
func call(ctx context.Context, p *simulate.Process, id string) bool {
	for range 20 {
		limited, cancel := p.Clock().Within(ctx, time.Second)
		_, err := healthv1.NewHealthClient(p.Dial("door-0")).Check(limited, &healthv1.HealthCheckRequest{Service: id})
		cancel()
		if err == nil {
			return true
		}
		p.World().Reach("refused " + status.Code(err).String())
		if p.Sleep(ctx, 200*time.Millisecond) != nil {
			return false
		}
	}
	return false
}

func lastRecord(w *simulate.World) record {
	var r record
	if m, err := w.Log().Last(context.Background(), chain); err == nil {
		_ = json.Unmarshal(m.Data, &r) //nolint:errcheck // the genesis is none
	}
	return r
}

func missing(w *simulate.World, acked []string) string {
	r := lastRecord(w)
	for _, id := range acked {
		if !slices.Contains(r.Ids, id) {
			return id
		}
	}
	return ""
}

func check(w *simulate.World, acked []string, quiet, beyond bool) {
	r := lastRecord(w)
	ids := slices.Sorted(slices.Values(r.Ids))
	switch {
	case len(slices.Compact(slices.Clone(ids))) != len(ids):
		w.Violate("once", fmt.Sprintf("counted twice: %v", ids))
	case !quiet && !beyond:
		w.Violate("all", fmt.Sprintf("%s was acknowledged and is not counted", missing(w, acked)))
	}
}

func TestService(t *testing.T) {
	s := setup{seed: 1, sched: schedule.Schedule{Operations: operations(3, 10)}}
	var lines []string
	s.trace = func(l string) { lines = append(lines, l) }
	r := run(s)
	if len(r.Violations) > 0 {
		t.Fatalf("%s\n%s", r.Violations[0].Text, strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
	t.Log(r.Steps, r.Operations, r.Elapsed, r.Goals)
}
