package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"refrain.dev/pkg/identity"
	"refrain.dev/tools/ledger"
)

// run is a mesh and what was sent to it.
type run struct {
	mesh     *running
	plan     plan
	traffic  *traffic
	recorder *ledger.Recorder
	path     string
	number   atomic.Int64

	mu   sync.Mutex
	errs []error
}

func newRun(m *running, p plan, dir string) (*run, error) {
	gen := m.Generation()
	r := &run{
		mesh: m, plan: p, path: filepath.Join(dir, "sent.jsonl"),
		traffic: &traffic{customers: p.customers, hot: p.hot, number: gen.Number, hasher: identity.NewHasher(gen.Secret, gen.Partitions)},
	}
	var err error
	r.recorder, err = ledger.OpenRecorder(r.path)
	return r, err
}

func (r *run) next() int { return int(r.number.Add(1)) }

// acknowledged writes a request that was accepted to the client's log.
func (r *run) acknowledged(req request, a answer, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range req.events {
		e.Acknowledged = now
		if len(req.events) == 1 && len(a.positions) == 1 {
			e.Position = &a.positions[0]
		}
		if err := r.recorder.Sent(e); err != nil {
			r.errs = append(r.errs, err)
			return
		}
	}
}

// waits sends a request again until it is accepted, as a patient publisher does.
func (r *run) waits(ctx context.Context, req request) error {
	return r.mesh.Until(ctx, func() (bool, error) {
		a, err := r.mesh.send(ctx, req)
		if err != nil {
			return false, err
		}
		if a.status == http.StatusOK {
			r.acknowledged(req, a, time.Now())
		}
		return a.status == http.StatusOK, nil
	})
}

// introduce lets the mesh know customers, a batch at a time, and their consent.
func (r *run) introduce(ctx context.Context) error {
	const each = 100
	at := time.Now().UTC().Format(time.RFC3339Nano)
	for from := 0; from < r.plan.customers; from += each {
		req := request{path: "/v1/batch", body: []byte(`{"batch":[`)}
		for n := from; n < min(from+each, r.plan.customers); n++ {
			user := fmt.Sprint("customer-", n)
			if n > from {
				req.body = append(req.body, ',')
			}
			req.body = fmt.Appendf(req.body, `{"type":"identify","userId":%q,"messageId":"is-%s","timestamp":%q,"traits":{"email":"%s@shop.example"}},`, user, user, at, user)
			req.body = fmt.Appendf(req.body, `{"type":"track","event":"consent_given","userId":%q,"messageId":"in-%s","timestamp":%q,"properties":{"channel":"email","topic":"*","basis":"opt_in"}}`, user, user, at)
			req.events = append(req.events, sent("is-"+user, "identify", user), sent("in-"+user, "consent_given", user))
		}
		req.body = append(req.body, `]}`...)
		if err := r.waits(ctx, req); err != nil {
			return err
		}
	}
	return r.mesh.settled(ctx)
}

// publishers is how many wait for their answers at once while the capacity is measured.
const publishers = 16

