package stage

import (
	"context"
	"sync"

	"refrain.dev/pkg/log"
)

// tracker is a broker that notes the sequence stored last on every subject.
type tracker struct {
	log.Broker

	signal func()

	mu   sync.Mutex
	last map[string]uint64
}

// Append implements log.Broker.
func (t *tracker) Append(ctx context.Context, subject string, expect uint64, data []byte) (uint64, error) {
	seq, err := t.Broker.Append(ctx, subject, expect, data)
	if err == nil {
		t.note(subject, seq)
	}
	return seq, err
}

// Publish implements log.Broker.
func (t *tracker) Publish(ctx context.Context, subject string, data []byte) (uint64, error) {
	seq, err := t.Broker.Publish(ctx, subject, data)
	if err == nil {
		t.note(subject, seq)
		t.signal()
	}
	return seq, err
}

func (t *tracker) note(subject string, seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last[subject] = max(t.last[subject], seq)
}

func (t *tracker) stored(subject string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last[subject]
}
