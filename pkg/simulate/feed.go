package simulate

import (
	"context"
	"slices"
	"strings"
	"time"

	"refrain.dev/pkg/log"
)

// simFeed delivers messages to a process some time after they were stored.
type simFeed struct {
	p     *Process
	feed  log.Feed
	tails map[string]*simTail
	order []*simTail
}

// simTail is one subject of a feed.
type simTail struct {
	feed    *simFeed
	tail    log.Tail
	subject string
	wake    chan struct{}
	stored  uint64 // the last message that there is
	arrived uint64 // the last message that may be seen
	coming  *timer // of the next arrival, or nil
	closed  bool
}

func (p *Process) feed(from map[string]uint64) (*simFeed, error) {
	w := p.world
	under, err := w.log.Feed(context.Background(), from)
	if err != nil {
		return nil, err
	}
	f := &simFeed{p: p, feed: under, tails: make(map[string]*simTail, len(from))}
	for subject := range from {
		f.tails[subject] = &simTail{feed: f, tail: under.Tail(subject), subject: subject, wake: make(chan struct{}, 1)}
		f.order = append(f.order, f.tails[subject])
	}
	slices.SortFunc(f.order, func(a, b *simTail) int { return strings.Compare(a.subject, b.subject) })
	for _, t := range f.order {
		if last, err := w.log.Last(context.Background(), t.subject); err == nil {
			t.store(last.Sequence)
		}
		w.feeds[t.subject] = append(w.feeds[t.subject], t)
	}
	p.feeds = append(p.feeds, f)
	return f, nil
}

// stored lets a message find its way to the feeds.
func (w *World) stored(subject string, sequence uint64) {
	for _, t := range w.feeds[subject] {
		t.store(sequence)
	}
}

func (t *simTail) store(sequence uint64) {
	t.stored = sequence
	if t.coming != nil {
		return // it travels with the one before
	}
	w := t.feed.p.world
	d := time.Duration(w.rng.Int64N(int64(w.cfg.Delivery)))
	t.coming = w.timers.add(w.now+int64(d), t.arrive)
}

// arrive shows what has been stored by now, unless the delivery is held.
func (t *simTail) arrive() {
	p := t.feed.p
	if until := p.world.faults.heldUntil(p, t.subject); until > 0 {
		t.coming = p.world.timers.add(until, t.arrive)
		return
	}
	t.coming, t.arrived = nil, t.stored
	t.signal()
}

func (t *simTail) signal() {
	t.feed.p.stir()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Tail implements log.Feed.
func (f *simFeed) Tail(subject string) log.Tail {
	if t, ok := f.tails[subject]; ok {
		return t
	}
	return f.feed.Tail(subject)
}

// Close implements log.Feed.
func (f *simFeed) Close() {
	f.detach()
	f.p.feeds = slices.DeleteFunc(f.p.feeds, func(o *simFeed) bool { return o == f })
}

// detach takes the feed out of the world.
func (f *simFeed) detach() {
	w := f.p.world
	for _, t := range f.order {
		if t.closed {
			continue
		}
		t.closed = true
		if t.coming != nil {
			w.timers.cancel(t.coming)
		}
		w.feeds[t.subject] = slices.DeleteFunc(w.feeds[t.subject], func(o *simTail) bool { return o == t })
		t.signal()
	}
	f.feed.Close()
}

// release delivers what is held.
func (f *simFeed) release() {
	for _, t := range f.order {
		if t.coming != nil {
			f.p.world.timers.cancel(t.coming)
			t.arrive()
		}
	}
}

// Peek implements log.Tail.
func (t *simTail) Peek() (log.Message, bool) {
	t.feed.p.enter()
	m, ok := t.tail.Peek()
	if !ok || m.Sequence > t.arrived {
		return log.Message{}, false
	}
	return m, true
}

// Pop implements log.Tail.
func (t *simTail) Pop() {
	if _, ok := t.Peek(); ok {
		t.tail.Pop()
	}
}

// Wake implements log.Tail.
func (t *simTail) Wake() <-chan struct{} { return t.wake }

// Err implements log.Tail.
func (t *simTail) Err() error { return t.tail.Err() }
