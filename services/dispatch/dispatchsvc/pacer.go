package dispatchsvc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"refrain.dev/pkg/clock"
)

// errLate says that the turn would come after the caller's deadline.
var errLate = errors.New("the turn would come too late")

// pacer is a token bucket on a clock: a burst at once, then one call in every period, in the order of asking.
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

// wait waits for the turn, unless stop is closed first. A turn that would come after ctx's deadline is not
// waited for and takes nothing.
func (p *pacer) wait(ctx context.Context, stop <-chan struct{}) error {
	left, limited := p.clock.Left(ctx)
	wait, after := p.reserve(left, limited)
	if wait < 0 {
		return errLate
	}
	if wait == 0 {
		return nil
	}
	woken, err := p.clock.Wait(ctx, wait, stop)
	if err == nil && woken < 0 {
		return nil
	}
	p.giveBack(after)
	if err != nil {
		return fmt.Errorf("wait for the turn: %w", err)
	}
	return errStopping
}

// reserve takes a turn and says how long it is until then; less than 0: not within left. after is what a turn
// that is not used is given back by.
func (p *pacer) reserve(left time.Duration, limited bool) (wait, after time.Duration) {
	now := p.clock.Elapsed()
	p.mu.Lock()
	defer p.mu.Unlock()
	after = max(p.full, now) + p.every
	wait = max(after-time.Duration(p.burst)*p.every-now, 0)
	if limited && wait > max(left, 0) {
		return -1, after
	}
	p.full = after
	return wait, after
}

// giveBack frees a turn that was not used, if nobody has taken one after it.
func (p *pacer) giveBack(after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full == after {
		p.full -= p.every
	}
}
