package ledger

import (
	"slices"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
)

// place is a sequence and an index in it.
type place struct {
	sequence uint64
	index    uint32
}

func (p place) after(q place) bool {
	return p.sequence > q.sequence || p.sequence == q.sequence && p.index > q.index
}

// record is one record of a chain, as far as the check needs it. Its bytes are those of the history.
type record struct {
	sequence, prev, epoch uint64
	generation            uint64
	order                 uint64 // of the revision, among all that were applied
	id, owner, revision   []byte
	now                   time.Time
	stored                time.Time // when the broker stored it; zero if that is not known
	round                 uint64    // of the replay clock's instant; 0 on the wall clock
	kind                  stagev1.RecordKind
	// covers by the stage's inputs; covered says which are there.
	covers  []place
	covered []bool
	// strange is an input that the stage does not have, or has twice.
	strange   string
	origins   [lanes]uint64
	barrier   uint64 // the control lane's, with its pings
	senders   []sender
	cells     []cell
	addressed []addressed
	gaps      []gap
}

type sender struct {
	chain string
	at    place
}

type addressed struct {
	stage     []byte
	partition int
	payload   []byte
}

type gap struct {
	input, deadLetter []byte
	at                place
}

// cell is one cell of a record, opened.
type cell struct {
	key    string
	keyID  uint64
	facts  [][]byte
	state  []byte
	deltas [][]byte
	wake   time.Time
	cause  []byte
	// deleted, and whether the cell can be read.
	deleted, bad bool
}

// lanes is how many lanes there are.
const lanes = 3

// laneOf is a lane's place among log.Lanes; -1 if there is none of that name.
func laneOf(name []byte) int {
	switch string(name) {
	case log.LaneControl:
		return 0
	case log.LaneLive:
		return 1
	case log.LaneBulk:
		return 2
	}
	return -1
}

// decoder takes records apart. What the records of a history are made of stands in a few large pieces.
type decoder struct {
	cells    []cell
	bytes    [][]byte
	places   []place
	flags    []bool
	senders  []sender
	facts    []addressed
	interned map[string]string
}

// grow makes room for a number of records.
func (d *decoder) grow(records int) {
	d.cells, d.bytes = make([]cell, 0, 2*records), make([][]byte, 0, 2*records)
	d.places, d.flags = make([]place, 6*records), make([]bool, 6*records)
}

// name returns a string for bytes that come again and again.
func (d *decoder) name(b []byte) string {
	if s, ok := d.interned[string(b)]; ok {
		return s
	}
	s := string(b)
	d.interned[s] = s
	return s
}

// record decodes a record of a stage with these inputs; false if it cannot be read.
func (d *decoder) record(msg log.Message, inputs []string) (record, bool) {
	r := record{sequence: msg.Sequence, stored: msg.Time}
	r.covers, d.places = carve(d.places, len(inputs))
	r.covered, d.flags = carve(d.flags, len(inputs))
	cells, senders, facts := len(d.cells), len(d.senders), len(d.facts)
	w := wire{rest: msg.Data}
	for w.next() {
		switch w.num {
		case 1:
			r.generation = w.n
		case 2:
			r.id = w.data
		case 3:
			r.prev = w.n
		case 4:
			r.owner = w.data
		case 5:
			r.epoch = w.n
		case 6:
			r.now = stamp(w.data)
		case 7:
			r.revision = w.data
		case 8:
			r.kind = stagev1.RecordKind(w.small()) //nolint:gosec // small fits
		case 9:
			r.cover(w.data, inputs)
		case 10:
			r.origin(w.data)
		case 11:
			d.cells = append(d.cells, d.cell(w.data))
		case 12:
			d.facts = append(d.facts, address(w.data))
		case 13:
			r.gaps = append(r.gaps, gapOf(w.data))
		case 14:
			d.senders = append(d.senders, d.sender(w.data))
		case 16:
			r.round = w.n
		case 20:
			r.order = w.n
		}
	}
	r.cells, r.senders, r.addressed = d.cells[cells:len(d.cells):len(d.cells)], d.senders[senders:len(d.senders):len(d.senders)], d.facts[facts:len(d.facts):len(d.facts)]
	return r, !w.bad
}

// carve takes n zero elements off a piece.
func carve[T any](piece []T, n int) (taken, rest []T) {
	if len(piece) < n {
		piece = make([]T, max(n, 256))
	}
	return piece[:n:n], piece[n:]
}

func (r *record) cover(message []byte, inputs []string) {
	var input []byte
	var at place
	for w := (wire{rest: message}); w.next(); {
		switch w.num {
		case 1:
			input = w.data
		case 2:
			at.sequence = w.n
		case 3:
			at.index = uint32(w.small()) //nolint:gosec // small fits
		}
	}
	for n, name := range inputs {
		if string(input) == name && !r.covered[n] {
			r.covers[n], r.covered[n] = at, true
			return
		}
	}
	r.strange = string(input)
}

func (r *record) origin(message []byte) {
	lane, sequence, barrier := -1, uint64(0), false
	for w := (wire{rest: message}); w.next(); {
		switch w.num {
		case 1:
			lane, barrier = laneOf(w.data), string(w.data) == log.Barrier
		case 2:
			sequence = w.n
		}
	}
	if barrier {
		r.barrier = sequence
		return
	}
	if lane < 0 {
		r.strange = "a lane of no name"
		return
	}
	r.origins[lane] = sequence
}

func (d *decoder) sender(message []byte) sender {
	var s sender
	for w := (wire{rest: message}); w.next(); {
		switch w.num {
		case 1:
			s.chain = d.name(w.data)
		case 2:
			s.at.sequence = w.n
		case 3:
			s.at.index = uint32(w.small()) //nolint:gosec // small fits
		}
	}
	return s
}

func address(message []byte) addressed {
	var a addressed
	for w := (wire{rest: message}); w.next(); {
		switch w.num {
		case 1:
			a.stage = w.data
		case 2:
			a.partition = w.small()
		case 3:
			a.payload = w.data
		}
	}
	return a
}

func gapOf(message []byte) gap {
	var g gap
	for w := (wire{rest: message}); w.next(); {
		switch w.num {
		case 1:
			g.input = w.data
		case 2:
			g.at.sequence = w.n
		case 3:
			g.at.index = uint32(w.small()) //nolint:gosec // small fits
		case 4:
			g.deadLetter = w.data
		}
	}
	return g
}

// cell opens a cell. One that is sealed stays closed: bad.
func (d *decoder) cell(message []byte) cell {
	var c cell
	var sealed []byte
	outer := wire{rest: message}
	for outer.next() {
		switch outer.num {
		case 1:
			c.key = d.name(outer.data)
		case 2:
			c.keyID = outer.n
		case 3:
			sealed = outer.data
		}
	}
	facts := len(d.bytes)
	inner := wire{rest: sealed}
	for inner.next() {
		switch inner.num {
		case 1:
			d.bytes = append(d.bytes, inner.data)
		case 2:
			c.state = inner.data
		case 3:
			c.deleted = inner.n != 0
		case 4:
			c.deltas = append(c.deltas, inner.data)
		case 5:
			c.wake = stamp(inner.data)
		case 8:
			c.cause = inner.data
		}
	}
	c.facts = slices.Clip(d.bytes[facts:])
	c.bad = outer.bad || inner.bad || c.keyID != 0
	return c
}
