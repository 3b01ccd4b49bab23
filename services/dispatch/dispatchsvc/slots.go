package dispatchsvc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"refrain.dev/pkg/clock"
)

// errStopping says that what was waited for is not wanted any more.
var errStopping = errors.New("dispatch is stopping")

// held marks room whose call is under way.
const held time.Duration = -1

// slots bounds how many calls are on their way at once. Room is taken when a delivery is paced and kept
// for its call by a key; if the call never comes (the delivery was withdrawn meanwhile), the lease ends.
type slots struct {
	size  int
	lease time.Duration
	clock clock.Clock

	mu   sync.Mutex
	ends map[string]time.Duration // key to when its lease ends, by Elapsed; held while its call runs
	free chan struct{}            // closed and replaced whenever room may have become free
}

func newSlots(size int, lease time.Duration, c clock.Clock) *slots {
	return &slots{size: size, lease: lease, clock: c, ends: map[string]time.Duration{}, free: make(chan struct{})}
}

// take waits for room and leases it to key, unless stop is closed first.
func (s *slots) take(ctx context.Context, key string, stop <-chan struct{}) error {
	for {
		next, wait := s.try(key)
		if wait == nil {
			return nil
		}
		woken, err := s.clock.Wait(ctx, next, wait, stop)
		if err != nil {
			return fmt.Errorf("wait for room: %w", err)
		}
		if woken == 1 {
			return errStopping
		}
	}
}

// try takes room if there is some; else it says when a lease ends next and what to wait for.
func (s *slots) try(key string) (time.Duration, <-chan struct{}) {
	now := s.clock.Elapsed()
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.lease
	for k, end := range s.ends {
		if end == held {
			continue
		}
		if end <= now {
			delete(s.ends, k)
			continue
		}
		next = min(next, end-now)
	}
	if _, mine := s.ends[key]; mine || len(s.ends) < s.size {
		s.ends[key] = now + s.lease
		return 0, nil
	}
	return next, s.free
}

// use turns the lease into possession until release; it waits for room if the lease has ended.
func (s *slots) use(ctx context.Context, key string) (release func(), err error) {
	if err := s.take(ctx, key, nil); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.ends[key] = held
	s.mu.Unlock()
	return func() { s.drop(key) }, nil
}

func (s *slots) drop(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ends, key)
	close(s.free)
	s.free = make(chan struct{})
}
