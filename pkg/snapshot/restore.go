package snapshot

import (
	"context"
	"fmt"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/failpoint"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/state"
)

// Bounds of what is given to the store at once.
const (
	pieceWrites = 512
	pieceBytes  = 1 << 20
	// restoreTries is how often it is gone on after the store turned out to be elsewhere.
	restoreTries = 8
)

// Restore brings a snapshot into a store, in the place of whatever the shard holds, which is at over. Broken
// off anywhere, the next call goes on where it stopped; until its end the shard is unfinished. ErrDamaged says
// that the snapshot cannot be used. Points are told of every piece: snapshot.restored.
func (l *Library) Restore(ctx context.Context, store state.Store, shard state.Shard, s *Snapshot, over uint64, points failpoint.Points) error {
	meta := s.Meta()
	r := &restorer{most: l.piece, store: store, shard: shard, points: points, piece: state.Piece{Image: s.Listing.GetObject(), Over: over}}
	for range restoreTries {
		if err := l.bring(ctx, r, s.Index.GetParts()); err != nil {
			return fmt.Errorf("restore %s/%d from %s: %w", shard.Stage, shard.Partition, s.Listing.GetObject(), err)
		}
		if r.moved {
			continue
		}
		r.piece.Meta = &meta
		if err := r.flush(ctx); err != nil || !r.moved {
			return err
		}
	}
	return fault.New(fault.Unavailable, "restore %s/%d: somebody else keeps changing the shard", shard.Stage, shard.Partition)
}

// restorer gives writes to the store, as pieces.
type restorer struct {
	store  state.Store
	shard  state.Shard
	points failpoint.Points
	most   int // writes in a piece

	piece state.Piece
	size  int
	begun bool
	done  int  // what the store holds by now
	moved bool // the store was elsewhere than thought
}

// bring brings the writes of the parts from where the store is on, until it holds all or turns out to be
// elsewhere. Parts that the store holds are not read.
func (l *Library) bring(ctx context.Context, r *restorer, parts []*stagev1.SnapshotPart) error {
	r.piece.From, r.piece.Writes, r.piece.Meta, r.size, r.moved = r.done, nil, nil, 0, false
	if !r.begun {
		if err := r.flush(ctx); err != nil || r.moved {
			return err
		}
	}
	at := 0
	for _, part := range parts {
		if end := at + int(part.GetWrites()); end <= r.done {
			at = end
			continue
		}
		entries, err := l.Part(ctx, part)
		if err != nil {
			return err
		}
		for _, e := range entries {
			for _, w := range writesOf(e) {
				at++
				if at <= r.piece.From {
					continue
				}
				if err := r.add(ctx, w); err != nil || r.moved {
					return err
				}
			}
		}
	}
	return r.flush(ctx)
}

func (r *restorer) add(ctx context.Context, w state.Write) error {
	r.piece.Writes = append(r.piece.Writes, w)
	r.size += len(w.Value)
	for i := range w.Deltas {
		r.size += len(w.Deltas[i].Value)
	}
	if len(r.piece.Writes) < r.most && r.size < pieceBytes {
		return nil
	}
	return r.flush(ctx)
}

// flush gives the piece to the store.
func (r *restorer) flush(ctx context.Context) error {
	if r.begun && len(r.piece.Writes) == 0 && r.piece.Meta == nil {
		return nil
	}
	at, err := r.store.Restore(ctx, r.shard, r.piece)
	if err != nil {
		return err
	}
	r.points.At("snapshot.restored")
	r.begun = true
	r.moved = at != r.piece.From+len(r.piece.Writes)
	r.done = at
	r.piece.From, r.piece.Writes, r.size = at, nil, 0
	return nil
}
