package stage

import (
	"context"
	"errors"
	"fmt"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// aheadLooks is how often a chain that ends before the state store is read before it is believed: a leader that
// has just been elected may not have read its own log to the end.
const aheadLooks = 8

// ahead says why the store is further than this process knows its chain to be: another owner wrote both, or
// the log lost what it had acknowledged.
func (p *partition) ahead(ctx context.Context, meta state.Meta) error {
	last := uint64(0)
	for look := range aheadLooks {
		msg, err := p.ports.Broker.Last(ctx, p.chainName)
		switch {
		case err == nil && msg.Sequence > p.last:
			return errLost
		case err != nil && !errors.Is(err, log.ErrNotFound):
			return fmt.Errorf("read the end of %s: %w", p.chainName, err)
		}
		last = msg.Sequence
		if look+1 < aheadLooks {
			if err := clock.Sleep(ctx, p.ports.Clock, handoverLook); err != nil {
				return err
			}
		}
	}
	return &HaltError{Subject: p.chainName, Why: fmt.Sprintf(
		"the state store is at record %d of generation %d, the chain ends at %d: the log lost data", meta.Applied, meta.Generation, last)}
}
