package dispatchsvc

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// slots bounds how many calls are on their way at once. Room is taken when a delivery is paced and kept
// for its call by a key; if the call never comes (the delivery was withdrawn meanwhile), the lease ends.
type slots struct {
	size  int
	lease time.Duration

	mu   sync.Mutex
	held map[string]time.Time // key to the end of its lease; zero while its call runs
	free chan struct{}        // closed and replaced whenever room may have become free
}

func newSlots(size int, lease time.Duration) *slots {
	return &slots{size: size, lease: lease, held: map[string]time.Time{}, free: make(chan struct{})}
}

// take waits for room and leases it to key.
func (s *slots) take(ctx context.Context, key string) error {
	for {
		next, wait := s.try(key)
		if wait == nil {
			return nil
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("wait for room: %w", ctx.Err())
		case <-wait:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// try takes room if there is some; else it says when a lease ends next and what to wait for.
func (s *slots) try(key string) (time.Duration, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	next := s.lease
	for k, end := range s.held {
		if end.IsZero() {
			continue
		}
		if !end.After(now) {
			delete(s.held, k)
			continue
		}
		next = min(next, end.Sub(now))
	}
	if _, mine := s.held[key]; mine || len(s.held) < s.size {
		s.held[key] = now.Add(s.lease)
		return 0, nil
	}
	return next, s.free
}

// use turns the lease into possession until release; it waits for room if the lease has ended.
func (s *slots) use(ctx context.Context, key string) (release func(), err error) {
	if err := s.take(ctx, key); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.held[key] = time.Time{}
	s.mu.Unlock()
	return func() { s.drop(key) }, nil
}

func (s *slots) drop(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, key)
	close(s.free)
	s.free = make(chan struct{})
}
