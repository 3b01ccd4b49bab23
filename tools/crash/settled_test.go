package crash

import (
	"context"
	"fmt"

	"refrain.dev/pkg/log"
)

// heads are the sequences of the last records of all chains.
func heads(ctx context.Context, broker log.Broker, gen log.Generation) (map[string]uint64, error) {
	out := map[string]uint64{}
	for _, spec := range log.Stages() {
		for p := range gen.Partitions {
			msg, err := broker.Last(ctx, log.Subject(spec.Chain, p))
			if err != nil {
				return nil, fmt.Errorf("read the end of %s.%d: %w", spec.Chain, p, err)
			}
			out[log.Subject(spec.Chain, p)] = msg.Sequence
		}
	}
	return out, nil
}
