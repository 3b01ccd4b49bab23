package logtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"refrain.dev/pkg/log"
)

// reader reads subjects of one stream from their beginnings to the end.
type reader struct {
	site     int
	subjects []string

	mu  sync.Mutex
	got map[string][]log.Message
}

// run is what one feed delivered that began in the middle.
type run struct {
	site    int
	subject string
	from    uint64
	got     []log.Message
}

// poll is how often tails are looked at.
const poll = 5 * time.Millisecond

// read reads along until the readers are stopped.
func (t *Torture) read(ctx context.Context, site int, subjects []string) {
	r := &reader{site: site, subjects: subjects, got: map[string][]log.Message{}}
	t.readers = append(t.readers, r)
	from := make(map[string]uint64, len(subjects))
	for _, subject := range subjects {
		from[subject] = 0
	}
	t.reading.Go(func() {
		feed, err := t.open(ctx, site, from)
		if err != nil {
			return // the readers were stopped before one could be opened; Verify misses the messages
		}
		defer feed.Close()
		for tick := time.NewTicker(poll); ; {
			if err := r.drain(feed); err != nil {
				t.reportf("a feed of process %d broke: %w", site, err)
				return
			}
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
		}
	})
}

// open opens a feed, however often it has to be tried.
func (t *Torture) open(ctx context.Context, site int, from map[string]uint64) (log.Feed, error) {
	for {
		feed, err := t.Sites[site].Feed(ctx, from)
		if err == nil || ctx.Err() != nil {
			return feed, err
		}
		if !errors.Is(err, log.ErrUnknown) {
			t.reportf("open a feed at %v: %w", from, err)
			return nil, err
		}
	}
}

func (r *reader) drain(feed log.Feed) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, subject := range r.subjects {
		got, err := drain(feed.Tail(subject))
		if err != nil {
			return fmt.Errorf("%s: %w", subject, err)
		}
		r.got[subject] = append(r.got[subject], got...)
	}
	return nil
}

func drain(tail log.Tail) (got []log.Message, err error) {
	for {
		m, ok := tail.Peek()
		if !ok {
			return got, tail.Err()
		}
		tail.Pop()
		got = append(got, m)
	}
}

// reopen opens feeds at positions that are there, reads a little, and closes them.
func (p *process) reopen(ctx context.Context) {
	for p.rest(ctx, idle) {
		group := p.Groups[p.rng.IntN(len(p.Groups))]
		from := map[string]uint64{}
		for _, subject := range group {
			from[subject] = p.position(subject)
		}
		p.found(ctx, from)
		feed, err := p.open(ctx, p.number, from)
		if err != nil {
			continue
		}
		p.rest(ctx, idle)
		for _, subject := range group {
			got, err := drain(feed.Tail(subject))
			if err != nil {
				p.reportf("a feed of process %d from %d on: %s: %w", p.number, from[subject], subject, err)
			}
			p.mu.Lock()
			p.runs = append(p.runs, run{site: p.number, subject: subject, from: from[subject], got: got})
			p.mu.Unlock()
		}
		feed.Close()
	}
}

// position draws one that was acknowledged, or 0.
func (p *process) position(subject string) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.acked[subject]
	if len(known) == 0 || p.rng.IntN(5) == 0 {
		return 0
	}
	return known[max(0, len(known)-1-p.rng.IntN(100))]
}

// found checks that what was acknowledged can be read.
func (p *process) found(ctx context.Context, from map[string]uint64) {
	for subject, sequence := range from {
		if sequence == 0 {
			continue
		}
		m, err := p.site.Get(ctx, subject, sequence)
		if errors.Is(err, log.ErrNotFound) || err == nil && m.Subject != subject {
			p.reportf("get %s %d, which was acknowledged: %s, %w", subject, sequence, m.Subject, err)
		}
	}
}

// verifyFeeds waits until every reader has what is there, and checks that it has nothing else.
func (t *Torture) verifyFeeds(ctx context.Context, all map[string][]log.Message) {
	for _, r := range t.readers {
		for _, subject := range r.subjects {
			t.await(ctx, r, subject, len(all[subject]))
		}
	}
	t.stop()
	t.reading.Wait()
	for _, r := range t.readers {
		for _, subject := range r.subjects {
			t.same(fmt.Sprintf("process %d, feed of %s", r.site, subject), r.got[subject], all[subject])
		}
	}
	for _, run := range t.runs {
		i, ok := slices.BinarySearchFunc(all[run.subject], run.from, func(m log.Message, at uint64) int {
			return int(m.Sequence) - int(at) //nolint:gosec // few
		})
		if ok {
			i++
		}
		rest := all[run.subject][i:]
		t.same(fmt.Sprintf("process %d, feed of %s from %d on", run.site, run.subject, run.from), run.got, rest[:min(len(run.got), len(rest))])
	}
}

func (t *Torture) await(ctx context.Context, r *reader, subject string, want int) {
	for tick := time.NewTicker(poll); ; {
		r.mu.Lock()
		got := len(r.got[subject])
		r.mu.Unlock()
		if got >= want {
			tick.Stop()
			return
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			t.reportf("process %d, feed of %s: waited in vain for %d messages, got %d", r.site, subject, want, got)
			return
		case <-tick.C:
		}
	}
}

func (t *Torture) same(what string, got, want []log.Message) {
	if len(got) != len(want) {
		t.reportf("%s: %d messages, want %d", what, len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i].Sequence != want[i].Sequence || string(got[i].Data) != string(want[i].Data) {
			t.reportf("%s: message %d is %d, want %d", what, i, got[i].Sequence, want[i].Sequence)
			return
		}
	}
}
