package snapshot

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/state"
)

// ErrDamaged says that something stored is not what was stored. It comes with fault.Internal.
var ErrDamaged = fmt.Errorf("the snapshot is damaged")

func damaged(format string, args ...any) error {
	return fault.As(fault.Internal, fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...)))
}

// kind orders the entries of one name.
type kind int

const (
	kindRow kind = iota + 1
	kindList
	kindSet
)

func kindOf(e *stagev1.SnapshotEntry) kind {
	switch e.GetWhat().(type) {
	case *stagev1.SnapshotEntry_Row:
		return kindRow
	case *stagev1.SnapshotEntry_List:
		return kindList
	case *stagev1.SnapshotEntry_Set:
		return kindSet
	default:
		return 0
	}
}

// compare orders entries by name, then kind.
func compare(a, b *stagev1.SnapshotEntry) int {
	return cmp.Or(bytes.Compare(a.GetName(), b.GetName()), cmp.Compare(kindOf(a), kindOf(b)))
}

// appendFrame appends an entry's frame: its length, then the entry.
func appendFrame(to []byte, e *stagev1.SnapshotEntry) ([]byte, error) {
	size := e.SizeVT()
	to = binary.AppendUvarint(to, uint64(size)) //nolint:gosec // not negative
	at := len(to)
	to = append(to, make([]byte, size)...)
	if _, err := e.MarshalToSizedBufferVT(to[at:]); err != nil {
		return nil, fmt.Errorf("encode entry: %w", err)
	}
	return to, nil
}

// decode reads the frames of a part and checks that their entries are of a known kind and in order.
func decode(data []byte) ([]*stagev1.SnapshotEntry, error) {
	var out []*stagev1.SnapshotEntry
	for len(data) > 0 {
		size, n := binary.Uvarint(data)
		if n <= 0 || size > uint64(len(data)-n) {
			return nil, damaged("frame %d has no end", len(out))
		}
		e := &stagev1.SnapshotEntry{}
		if err := e.UnmarshalVT(data[n : n+int(size)]); err != nil { //nolint:gosec // at most len(data)
			return nil, damaged("frame %d cannot be read: %w", len(out), err)
		}
		switch {
		case kindOf(e) == 0:
			return nil, damaged("frame %d is of no known kind", len(out))
		case len(out) > 0 && compare(out[len(out)-1], e) >= 0:
			return nil, damaged("frame %d is out of order", len(out))
		}
		out = append(out, e)
		data = data[n+int(size):] //nolint:gosec // at most len(data)
	}
	return out, nil
}

// pieceDeltas is how many values of a list or set one write brings in.
const pieceDeltas = 64

// writesOf is how an entry is brought into a store.
func writesOf(e *stagev1.SnapshotEntry) []state.Write {
	name := string(e.GetName())
	switch what := e.GetWhat().(type) {
	case *stagev1.SnapshotEntry_Row:
		value := what.Row.GetValue()
		if value == nil {
			value = []byte{}
		}
		return []state.Write{{Key: name, Value: value, Sequence: e.GetSequence(), Wake: asTime(what.Row.GetWake())}}
	case *stagev1.SnapshotEntry_List:
		return deltas(name, state.DeltaAppend, what.List.GetValues())
	case *stagev1.SnapshotEntry_Set:
		return deltas(name, state.DeltaAdd, what.Set.GetMembers())
	default:
		panic("an entry that was checked is of no known kind")
	}
}

func deltas(name string, kind state.DeltaKind, values [][]byte) []state.Write {
	var out []state.Write
	for n, v := range values {
		if n%pieceDeltas == 0 {
			out = append(out, state.Write{})
		}
		last := &out[len(out)-1]
		last.Deltas = append(last.Deltas, state.Delta{Name: name, Kind: kind, Value: v})
	}
	return out
}

// writeCount is len(writesOf(e)).
func writeCount(e *stagev1.SnapshotEntry) int {
	var values int
	switch what := e.GetWhat().(type) {
	case *stagev1.SnapshotEntry_List:
		values = len(what.List.GetValues())
	case *stagev1.SnapshotEntry_Set:
		values = len(what.Set.GetMembers())
	default:
		return 1
	}
	return (values + pieceDeltas - 1) / pieceDeltas
}

func asTime(ts *timestamppb.Timestamp) time.Time {
	if ts == nil {
		return time.Time{}
	}
	return ts.AsTime()
}

func asProto(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
