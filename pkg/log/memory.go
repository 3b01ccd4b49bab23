package log

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"refrain.dev/pkg/fault"
)

// Memory is a Site in memory that answers as JetStream with three replicas does: sequences are shared by
// the subjects of a stream, a conflict names the last sequence, and a repeated append is never recognised.
// What is stored is copied, and every reader gets a copy of its own. After Append or Publish returns, every
// open feed has the message; so a single goroutine can drive it deterministically. It is safe for
// concurrent use.
type Memory struct {
	now    func() time.Time
	faults Faults

	mu      sync.Mutex
	number  uint64
	streams map[string]*memStream
	bySubj  map[string]*memStream
	kv      map[string]kvEntry
	kvSeq   uint64
	leases  map[string]memLease
	objects map[string]memObject
	delayed []delayed
	// lastMade is when the last stream was made.
	lastMade time.Time
}

type memStream struct {
	cfg      StreamConfig // with when it was made
	last     uint64
	bytes    uint64
	messages []Message      // all that are left, by sequence
	headers  map[uint64]int // by sequence, the bytes of the headers that a message came with
	subjects map[string][]Message
	purged   map[string]uint64 // by subject, the greatest sequence that was purged
	tails    map[string][]*memTail
}

type delayed struct {
	due  uint64 // number of the operation before which it lands; 0: only by Land
	land func()
}

// MemoryOption changes how a Memory works.
type MemoryOption func(*Memory)

// WithFaults lets f decide what goes wrong.
func WithFaults(f Faults) MemoryOption { return func(m *Memory) { m.faults = f } }

// WithClock sets where the stored times come from; the default is the machine's clock.
func WithClock(now func() time.Time) MemoryOption { return func(m *Memory) { m.now = now } }

// NewMemory returns an empty Memory without streams; Provision makes them.
func NewMemory(opts ...MemoryOption) *Memory {
	m := &Memory{
		now: time.Now, streams: map[string]*memStream{}, bySubj: map[string]*memStream{}, kv: map[string]kvEntry{},
		leases: map[string]memLease{},
	}
	for _, opt := range opts {
		opt(m)
	}
	return m
}

// SetFaults replaces the fault hook; nil ends all faults.
func (m *Memory) SetFaults(f Faults) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = f
}

// Land does what is still to land late, in the order in which it was sent, and returns how much it was.
func (m *Memory) Land() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	late := m.delayed
	m.delayed = nil
	for _, d := range late {
		d.land()
	}
	return len(late)
}

// do runs one operation under the lock and under the faults. write says that it changes something.
func (m *Memory) do(ctx context.Context, op Op, write bool, run func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.number++
	op.Number = m.number
	m.landDue()
	f := Fault{}
	if m.faults != nil {
		f = m.faults(op)
	}
	switch {
	case f.Effect == LostAfter:
		_ = run()
	case f.Effect == Late && write:
		d := delayed{land: func() { _ = run() }}
		if f.After > 0 {
			d.due = m.number + f.After
		}
		m.delayed = append(m.delayed, d)
	case f.Effect == Pass && f.Err == nil:
		return wrapOp(op, run())
	}
	return wrapOp(op, f.answer())
}

func (m *Memory) landDue() {
	m.delayed = slices.DeleteFunc(m.delayed, func(d delayed) bool {
		due := d.due != 0 && d.due <= m.number
		if due {
			d.land()
		}
		return due
	})
}

func (m *Memory) stream(subject string) (*memStream, error) {
	if err := checkSubject(subject); err != nil {
		return nil, err
	}
	s, ok := m.bySubj[subject]
	if !ok {
		s, ok = m.bySubj[wildcard(subject)]
	}
	if !ok {
		return nil, errNoStream(subject)
	}
	return s, nil
}

// stored is stream for somebody who writes: a broker without a stream for it gives no answer.
func (m *Memory) stored(subject string) (*memStream, error) {
	if err := checkSubject(subject); err != nil {
		return nil, err
	}
	s, err := m.stream(subject)
	if err != nil {
		return nil, fault.As(fault.Unavailable, fmt.Errorf("%w: %w", ErrUnknown, err))
	}
	return s, nil
}

