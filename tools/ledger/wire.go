package ledger

import (
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// wire reads the fields of one encoded message, one after the other, without copying. The check reads a few
// fields of many messages, and reads them itself: what decodes for the mesh is not asked.
type wire struct {
	rest []byte
	// num is the present field's number; n its value if it is a number, data if it is not.
	num  int
	n    uint64
	data []byte
	// bad says that the rest cannot be read.
	bad bool
}

// next moves to the next field; false at the end, and where it cannot go on.
func (w *wire) next() bool {
	if len(w.rest) == 0 {
		return false
	}
	num, kind, size := protowire.ConsumeTag(w.rest)
	if size < 0 {
		return w.fail()
	}
	w.rest, w.num, w.n, w.data = w.rest[size:], int(num), 0, nil
	switch kind {
	case protowire.VarintType:
		w.n, size = protowire.ConsumeVarint(w.rest)
	case protowire.BytesType:
		w.data, size = protowire.ConsumeBytes(w.rest)
	default:
		size = protowire.ConsumeFieldValue(num, kind, w.rest)
	}
	if size < 0 {
		return w.fail()
	}
	w.rest = w.rest[size:]
	return true
}

func (w *wire) fail() bool {
	w.bad, w.rest = true, nil
	return false
}

// small is a number that has to fit an int; what does not is as large as can be.
func (w *wire) small() int { return int(min(w.n, math.MaxInt32)) } //nolint:gosec // bounded in the same line

// field returns the last occurrence of a field with bytes.
func field(message []byte, num int) []byte {
	var found []byte
	for w := (wire{rest: message}); w.next(); {
		if w.num == num {
			found = w.data
		}
	}
	return found
}

// number returns the last occurrence of a field with a number.
func number(message []byte, num int) uint64 {
	n := uint64(0)
	for w := (wire{rest: message}); w.next(); {
		if w.num == num {
			n = w.n
		}
	}
	return n
}

// stamp reads a Timestamp.
func stamp(message []byte) time.Time {
	seconds, nanos := int64(0), int64(0)
	for w := (wire{rest: message}); w.next(); {
		switch w.num {
		case 1:
			seconds = int64(w.n) //nolint:gosec // two's complement, as it is encoded
		case 2:
			nanos = int64(w.n) //nolint:gosec // the same
		}
	}
	return time.Unix(seconds, nanos).UTC()
}
