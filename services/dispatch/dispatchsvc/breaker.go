package dispatchsvc

import (
	"sync"
	"time"

	"refrain.dev/pkg/clock"
)

// breaker leaves a provider alone that keeps failing: after so many failures in a row no call is made for a
// while, then a single one tries it out. It is safe for concurrent use.
type breaker struct {
	clock    clock.Clock
	failures int
	delay    time.Duration

	mu     sync.Mutex
	inRow  int
	open   bool
	until  time.Duration // while open: when it may be tried out, by Elapsed
	trying bool          // while open: the call that tries it out is under way
}

func newBreaker(failures int, delay time.Duration, c clock.Clock) *breaker {
	return &breaker{clock: c, failures: failures, delay: delay}
}

// remaining is how long no call is made from now on; 0 if one may be.
func (b *breaker) remaining() time.Duration {
	now := b.clock.Elapsed()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return 0
	}
	return max(b.until-now, 0)
}

// try says whether a call may be made now; if so, its end must be recorded.
func (b *breaker) try() bool {
	now := b.clock.Elapsed()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return true
	}
	if b.trying || now < b.until {
		return false
	}
	b.trying = true
	return true
}

// succeeded records that a call came through: the provider works.
func (b *breaker) succeeded() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inRow, b.open, b.trying = 0, false, false
}

// failed records a failure. The failure of a call that was begun before the breaker opened changes nothing.
func (b *breaker) failed() {
	now := b.clock.Elapsed()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inRow++
	if b.open && !b.trying || !b.open && b.inRow < b.failures {
		return
	}
	b.open, b.trying, b.until = true, false, now+b.delay
}