// Append implements Broker.
func (m *Memory) Append(ctx context.Context, subject string, expect uint64, data []byte) (uint64, error) {
	if expect == 0 {
		return 0, fault.As(fault.Invalid, ErrZeroExpectation)
	}
	data = bytes.Clone(data)
	return m.write(ctx, Op{Name: "append", Subject: subject, Expect: expect, Data: data}, func() (uint64, error) {
		s, err := m.stored(subject)
		if err != nil {
			return 0, err
		}
		in := Message{Subject: subject, Data: data}
		header := headerBytes(expectSubject, expect)
		if err := s.fits(in, header); err != nil {
			return 0, err
		}
		if last := s.lastOf(subject); last != expect {
			return 0, &ConflictError{Last: last}
		}
		return s.store(in, header, m.now())
	})
}

// Publish implements Broker.
func (m *Memory) Publish(ctx context.Context, subject string, data []byte) (uint64, error) {
	data = bytes.Clone(data)
	return m.write(ctx, Op{Name: "publish", Subject: subject, Data: data}, func() (uint64, error) {
		s, err := m.stored(subject)
		if err != nil {
			return 0, err
		}
		return s.store(Message{Subject: subject, Data: data}, 0, m.now())
	})
}

// write is do for one message. What lands late has no caller any more, so its sequence is read by nobody.
func (m *Memory) write(ctx context.Context, op Op, run func() (uint64, error)) (uint64, error) {
	var at uint64
	err := m.do(ctx, op, true, func() (err error) {
		at, err = run()
		return err
	})
	if err != nil {
		return 0, err
	}
	return at, nil
}

// Last implements Broker.
func (m *Memory) Last(ctx context.Context, subject string) (Message, error) {
	return m.read(ctx, Op{Name: "last", Subject: subject}, func(s *memStream) (Message, bool) {
		of := s.subjects[subject]
		if len(of) == 0 {
			return Message{}, false
		}
		return of[len(of)-1], true
	})
}

// Get implements Broker.
func (m *Memory) Get(ctx context.Context, subject string, sequence uint64) (Message, error) {
	return m.read(ctx, Op{Name: "get", Subject: subject}, func(s *memStream) (Message, bool) {
		i := after(s.messages, sequence-1)
		if sequence == 0 || i == len(s.messages) || s.messages[i].Sequence != sequence {
			return Message{}, false
		}
		return s.messages[i], true
	})
}

// Next implements Broker.
func (m *Memory) Next(ctx context.Context, subject string, position uint64) (Message, error) {
	return m.read(ctx, Op{Name: "next", Subject: subject}, func(s *memStream) (Message, bool) {
		of := s.subjects[subject]
		i := after(of, position)
		if i == len(of) {
			return Message{}, false
		}
		return of[i], true
	})
}

func (m *Memory) read(ctx context.Context, op Op, find func(*memStream) (Message, bool)) (msg Message, err error) {
	err = m.do(ctx, op, false, func() error {
		s, err := m.stream(op.Subject)
		if err != nil {
			return err
		}
		found, ok := find(s)
		if !ok {
			return fault.As(fault.NotFound, ErrNotFound)
		}
		msg = found.clone()
		return nil
	})
	if err != nil {
		return Message{}, err
	}
	return msg, nil
}

// Purge implements Broker.
func (m *Memory) Purge(ctx context.Context, subject string, below uint64) error {
	return m.do(ctx, Op{Name: "purge", Subject: subject}, true, func() error {
		s, err := m.stream(subject)
		if err != nil {
			return err
		}
		if last := s.lastOf(subject); below > last {
			return errPurgeLast(below, last)
		}
		s.drop(func(msg Message) bool { return msg.Subject == subject && msg.Sequence < below })
		return nil
	})
}

// Usage implements Broker.
func (m *Memory) Usage(ctx context.Context, subject string) (u Usage, err error) {
	err = m.do(ctx, Op{Name: "usage", Subject: subject}, false, func() error {
		s, err := m.stream(subject)
		if err != nil {
			return err
		}
		u = Usage{
			Bytes: s.bytes, MaxBytes: uint64(max(s.cfg.MaxBytes, 0)), //nolint:gosec // not negative
			Messages: uint64(len(s.messages)), LastSequence: s.last, Made: s.cfg.Made,
		}
		return nil
	})
	return u, err
}

