package stage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

const (
	// tailLooks is how often a chain that ends before what was acknowledged is read before it is believed: a
	// leader that has just been elected may not have read its own log to the end.
	tailLooks = 8
	// tailEvery is how often an owner that appends nothing looks whether its chain is still whole.
	tailEvery = 8 * time.Second
)

// ahead says why the store is further than this process knows its chain to be: another owner wrote both, or
// the log lost what it had acknowledged.
func (p *partition) ahead(ctx context.Context, meta state.Meta) error {
	at, err := p.tailAt(ctx, meta.Applied)
	if err != nil {
		return err
	}
	if at > p.last {
		return errLost
	}
	return &HaltError{Subject: p.chainName, Why: fmt.Sprintf(
		"the state store is at record %d of generation %d, the chain ends at %d: the log lost data", meta.Applied, meta.Generation, at)}
}

// beyond says why there is a snapshot of a record that this process does not know: as with ahead.
func (p *partition) beyond(ctx context.Context, e *beyondError) error {
	at, err := p.tailAt(ctx, e.sequence)
	if err != nil {
		return err
	}
	if at > p.last {
		return errLost
	}
	return &HaltError{Subject: p.chainName, Why: fmt.Sprintf(
		"there is a snapshot of record %d, the chain ends at %d: the log lost data", e.sequence, at)}
}

// checkTail looks, now and then, whether the chain still ends where this process has seen it end. Whoever
// appends finds out anyway; an idle owner must too, because others act on what its chain has said.
func (p *partition) checkTail(ctx context.Context) error {
	if p.ports.Clock.Elapsed()-p.tailSeen < tailEvery {
		return nil
	}
	return p.proveTail(ctx)
}

// proveTail proves that no other owner has appended: the chain ends where this process has seen it end.
func (p *partition) proveTail(ctx context.Context) error {
	now := p.ports.Clock.Elapsed()
	at, err := p.tailAt(ctx, p.last)
	switch {
	case err != nil:
		return err
	case at > p.last:
		return errLost
	case at < p.last:
		return &HaltError{Subject: p.chainName, Why: fmt.Sprintf("it ends at %d, and %d was acknowledged: the log lost data", at, p.last)}
	}
	p.tailSeen = now
	return nil
}

// tailAt is where the chain ends: 0 if it has no record at all. An end before what is wanted is looked at
// several times.
func (p *partition) tailAt(ctx context.Context, wanted uint64) (uint64, error) {
	for look := 1; ; look++ {
		msg, err := p.ports.Broker.Last(ctx, p.chainName)
		if err != nil && !errors.Is(err, log.ErrNotFound) {
			return 0, fmt.Errorf("read the end of %s: %w", p.chainName, err)
		}
		if msg.Sequence >= wanted || msg.Sequence > p.last || look == tailLooks {
			return msg.Sequence, nil
		}
		if err := clock.Sleep(ctx, p.ports.Clock, handoverLook); err != nil {
			return 0, err
		}
	}
}
