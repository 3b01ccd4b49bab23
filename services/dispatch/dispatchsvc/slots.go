package dispatchsvc

import (
	"sync"
	"time"

	"refrain.dev/pkg/clock"
)

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

// try takes room if there is some and leases it to key; else it says when a lease ends next and what to wait for.
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
	if s.ends[key] == held {
		return 0, nil
	}
	if _, mine := s.ends[key]; mine || len(s.ends) < s.size {
		s.ends[key] = now + s.lease
		return 0, nil
	}
	return next, s.free
}

// holds takes possession of room for key if it has a lease or there is room; it does not wait.
func (s *slots) holds(key string) bool {
	if _, wait := s.try(key); wait != nil {
		return false
	}
	s.hold(key)
	return true
}

// hold turns the lease that try has given into possession until drop.
func (s *slots) hold(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends[key] = held
}

func (s *slots) drop(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ends, key)
	close(s.free)
	s.free = make(chan struct{})
}
