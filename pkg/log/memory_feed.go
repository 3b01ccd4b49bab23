package log

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"refrain.dev/pkg/fault"
)

type memFeed struct {
	tails map[string]*memTail
}

// memTail reads straight from the stream; nothing is buffered but the message at its head.
type memTail struct {
	memory  *Memory
	stream  *memStream
	subject string
	wake    chan struct{}
	made    time.Time
	opened  uint64 // the greatest sequence that had been purged when the tail was opened

	mu       sync.Mutex
	position uint64
	head     *Message
	err      error
}

// Feed implements Broker.
func (m *Memory) Feed(ctx context.Context, from map[string]uint64) (Feed, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f := &memFeed{tails: make(map[string]*memTail, len(from))}
	var of *memStream
	for _, subject := range sortedKeys(from) {
		s, err := m.stream(subject)
		if err != nil {
			return nil, fmt.Errorf("feed: %w", err)
		}
		if of != nil && of != s {
			return nil, errTwoStreams(of.cfg.Name, s.cfg.Name)
		}
		of = s
		position := from[subject]
		t := &memTail{memory: m, stream: s, subject: subject, wake: make(chan struct{}, 1), position: position, made: s.cfg.Made, opened: s.purged[subject]}
		t.err = s.readable(subject, position)
		f.tails[subject] = t
		signal(t.wake)
	}
	for subject, t := range f.tails {
		of.tails[subject] = append(of.tails[subject], t)
	}
	return f, nil
}

// readable says why a subject cannot be read from after position: nil, ErrGone or ErrLogLostData, or that
// at failed. at returns the subject of the message at a sequence, "" if there is none.
//
// A trimmer keeps the message at every reader's position. So if the message at position, or the one right
// after it for a reader that wants to see its last message again, is there and the subject's, then nothing
// is missing. A position that is on other subjects says nothing. A hole says that messages may be missing.
func readable(subject string, position, last uint64, at func(uint64) (string, error)) error {
	switch {
	case position == 0:
		return nil
	case position > last:
		return fmt.Errorf("%w: the stream ends at %d, the position is %d", ErrLogLostData, last, position)
	}
	hole := false
	for _, sequence := range []uint64{position, position + 1} {
		if sequence > last {
			break
		}
		found, err := at(sequence)
		if err != nil || found == subject {
			return err
		}
		hole = hole || found == ""
	}
	if hole {
		return fmt.Errorf("%w: there is no message at %d", ErrGone, position)
	}
	return nil
}

func (s *memStream) readable(subject string, position uint64) error {
	return readable(subject, position, s.last, func(sequence uint64) (string, error) {
		i := after(s.messages, sequence-1)
		if i == len(s.messages) || s.messages[i].Sequence != sequence {
			return "", nil
		}
		return s.messages[i].Subject, nil
	})
}

func errTwoStreams(a, b string) error {
	return fault.New(fault.Invalid, "feed: a feed reads one stream, not %s and %s", a, b)
}

func sortedKeys(from map[string]uint64) []string {
	keys := make([]string, 0, len(from))
	for k := range from {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Tail implements Feed.
func (f *memFeed) Tail(subject string) Tail {
	if t, ok := f.tails[subject]; ok {
		return t
	}
	return deadTail{err: errNotInFeed(subject)}
}

func errNotInFeed(subject string) error {
	return fault.New(fault.Invalid, "%s is not in the feed", subject)
}

// Close implements Feed.
func (f *memFeed) Close() {
	for _, t := range f.tails {
		t.mu.Lock()
		t.head = nil
		if t.err == nil {
			t.err = ErrClosed
		}
		t.mu.Unlock()
		t.memory.mu.Lock()
		t.stream.tails[t.subject] = slices.DeleteFunc(t.stream.tails[t.subject], func(o *memTail) bool { return o == t })
		t.memory.mu.Unlock()
		signal(t.wake)
	}
}

// Peek implements Tail.
func (t *memTail) Peek() (Message, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.head != nil {
		return *t.head, true
	}
	if t.err != nil {
		return Message{}, false
	}
	t.memory.mu.Lock()
	defer t.memory.mu.Unlock()
	if is := t.stream.cfg.Made; !is.Equal(t.made) {
		t.err = &AnewError{Stream: t.stream.cfg.Name, Was: t.made, Is: is}
		return Message{}, false
	}
	if last := t.stream.last; t.position > last {
		t.err = fmt.Errorf("%w: the stream ends at %d, the position is %d", ErrLogLostData, last, t.position)
		return Message{}, false
	}
	of := t.stream.subjects[t.subject]
	i := after(of, t.position)
	if i == len(of) {
		return Message{}, false
	}
	if purged := t.stream.purged[t.subject]; purged > max(t.position, t.opened) {
		t.err = fmt.Errorf("%w: all up to %d were purged, the position is %d", ErrGone, purged, t.position)
		return Message{}, false
	}
	head := of[i].clone()
	t.head = &head
	return head, true
}

// Pop implements Tail.
func (t *memTail) Pop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.head != nil {
		t.position = t.head.Sequence
		t.head = nil
	}
}

// Wake implements Tail.
func (t *memTail) Wake() <-chan struct{} { return t.wake }

// Err implements Tail.
func (t *memTail) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// deadTail is the tail of a subject that the feed does not read.
type deadTail struct{ err error }

func (deadTail) Peek() (Message, bool) { return Message{}, false }
func (deadTail) Pop()                  {}
func (deadTail) Wake() <-chan struct{} { return nil }
func (d deadTail) Err() error          { return d.err }
