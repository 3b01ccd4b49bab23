package main

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// mostOpen bounds the requests that wait for an answer. A request that would be one more is not sent, and
// counts as one that ingest did not answer in time.
const mostOpen = 4096

// generator offers one class of traffic at a rate.
type generator struct {
	class class
	next  func() int
	send  func(context.Context, request) (answer, error)
	// acknowledged is told of what was accepted.
	acknowledged func(r request, a answer, at time.Time)

	rng *rand.Rand
	// gap between two requests, on average.
	gap   time.Duration
	tally *tally
	open  *atomic.Int64
}

// offer sends requests from begin to end at times that are a Poisson process: they do not depend on answers.
func (g *generator) offer(ctx context.Context, begin, end time.Time) {
	var waiting sync.WaitGroup
	defer waiting.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for at := begin; ; {
		at = at.Add(time.Duration(g.rng.ExpFloat64() * float64(g.gap)))
		if at.After(end) {
			return
		}
		timer.Reset(time.Until(at))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		g.tally.offer(g.class.per)
		if g.open.Add(1) > mostOpen {
			g.open.Add(-1)
			g.tally.unanswered(g.class.per)
			continue
		}
		r := g.class.one(g.rng, g.next())
		waiting.Go(func() {
			defer g.open.Add(-1)
			g.one(ctx, r, at)
		})
	}
}

// one sends a request that was due at a time.
func (g *generator) one(ctx context.Context, r request, due time.Time) {
	a, err := g.send(ctx, r)
	now := time.Now()
	switch {
	case err != nil:
		g.tally.failed(len(r.events), err)
	case a.status == http.StatusOK:
		g.tally.accepted(len(r.events), now.Sub(due))
		g.acknowledged(r, a, now)
		g.tally.follow(a.positions, due)
	default:
		g.tally.refused(len(r.events), a.reason, now.Sub(due))
	}
}
