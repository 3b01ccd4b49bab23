package log

import (
	"errors"
	"sync"

	"refrain.dev/pkg/clock"
)

// jsTail buffers the messages of one subject. While it is behind, the feed passes it over and it reads
// the stream by itself; it joins the feed again when it has what the feed passed.
type jsTail struct {
	feed    *jsFeed
	subject string
	wake    chan struct{}

	mu       sync.Mutex
	queue    []Message
	bytes    int
	position uint64 // of the last message queued
	passed   uint64 // greatest sequence that the feed did not queue
	behind   bool
	filling  bool
	err      error
}

// offer queues m, or says that there is no room. If the tail is behind, or must not be waited for, m is
// passed over.
func (t *jsTail) offer(m Message, pass bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.err != nil || m.Sequence <= t.position:
	case t.behind:
		t.passed = m.Sequence
		t.fillLocked()
	case t.roomLocked():
		t.pushLocked(m)
	case pass:
		t.behind, t.passed = true, m.Sequence
		t.fillLocked()
	default:
		return false
	}
	return true
}

func (t *jsTail) roomLocked() bool {
	l := t.feed.j.limits
	return len(t.queue) == 0 || (len(t.queue) < l.messages && t.bytes < l.bytes)
}

func (t *jsTail) pushLocked(m Message) {
	t.queue = append(t.queue, m)
	t.bytes += len(m.Data)
	t.position = m.Sequence
	signal(t.wake)
}

// fillLocked starts to catch up if that is needed, not going on already, and half of the buffer is free.
func (t *jsTail) fillLocked() {
	l := t.feed.j.limits
	low := len(t.queue) <= l.messages/2 && (t.bytes <= l.bytes/2 || len(t.queue) == 0)
	if t.behind && !t.filling && t.err == nil && low && t.feed.ctx.Err() == nil {
		t.filling = true
		t.feed.done.Go(t.fill)
	}
}

// fill reads until the buffer is full or the tail has all that the feed passed over.
func (t *jsTail) fill() {
	t.mu.Lock()
	position := t.position
	t.mu.Unlock()
	pause := firstPause
	for checked := false; t.feed.ctx.Err() == nil; {
		var m Message
		var err error
		if !checked {
			err = t.feed.settled(t.feed.ctx, func() error { return t.feed.readable(t.feed.ctx, t.subject, position, position) })
		}
		if err == nil {
			checked = true
			m, err = t.feed.j.Next(t.feed.ctx, t.subject, position)
		}
		switch {
		case errors.Is(err, ErrGone):
			t.fail(err)
			return
		case err != nil:
			_ = clock.Sleep(t.feed.ctx, clock.Wall{}, pause)
			pause = min(2*pause, lastPause)
			continue
		}
		position = m.Sequence
		if t.filled(m) {
			return
		}
	}
}

// filled queues a message that was read by fill and says whether fill may end.
func (t *jsTail) filled(m Message) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return true
	}
	t.pushLocked(m)
	if t.position >= t.passed {
		t.behind = false
	}
	t.filling = t.behind && t.roomLocked()
	return !t.filling
}

func (t *jsTail) hungry() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.queue) == 0 && !t.behind && t.err == nil
}

// Peek implements Tail.
func (t *jsTail) Peek() (Message, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		return Message{}, false
	}
	return t.queue[0], true
}

// Pop implements Tail.
func (t *jsTail) Pop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		return
	}
	t.bytes -= len(t.queue[0].Data)
	t.queue[0] = Message{}
	t.queue = t.queue[1:]
	t.fillLocked()
	signal(t.feed.room)
}

// Wake implements Tail.
func (t *jsTail) Wake() <-chan struct{} { return t.wake }

// Err implements Tail. Messages that were queued before it failed can still be read.
func (t *jsTail) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

func (t *jsTail) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
	signal(t.wake)
}

func (t *jsTail) close() {
	t.fail(ErrClosed)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue, t.bytes = nil, 0
}
