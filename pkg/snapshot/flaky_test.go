package snapshot

import (
	"context"
	"errors"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

var errCut = fault.As(fault.Unavailable, errors.New("cut off"))

// flaky is a store that takes so many more pieces of images; -1: all.
type flaky struct {
	state.Store

	left int
}

// Restore implements state.Store.
func (f *flaky) Restore(ctx context.Context, shard state.Shard, p state.Piece) (int, error) {
	if f.left == 0 {
		return 0, errCut
	}
	if f.left--; f.left == 0 { // done, and nobody hears of it
		_, _ = f.Store.Restore(ctx, shard, p)
		return 0, errCut
	}
	return f.Store.Restore(ctx, shard, p)
}

// failing lets so many operations on a log pass and loses the next one, before it or its answer.
func failing(left int, how log.Effect) log.Faults {
	return func(log.Op) log.Fault {
		left--
		if left == -1 {
			return log.Fault{Effect: how}
		}
		return log.Fault{}
	}
}
