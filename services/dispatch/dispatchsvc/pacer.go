package dispatchsvc

import (
	"sync"
	"time"

	"refrain.dev/pkg/clock"
)

// pacer is a token bucket on a clock: a burst at once, then one call in every period. Who waits for it, and in which
// order, is the queue's.
type pacer struct {
	clock clock.Clock
	every time.Duration
	burst int

	mu   sync.Mutex
	full time.Duration // when the bucket is full again, by Elapsed
}

// newPacer paces rate calls a second, as many of them at once as a second allows.
func newPacer(rate float64, c clock.Clock) *pacer {
	return &pacer{clock: c, every: time.Duration(float64(time.Second) / rate), burst: max(1, int(rate)), full: c.Elapsed()}
}

// left is how long it is until the next turn; 0: now.
func (p *pacer) left() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Elapsed()
	return max(p.next(now)-time.Duration(p.burst)*p.every-now, 0)
}

// take uses a turn up.
func (p *pacer) take() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.full = p.next(p.clock.Elapsed())
}

// next is when the bucket would be full again after another turn.
func (p *pacer) next(now time.Duration) time.Duration { return max(p.full, now) + p.every }
