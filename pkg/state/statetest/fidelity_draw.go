package statetest

import (
	"fmt"

	"time"

	"pgregory.net/rapid"

	"refrain.dev/pkg/state"
)

// alphabet has names that are likely to meet, and some odd ones.
func alphabet() []string { return []string{"a", "b", "c", "a:b", "{x}\x00", ""} }

func (f *fidelity) key() string { return oneOf(f.rt, "key", alphabet()...) }

func (f *fidelity) time() time.Time {
	near := at(0).Add(time.Duration(evenly(6000).Draw(f.rt, "ns") - 3000))
	return oneOf(f.rt, "time", near, near, near, near, near, time.Time{}, time.Unix(0, 0), time.Unix(-5, 7), time.Date(2300, 1, 1, 0, 0, 0, 1, time.UTC))
}

// batch draws one that leads a number of sequences on.
func (f *fidelity) batch(prev uint64, step int) state.Batch {
	b := batch(prev, prev+uint64(step)) //nolint:gosec // small
	b.Meta.Now = f.time()
	b.Meta.Senders = f.senders()
	if evenly(5).Draw(f.rt, "origins") == 0 {
		b.Meta.Origins = nil
	}
	for range oneOf(f.rt, "writes", 0, 1, 2, 5, 5, PartWrites-1, PartWrites, PartWrites+1, 140) {
		b.Writes = append(b.Writes, f.write())
	}
	return b
}

func (f *fidelity) senders() map[string]state.Position {
	senders := map[string]state.Position{}
	for range evenly(3).Draw(f.rt, "senders") {
		senders[f.key()] = state.Position{Sequence: rapid.Uint64().Draw(f.rt, "sequence"), Index: rapid.Uint32().Draw(f.rt, "index")}
	}
	return senders
}

func (f *fidelity) write() state.Write {
	w := state.Write{Key: f.key()}
	switch evenly(5).Draw(f.rt, "write") {
	case 0:
		w.Deleted = true
	case 1:
	default:
		w.Value = []byte(oneOf(f.rt, "value", "", "1", "22", "\x00\xff"))
	}
	if rapid.Bool().Draw(f.rt, "wakes") {
		w.Wake = f.time()
	}
	for range oneOf(f.rt, "deltas", 0, 0, 1, 3) {
		w.Deltas = append(w.Deltas, state.Delta{
			Name:  f.key(),
			Kind:  oneOf(f.rt, "kind", state.DeltaAppend, state.DeltaTrim, state.DeltaAdd, state.DeltaDrop, 0, 9),
			Value: []byte(oneOf(f.rt, "delta value", alphabet()...)),
			Keep:  evenly(5).Draw(f.rt, "keep") - 1,
		})
	}
	return w
}

// restore restores the next piece of an image, or one that does not fit.
func (f *fidelity) restore(s state.Shard) {
	p := f.place(s)
	if p.image == nil || evenly(8).Draw(f.rt, "another image") == 0 {
		over := p.applied + uint64(oneOf(f.rt, "over", 0, 0, 0, 0, 1)) //nolint:gosec // small
		p.image = &state.Piece{Image: oneOf(f.rt, "image", "x", "y"), Over: over}
	}
	piece := *p.image
	piece.From += oneOf(f.rt, "off", 0, 0, 0, 0, 0, 0, 1, -1)
	for range oneOf(f.rt, "writes", 0, 1, 3, PartWrites, PartWrites+1) {
		w := f.write()
		w.Sequence = uint64(evenly(9).Draw(f.rt, "sequence")) //nolint:gosec // small
		piece.Writes = append(piece.Writes, w)
	}
	if rapid.Bool().Draw(f.rt, "last") {
		b := f.batch(8+uint64(evenly(9).Draw(f.rt, "applied")), 1) //nolint:gosec // small; no row is of a later record
		piece.Meta = &b.Meta
	}
	f.both(fmt.Sprintf("restore %s over %d into %v from %d, %d writes, last %v", piece.Image, piece.Over, s, piece.From, len(piece.Writes), piece.Meta != nil),
		func(store state.Store) string {
			at, err := store.Restore(f.ctx, s, piece)
			f.restored(s, piece, at, err)
			return fmt.Sprint(at, ", ", said(err))
		})
}

// restored notes where an image is.
func (f *fidelity) restored(s state.Shard, piece state.Piece, at int, err error) {
	p := f.place(s)
	switch {
	case err != nil || p.image == nil:
		p.image = nil
	case piece.Meta != nil && at == piece.From+len(piece.Writes):
		p.image, p.applied = nil, piece.Meta.Applied
	default:
		p.image.From, p.applied = at, 0
	}
}
