package snapshot

import (
	"context"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"
)

// writer cuts entries, which come in order, into parts and stores them.
type writer struct {
	library *Library
	prefix  string // of the names of the parts
	size    int    // about that of a part

	buffer []byte
	part   *stagev1.SnapshotPart // that is being filled
	parts  []*stagev1.SnapshotPart
}

// add adds an entry.
func (w *writer) add(ctx context.Context, e *stagev1.SnapshotEntry) error {
	var err error
	if w.buffer, err = appendFrame(w.buffer, e); err != nil {
		return err
	}
	if w.part == nil {
		w.part = &stagev1.SnapshotPart{First: e.GetName()}
	}
	w.part.Last = e.GetName()
	w.part.Entries++
	w.part.Writes += uint32(writeCount(e)) //nolint:gosec // few
	if kindOf(e) == kindRow {
		w.part.Rows++
	}
	if len(w.buffer) < w.size {
		return nil
	}
	return w.flush(ctx)
}

// flush ends the part that is being filled.
func (w *writer) flush(ctx context.Context) error {
	if w.part == nil {
		return nil
	}
	var err error
	w.part.Size = uint64(len(w.buffer))
	if w.part.Object, w.part.Sha256, err = w.library.put(ctx, w.prefix, w.buffer); err != nil {
		return err
	}
	w.parts = append(w.parts, w.part)
	w.part, w.buffer = nil, w.buffer[:0]
	return nil
}

// small says that the part that is begun is not worth to be ended yet.
func (w *writer) small() bool { return w.part != nil && len(w.buffer) < w.size/2 }

// reuse names a part of an older snapshot again.
func (w *writer) reuse(p *stagev1.SnapshotPart) { w.parts = append(w.parts, p) }
