package snapshot

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/state"
)

// Delta is what records after some position do to a shard: one change for each row, list and set, however
// often it changed.
type Delta struct {
	changes map[place]*change
	meta    state.Meta
	records uint64
	size    int
	only    map[string]bool // names that are followed; nil for all
}

// place is a row, list or set.
type place struct {
	name string
	kind kind
}

// change is what becomes of a place, whatever was there before.
type change struct {
	sequence uint64
	// replaced says that what was before is gone; always, for rows.
	replaced bool
	// value and wake of a row; a nil value means that there is none.
	value []byte
	wake  time.Time
	// keep is how many of the newest values of the list before stay, -1 for all; values follow them.
	keep   int
	values [][]byte
	// members that are added to the set.
	members map[string]struct{}
}

// NewDelta returns a Delta after a position: its meta is completed by every record that is added.
func NewDelta(after state.Meta) *Delta {
	d := &Delta{changes: map[place]*change{}, meta: after}
	d.meta.Senders = maps.Clone(after.Senders)
	if d.meta.Senders == nil {
		d.meta.Senders = map[string]state.Position{}
	}
	return d
}

// Meta is the shard's after the last record.
func (d *Delta) Meta() state.Meta { return d.meta }

// Records is how many were added.
func (d *Delta) Records() uint64 { return d.records }

// Size is about how many bytes are held.
func (d *Delta) Size() int { return d.size }

// Add adds what a record does, the next after those before. It keeps the bytes of b.
func (d *Delta) Add(b state.Batch) {
	for i := range b.Writes {
		d.write(&b.Writes[i], b.Meta.Applied)
	}
	senders := d.meta.Senders
	maps.Copy(senders, b.Meta.Senders)
	d.meta = b.Meta
	d.meta.Senders = senders
	d.meta.Unfinished = false
	d.records++
}

func (d *Delta) write(w *state.Write, sequence uint64) {
	switch {
	case w.Deleted:
		d.at(w.Key, kindRow, sequence).setRow(d, nil, time.Time{})
	case w.Value != nil:
		d.at(w.Key, kindRow, sequence).setRow(d, w.Value, w.Wake)
	}
	for i := range w.Deltas {
		x := &w.Deltas[i]
		switch x.Kind {
		case state.DeltaAppend:
			c := d.at(x.Name, kindList, sequence)
			c.values = append(c.values, x.Value)
			d.size += len(x.Value)
		case state.DeltaTrim:
			d.at(x.Name, kindList, sequence).trim(max(x.Keep, 0))
		case state.DeltaAdd:
			c := d.at(x.Name, kindSet, sequence)
			if c.members == nil {
				c.members = map[string]struct{}{}
			}
			c.members[string(x.Value)] = struct{}{}
			d.size += len(x.Value)
		case state.DeltaDrop:
			for _, k := range []kind{kindList, kindSet} {
				c := d.at(x.Name, k, sequence)
				*c = change{sequence: sequence, replaced: true}
			}
		}
	}
}

// changeSize is about what a change costs beside its bytes.
const changeSize = 160

// at returns the change of a place, a new one at its first.
func (d *Delta) at(name string, k kind, sequence uint64) *change {
	if d.only != nil && !d.only[name] {
		return &change{}
	}
	p := place{name, k}
	c := d.changes[p]
	if c == nil {
		c = &change{keep: -1}
		d.changes[p] = c
		d.size += changeSize + len(name)
	}
	c.sequence = sequence
	return c
}

func (c *change) setRow(d *Delta, value []byte, wake time.Time) {
	d.size += len(value) - len(c.value)
	c.replaced, c.value, c.wake = true, value, wake
}

// trim keeps the newest n values of all that the list has by now.
func (c *change) trim(n int) {
	if len(c.values) >= n {
		c.replaced, c.keep, c.values = true, 0, slices.Clone(c.values[len(c.values)-n:])
		return
	}
	if left := n - len(c.values); c.keep < 0 || left < c.keep {
		c.keep = left
	}
}

// apply returns what a place holds after the change; before and the result are nil if it holds nothing.
func (c *change) apply(p place, before *stagev1.SnapshotEntry) *stagev1.SnapshotEntry {
	e := &stagev1.SnapshotEntry{Name: []byte(p.name), Sequence: c.sequence}
	switch p.kind {
	case kindRow:
		if c.value == nil {
			return nil
		}
		e.What = &stagev1.SnapshotEntry_Row{Row: &stagev1.SnapshotRow{Value: c.value, Wake: asProto(c.wake)}}
	case kindList:
		values := c.list(before.GetList().GetValues())
		if len(values) == 0 {
			return nil
		}
		e.What = &stagev1.SnapshotEntry_List{List: &stagev1.SnapshotList{Values: values}}
	case kindSet:
		members := c.set(before.GetSet().GetMembers())
		if len(members) == 0 {
			return nil
		}
		e.What = &stagev1.SnapshotEntry_Set{Set: &stagev1.SnapshotSet{Members: members}}
	}
	return e
}

func (c *change) list(before [][]byte) [][]byte {
	switch {
	case c.replaced:
		before = nil
	case c.keep >= 0:
		before = before[max(0, len(before)-c.keep):]
	}
	return slices.Concat(before, c.values)
}

func (c *change) set(before [][]byte) [][]byte {
	if c.replaced {
		before = nil
	}
	all := slices.Clone(before)
	for m := range c.members {
		all = append(all, []byte(m))
	}
	slices.SortFunc(all, bytes.Compare)
	return slices.CompactFunc(all, bytes.Equal)
}

// sorted lists the places that change, in the order of entries.
func (d *Delta) sorted() []place {
	return slices.SortedFunc(maps.Keys(d.changes), func(a, b place) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.kind, b.kind))
	})
}
