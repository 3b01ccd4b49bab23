package snapshot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

func relayKey(chain string) string { return "relay/" + chain }

// Relayed is the record of a chain up to which all letters are delivered, as far as is known (0: nothing is),
// and the revision of that knowledge.
func Relayed(ctx context.Context, kv log.KV, chain string) (sequence, revision uint64, err error) {
	value, revision, err := kv.Get(ctx, relayKey(chain))
	switch {
	case errors.Is(err, log.ErrNotFound):
		return 0, 0, nil
	case err != nil:
		return 0, 0, fmt.Errorf("read the position of relay %s: %w", chain, err)
	case len(value) != 8:
		return 0, 0, fault.New(fault.Internal, "read the position of relay %s: it has %d bytes", chain, len(value))
	}
	return binary.BigEndian.Uint64(value), revision, nil
}

// SaveRelayed says that all letters of a chain up to a record are delivered. What is known never goes back,
// whenever a call arrives whose answer was lost, or one of an owner that stood still: what is below it may have
// been removed from the chain. If such a call comes in between, what it brought is compared again.
func SaveRelayed(ctx context.Context, kv log.KV, chain string, sequence uint64) error {
	for {
		known, revision, err := Relayed(ctx, kv, chain)
		if err == nil && known < sequence {
			err = kv.Update(ctx, relayKey(chain), binary.BigEndian.AppendUint64(nil, sequence), revision)
		}
		if conflict := (*log.ConflictError)(nil); errors.As(err, &conflict) && ctx.Err() == nil {
			continue // each time another call has moved it, and there are few
		}
		if err != nil {
			return fmt.Errorf("save the position of relay %s: %w", chain, err)
		}
		return nil
	}
}