func errPurgeLast(below, last uint64) error {
	return fault.New(fault.Invalid, "purge below %d would remove the last message, %d", below, last)
}

// after returns the index of the first message with a sequence greater than position.
func after(of []Message, position uint64) int {
	return sort.Search(len(of), func(i int) bool { return of[i].Sequence > position })
}

func (msg Message) clone() Message {
	msg.Data = bytes.Clone(msg.Data)
	return msg
}

// The headers that say what an append expects. The server counts and keeps them.
const (
	expectSubject = "Nats-Expected-Last-Subject-Sequence"
	expectStream  = "Nats-Expected-Last-Sequence"
)

// headerBytes is the size of one header with a number.
func headerBytes(name string, value uint64) int {
	return len(fmt.Sprintf("NATS/1.0\r\n%s: %d\r\n\r\n", name, value))
}

// size is what a message costs in a stream: exactly what JetStream's file store counts.
func (s *memStream) size(msg Message) uint64 {
	size := len(msg.Subject) + len(msg.Data) + 30
	if header := s.headers[msg.Sequence]; header > 0 {
		size += header + 4
	}
	return uint64(size) //nolint:gosec // not negative
}

// fits refuses what is larger than a message of the stream may be.
func (s *memStream) fits(msg Message, header int) error {
	if size := header + len(msg.Data); s.cfg.MaxMessage > 0 && size > int(s.cfg.MaxMessage) {
		return fault.New(fault.Invalid, "message of %d bytes is larger than a stream takes", size)
	}
	return nil
}

func (s *memStream) lastOf(subject string) uint64 {
	of := s.subjects[subject]
	if len(of) == 0 {
		return 0
	}
	return of[len(of)-1].Sequence
}

// store stores a message that came with so many bytes of headers, if there is room for it.
func (s *memStream) store(msg Message, header int, now time.Time) (uint64, error) {
	if err := s.fits(msg, header); err != nil {
		return 0, err
	}
	msg.Sequence, msg.Time = s.last+1, now
	if header > 0 {
		s.headers[msg.Sequence] = header
	}
	if !s.room(msg) {
		delete(s.headers, msg.Sequence)
		return 0, fault.As(fault.Unavailable, ErrFull)
	}
	s.last++
	s.bytes += s.size(msg)
	s.messages = append(s.messages, msg)
	s.subjects[msg.Subject] = append(s.subjects[msg.Subject], msg)
	for _, t := range s.tails[msg.Subject] {
		signal(t.wake)
	}
	s.shrink()
	return msg.Sequence, nil
}

// room says whether a message may be stored. A stream that drops its oldest messages takes everything.
func (s *memStream) room(msg Message) bool {
	return !s.cfg.DiscardNew || s.cfg.MaxBytes <= 0 || s.bytes+s.size(msg) <= uint64(s.cfg.MaxBytes)
}

// shrink drops the oldest messages of a stream that does so, until it is no larger than it may be.
func (s *memStream) shrink() {
	if s.cfg.DiscardNew || s.cfg.MaxBytes <= 0 {
		return
	}
	left, last := s.bytes, uint64(0)
	for n := 0; left > uint64(s.cfg.MaxBytes); n++ { //nolint:gosec // not negative
		left, last = left-s.size(s.messages[n]), s.messages[n].Sequence
	}
	if last > 0 {
		s.drop(func(m Message) bool { return m.Sequence <= last })
	}
}

func (s *memStream) drop(gone func(Message) bool) {
	keep := make([]Message, 0, len(s.messages))
	subjects := map[string]struct{}{}
	for _, msg := range s.messages {
		if gone(msg) {
			s.bytes -= s.size(msg)
			delete(s.headers, msg.Sequence)
			subjects[msg.Subject] = struct{}{}
			s.purged[msg.Subject] = msg.Sequence
			continue
		}
		keep = append(keep, msg)
	}
	s.messages = keep
	for subject := range subjects {
		of := make([]Message, 0, len(s.subjects[subject]))
		for _, msg := range s.subjects[subject] {
			if !gone(msg) {
				of = append(of, msg)
			}
		}
		s.subjects[subject] = of
	}
}

func signal(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

func wrapOp(op Op, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", op.Name, op.Subject, err)
}