// measure returns how many live events per second come through when publishers offer as many as are taken.
func (r *run) measure(ctx context.Context) (float64, error) {
	warm, end := time.Now().Add(r.plan.each/5), time.Now().Add(r.plan.each*6/5)
	var group sync.WaitGroup
	var events atomic.Int64
	errs := make([]error, publishers)
	for n := range publishers {
		rng := r.random(n, 0)
		group.Go(func() {
			for ctx.Err() == nil && time.Now().Before(end) && errs[n] == nil {
				req := r.traffic.orders(rng, r.next(), r.plan.batch, 0)
				errs[n] = r.waits(ctx, req)
				if time.Now().After(warm) {
					events.Add(int64(len(req.events)))
				}
			}
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	if err := r.mesh.settled(ctx); err != nil {
		return 0, err
	}
	// What was still on its way at the end counts with the time that it took.
	return float64(events.Load()) / time.Since(warm).Seconds(), nil
}

func (r *run) random(n, phase int) *rand.Rand {
	return rand.New(rand.NewPCG(r.plan.seed, uint64(n)<<8|uint64(phase))) //nolint:gosec // the same traffic each time
}

// phase is what became of one rate.
type phase struct {
	times   float64
	took    time.Duration
	recover time.Duration
	classes []*tally
}

// offer offers so many events per second for a while, and then waits until the mesh has recovered: all that
// it took is through, and it takes a live event of every partition.
func (r *run) offer(ctx context.Context, number int, rate float64) (*phase, error) {
	ph := &phase{took: r.plan.each}
	var group sync.WaitGroup
	var open atomic.Int64
	begin := time.Now()
	for n, c := range r.traffic.classes(r.plan.batch) {
		t := newTally(c.name)
		ph.classes = append(ph.classes, t)
		gap := time.Duration(float64(time.Second) * float64(c.per) / (rate * c.share))
		g := &generator{
			class: c, next: r.next, send: r.mesh.send, acknowledged: r.acknowledged,
			rng: r.random(n, number+1), gap: gap, tally: t, open: &open,
		}
		group.Go(func() { g.offer(ctx, begin, begin.Add(r.plan.each)) })
	}
	watchCtx, stop := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() { watched <- r.watch(watchCtx, ph) }()
	group.Wait()
	over := begin.Add(r.plan.each)
	err := errors.Join(r.mesh.settled(ctx), r.takes(ctx))
	ph.recover = max(0, time.Since(over))
	stop()
	return ph, errors.Join(err, <-watched, ctx.Err())
}

// takes waits until a batch for all partitions is taken.
func (r *run) takes(ctx context.Context) error {
	return r.waits(ctx, r.traffic.orders(r.random(0, 0), r.next(), 100, 0))
}

// watch looks how far the stages have come, until ctx ends.
func (r *run) watch(ctx context.Context, ph *phase) error {
	tick := time.NewTicker(lookEach)
	defer tick.Stop()
	for {
		for _, t := range ph.classes {
			for _, key := range t.keys() {
				origins, err := r.mesh.through(ctx, key.partition)
				if err != nil && ctx.Err() == nil {
					return err
				}
				t.passed(key, origins[key.lane], time.Now())
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// verify holds the log against what was acknowledged.
func (r *run) verify(ctx context.Context) (*ledger.Report, error) {
	if err := errors.Join(append(r.errs, r.recorder.Close())...); err != nil {
		return nil, fmt.Errorf("write the client's log: %w", err)
	}
	h, err := r.history(ctx)
	if err != nil {
		return nil, err
	}
	if h.Sent, err = ledger.ReadSent(r.path); err != nil {
		return nil, fmt.Errorf("read the client's log: %w", err)
	}
	definitions, err := ledger.ReadDefinitions(os.DirFS(r.plan.workspace))
	if err != nil {
		return nil, err
	}
	h.Definitions = map[string]*ledger.Definitions{"": definitions}
	h.Channels = []string{"email"}
	return ledger.Verify(h), nil
}

// history reads the mesh and what its channel got, at a time at which the channel gets nothing: both must be of
// one moment. Mails may go on for long after the events are through.
func (r *run) history(ctx context.Context) (h *ledger.History, err error) {
	path := filepath.Join(r.mesh.Dir, "channels", "email.jsonl")
	got := -1
	err = r.mesh.Until(ctx, func() (bool, error) {
		if err := r.mesh.rest(ctx); err != nil {
			return false, fmt.Errorf("wait for the mesh to rest: %w", err)
		}
		before, err := ledger.ReadFileChannel(path)
		if err != nil || len(before) != got {
			got = len(before)
			return false, err
		}
		if h, err = ledger.Load(ctx, r.mesh.Site(), r.mesh.Store(), r.mesh.Generation()); err != nil {
			return false, fmt.Errorf("read the mesh: %w", err)
		}
		h.Received, err = ledger.ReadFileChannel(path)
		got = len(h.Received)
		return got == len(before), err
	})
	return h, err
}
