package log

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"
)

type memLease struct {
	Lease

	until time.Time
}

type memLeases struct{ m *Memory }

// Leases implements Site. Entries go by the clock of WithClock.
func (m *Memory) Leases() Leases { return memLeases{m} }

// Hold implements Leases.
func (l memLeases) Hold(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (uint64, error) {
	if err := checkLease(key, value, ttl); err != nil {
		return 0, err
	}
	op := Op{Name: "lease.hold", Subject: key, Expect: revision, Data: bytes.Clone(value)}
	return l.m.write(ctx, op, func() (uint64, error) {
		l.m.lapse()
		if was := l.m.leases[key].Revision; was != revision {
			return 0, &ConflictError{Last: was}
		}
		l.m.kvSeq++
		l.m.leases[key] = memLease{Lease: Lease{Key: key, Value: op.Data, Revision: l.m.kvSeq}, until: l.m.now().Add(ttl)}
		return l.m.kvSeq, nil
	})
}

// All implements Leases.
func (l memLeases) All(ctx context.Context, group string) (out []Lease, err error) {
	err = l.m.do(ctx, Op{Name: "lease.all", Subject: group}, false, func() error {
		l.m.lapse()
		for key, held := range l.m.leases {
			if strings.HasPrefix(key, group+".") {
				held.Value = bytes.Clone(held.Value)
				out = append(out, held.Lease)
			}
		}
		slices.SortFunc(out, func(a, b Lease) int { return strings.Compare(a.Key, b.Key) })
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// lapse removes what was not held again in time.
func (m *Memory) lapse() {
	now := m.now()
	for key, held := range m.leases {
		if !now.Before(held.until) {
			delete(m.leases, key)
		}
	}
}
