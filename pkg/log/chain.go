package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
)

const (
	firstPause = time.Millisecond
	lastPause  = 250 * time.Millisecond
	// lossChecks is how often an answer that names lost data is checked before it is believed: a leader
	// that has just been elected may not have read its own log to the end.
	lossChecks = 8
)

// Chain appends to one chain by the protocol that makes lost answers harmless: the same bytes under the
// same expectation are repeated until the broker says what became of them, and a refusal is resolved by
// reading the chain, never by guessing. It is safe for concurrent use, but has one append open at a time.
type Chain struct {
	broker  Broker
	subject string
	clock   clock.Clock

	mu   sync.Mutex
	busy bool
	open *attempt // an append whose fate is not known; only a repeat of it is accepted
}

type attempt struct {
	expect uint64
	data   []byte
	// sent says that a copy may be on its way.
	sent bool
	// losses counts the answers in a row that named lost data.
	losses int
}

// OpenChain returns the protocol around Append for one chain, which waits on c. It reads nothing.
func OpenChain(b Broker, subject string, c clock.Clock) *Chain {
	return &Chain{broker: b, subject: subject, clock: c}
}

// Append stores data as the chain's next record if its last one has sequence expect, and returns the
// record's sequence. data must be unique (records carry an id) and must not be changed before Append
// returns and, if the error is ErrUnknown, not before it was repeated with a result.
//
//   - ErrLost: another's record follows expect; the caller is no longer the owner.
//   - ErrLogLostData: the chain ends before expect; halt.
//   - ErrFull: the stream takes no more; nothing was stored and nothing will be.
//   - ErrUnknown with the context's error: the context ended first; data may be stored, now or later. The
//     chain stays open: only the same append may be repeated, anything else is ErrBusy.
//   - ErrBusy, ErrZeroExpectation: refused, nothing was tried.
func (c *Chain) Append(ctx context.Context, expect uint64, data []byte) (uint64, error) {
	if expect == 0 {
		return 0, fault.As(fault.Invalid, fmt.Errorf("append to %s: %w", c.subject, ErrZeroExpectation))
	}
	a, err := c.begin(expect, data)
	if err != nil {
		return 0, fmt.Errorf("append to %s after %d: %w", c.subject, expect, err)
	}
	sequence, err := c.run(ctx, a)
	c.end(a, err)
	if err != nil {
		return 0, fmt.Errorf("append to %s after %d: %w", c.subject, expect, err)
	}
	return sequence, nil
}

func (c *Chain) begin(expect uint64, data []byte) (*attempt, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy {
		return nil, ErrBusy
	}
	a := &attempt{expect: expect, data: data}
	if c.open != nil {
		if c.open.expect != expect || !bytes.Equal(c.open.data, data) {
			return nil, fmt.Errorf("%w: its answer is not known yet", ErrBusy)
		}
		a = c.open
	}
	c.busy = true
	return a, nil
}

func (c *Chain) end(a *attempt, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	c.open = nil
	if errors.Is(err, ErrUnknown) {
		c.open = a
	}
}

func (c *Chain) run(ctx context.Context, a *attempt) (uint64, error) {
	pause := firstPause
	for {
		sequence, done, err := c.try(ctx, a)
		if done {
			return sequence, err
		}
		if werr := clock.Sleep(ctx, c.clock, pause); werr != nil {
			return 0, fault.As(fault.Unavailable, fmt.Errorf("%w: %w: %w", ErrUnknown, werr, err))
		}
		pause = min(2*pause, lastPause)
	}
}

// try makes one attempt; done says that the append's fate is known. If it is not, err says why.
func (c *Chain) try(ctx context.Context, a *attempt) (sequence uint64, done bool, err error) {
	if ctx.Err() != nil && !a.sent {
		return 0, true, ctx.Err()
	}
	sequence, err = c.broker.Append(ctx, c.subject, a.expect, a.data)
	conflict, isConflict := errors.AsType[*ConflictError](err)
	switch {
	case err == nil:
		return sequence, true, nil
	case isConflict && conflict.Last > a.expect:
		return c.resolve(ctx, a)
	case isConflict:
		return c.checkLoss(ctx, a, conflict)
	case errors.Is(err, ErrPending):
		return 0, false, err
	case errors.Is(err, ErrUnknown), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		a.sent = true
		return 0, false, err
	case a.sent:
		// This copy was refused, but an earlier one may be there or on its way.
		return c.resolve(ctx, a)
	default:
		return 0, true, err
	}
}

// resolve looks at the record after the expected one: ours means stored, another's means lost.
func (c *Chain) resolve(ctx context.Context, a *attempt) (uint64, bool, error) {
	a.losses = 0
	m, err := c.broker.Next(ctx, c.subject, a.expect)
	switch {
	case err != nil:
		return 0, false, fmt.Errorf("read the record after %d: %w", a.expect, err)
	case bytes.Equal(m.Data, a.data):
		return m.Sequence, true, nil
	default:
		return 0, true, fault.As(fault.Conflict, fmt.Errorf("%w: its record is %d", ErrLost, m.Sequence))
	}
}

// checkLoss believes an answer that names a sequence before the expected one only when reading says so too.
func (c *Chain) checkLoss(ctx context.Context, a *attempt, conflict *ConflictError) (uint64, bool, error) {
	m, err := c.broker.Last(ctx, c.subject)
	lost := errors.Is(err, ErrNotFound) || (err == nil && m.Sequence < a.expect)
	if !lost {
		a.losses = 0
		return 0, false, conflict
	}
	a.losses++
	if a.losses < lossChecks {
		return 0, false, conflict
	}
	return 0, true, fmt.Errorf("%w: the chain ends at %d, %d was acknowledged", ErrLogLostData, m.Sequence, a.expect)
}
