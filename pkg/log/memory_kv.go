package log

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"refrain.dev/pkg/fault"
)

// kvBucket is the name of the bucket.
const kvBucket = "refrain"

const (
	maxValue = 1 << 20
	keyRunes = "-/_=.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
)

type kvEntry struct {
	value    []byte
	revision uint64
}

type memKV struct{ m *Memory }

// KV implements Site.
func (m *Memory) KV() KV { return memKV{m} }

// Get implements KV.
func (k memKV) Get(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	if err := checkKV(key, nil); err != nil {
		return nil, 0, err
	}
	err = k.m.do(ctx, Op{Name: "kv.get", Subject: key}, false, func() error {
		e, ok := k.m.kv[key]
		if !ok {
			return fault.As(fault.NotFound, ErrNotFound)
		}
		value, revision = bytes.Clone(e.value), e.revision
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return value, revision, nil
}

// Put implements KV.
func (k memKV) Put(ctx context.Context, key string, value []byte) error {
	return k.write(ctx, Op{Name: "kv.put", Subject: key, Data: bytes.Clone(value)}, func(uint64) bool { return true })
}

// Update implements KV.
func (k memKV) Update(ctx context.Context, key string, value []byte, revision uint64) error {
	op := Op{Name: "kv.update", Subject: key, Expect: revision, Data: bytes.Clone(value)}
	return k.write(ctx, op, func(at uint64) bool { return at == revision })
}

func (k memKV) write(ctx context.Context, op Op, allowed func(revision uint64) bool) error {
	if err := checkKV(op.Subject, op.Data); err != nil {
		return err
	}
	return k.m.do(ctx, op, true, func() error {
		if at := k.m.kv[op.Subject].revision; !allowed(at) {
			return &ConflictError{Last: at}
		}
		k.m.kvSeq++
		k.m.kv[op.Subject] = kvEntry{value: op.Data, revision: k.m.kvSeq}
		return nil
	})
}

// Keys implements KV.
func (k memKV) Keys(ctx context.Context, prefix string) (keys []string, err error) {
	err = k.m.do(ctx, Op{Name: "kv.keys", Subject: prefix}, false, func() error {
		for key := range k.m.kv {
			if strings.HasPrefix(key, prefix) {
				keys = append(keys, key)
			}
		}
		slices.Sort(keys)
		return nil
	})
	return keys, err
}

func checkKV(key string, value []byte) error {
	foreign := func(r rune) bool { return !strings.ContainsRune(keyRunes, r) }
	switch {
	case key == "" || strings.ContainsFunc(key, foreign) || strings.HasPrefix(key, ".") || strings.HasSuffix(key, ".") || strings.Contains(key, ".."):
		return fault.New(fault.Invalid, "key %q: want letters, digits and - / _ = . inside", key)
	case len(value) > maxValue:
		return fault.New(fault.Invalid, "value of %s has %d bytes, more than %d", key, len(value), maxValue)
	default:
		return nil
	}
}

// Prepare implements Site.
func (m *Memory) Prepare(context.Context, int) error { return nil }

// CreateStream implements Site.
func (m *Memory) CreateStream(_ context.Context, cfg StreamConfig) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.streams[cfg.Name]; ok {
		if len(cfg.difference(old.cfg)) > 0 {
			return fault.New(fault.Conflict, "create stream %s: there is another with this name", cfg.Name)
		}
		return nil
	}
	for _, subject := range cfg.Subjects {
		for stored, other := range m.bySubj {
			if overlap(subject, stored) {
				return fault.New(fault.Conflict, "create stream %s: %s is stored by %s", cfg.Name, subject, other.cfg.Name)
			}
		}
	}
	s := &memStream{
		cfg: cfg, subjects: map[string][]Message{}, headers: map[uint64]int{}, purged: map[string]uint64{}, tails: map[string][]*memTail{},
	}
	s.cfg.Subjects = slices.Clone(cfg.Subjects)
	s.cfg.Made = m.made()
	m.streams[cfg.Name] = s
	for _, subject := range cfg.Subjects {
		m.bySubj[subject] = s
	}
	return nil
}

// Stream implements Site.
func (m *Memory) Stream(_ context.Context, name string) (StreamConfig, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.streams[name]
	if !ok {
		return StreamConfig{}, fault.As(fault.NotFound, fmt.Errorf("stream %s: %w", name, ErrNotFound))
	}
	cfg := s.cfg
	cfg.Subjects = slices.Clone(cfg.Subjects)
	return cfg, nil
}

// DeleteStream implements Site.
func (m *Memory) DeleteStream(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.streams[name]
	if !ok {
		return nil
	}
	delete(m.streams, name)
	s.cfg.Made = time.Time{}
	s.signalAll()
	for _, subject := range s.cfg.Subjects {
		delete(m.bySubj, subject)
	}
	return nil
}

// Begin implements Site.
func (m *Memory) Begin(ctx context.Context, subject string, position uint64, data []byte) error {
	data = bytes.Clone(data)
	return m.do(ctx, Op{Name: "begin", Subject: subject, Data: data}, true, func() error {
		s, err := m.stored(subject)
		if err != nil {
			return err
		}
		in, header := Message{Subject: subject, Data: data}, headerBytes(expectStream, position-1)
		if err := s.fits(in, header); err != nil {
			return err
		}
		if s.last != position-1 {
			return &ConflictError{Last: s.last}
		}
		_, err = s.store(in, header, m.now())
		return err
	})
}
