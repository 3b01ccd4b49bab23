package main

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"refrain.dev/tools/ledger"
)

// tally is what became of one class in one phase. Counts are events. It is safe for concurrent use.
type tally struct {
	name string

	mu                            sync.Mutex
	nOffered, nAccepted, nRefused int
	nUnanswered, nFailed          int
	reasons                       map[string]int
	example                       error
	answers, refusals, throughs   *hdrhistogram.Histogram
	followed                      map[lanePartition][]followed // in the order of answers
}

type lanePartition struct {
	lane      string
	partition int
}

// followed is something acknowledged that is followed until it is through.
type followed struct {
	sequence uint64
	due      time.Time
}

// Times are kept in microseconds, up to ten minutes, with two significant digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 600_000_000, 2) }

func newTally(name string) *tally {
	return &tally{
		name: name, reasons: map[string]int{}, followed: map[lanePartition][]followed{},
		answers: newHistogram(), refusals: newHistogram(), throughs: newHistogram(),
	}
}

func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(1, d.Microseconds()), 600_000_000))
}

func (t *tally) offer(n int) { t.mu.Lock(); t.nOffered += n; t.mu.Unlock() }

func (t *tally) unanswered(n int) { t.mu.Lock(); t.nUnanswered += n; t.mu.Unlock() }

func (t *tally) failed(n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nFailed += n
	t.example = err
}

func (t *tally) accepted(n int, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nAccepted += n
	record(t.answers, took)
}

func (t *tally) refused(n int, reason string, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nRefused += n
	t.reasons[reason] += n
	record(t.refusals, took)
}

// follow notes where something was stored that was due at a time.
func (t *tally) follow(at []ledger.Position, due time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range at {
		key := lanePartition{p.Lane, p.Partition}
		t.followed[key] = append(t.followed[key], followed{p.Sequence, due})
	}
}

// passed notes that a lane of a partition is through up to a sequence.
func (t *tally) passed(key lanePartition, sequence uint64, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	rest := t.followed[key][:0]
	for _, f := range t.followed[key] {
		if f.sequence > sequence {
			rest = append(rest, f)
			continue
		}
		record(t.throughs, now.Sub(f.due))
	}
	t.followed[key] = rest
}

// keys lists where something is followed.
func (t *tally) keys() []lanePartition {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []lanePartition
	for key, all := range t.followed {
		if len(all) > 0 {
			out = append(out, key)
		}
	}
	return out
}
