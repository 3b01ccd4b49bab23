package state

import (
	"bytes"
	"context"
	"maps"

	"refrain.dev/pkg/fault"
)

// admit refuses what no store does: work for somebody who has gone, or on a partition that there cannot be.
func admit(ctx context.Context, partition int) error {
	if err := ctx.Err(); err != nil {
		return fault.As(fault.Unavailable, err)
	}
	if partition < 0 || partition >= MaxPartitions {
		return fault.New(fault.Invalid, "partition %d is outside of 0 to %d", partition, MaxPartitions-1)
	}
	return nil
}

// check refuses a batch that leads nowhere.
func (b *Batch) check() error {
	if b.Meta.Applied <= b.Prev {
		return fault.New(fault.Invalid, "apply record %d after %d: sequences of a chain grow", b.Meta.Applied, b.Prev)
	}
	return nil
}

// check refuses a piece that cannot be told from others, or that leads nowhere.
func (p *Piece) check() error {
	switch {
	case p.Image == "":
		return fault.New(fault.Invalid, "restore: the image has no name")
	case p.From < 0:
		return fault.New(fault.Invalid, "restore image %s from %d: want 0 or more", p.Image, p.From)
	case p.Meta != nil && p.Meta.Applied == 0:
		return fault.New(fault.Invalid, "restore image %s: its meta is at 0, as if nothing were there", p.Image)
	}
	return nil
}

func newView(q Query) View {
	return View{
		Metas:   make(map[string]Meta, len(q.Metas)),
		Rows:    make([][]byte, len(q.Rows)),
		Members: make([]bool, len(q.Members)),
		Lists:   make([][][]byte, len(q.Lists)),

		Sequences: make([]uint64, len(q.Rows)),
	}
}

func cloneMeta(m Meta) Meta {
	m.Origins = maps.Clone(m.Origins)
	m.Senders = maps.Clone(m.Senders)
	return m
}

// cloneBytes copies; nil stays nil, empty stays empty.
func cloneBytes(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}

// cloneOrEmpty copies; nil becomes empty.
func cloneOrEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return bytes.Clone(b)
}

// newest copies the last n values of a list.
func newest(list [][]byte, n int) [][]byte {
	if n <= 0 || len(list) == 0 {
		return nil
	}
	tail := list[max(len(list)-n, 0):]
	values := make([][]byte, len(tail))
	for i, v := range tail {
		values[i] = cloneBytes(v)
	}
	return values
}

// Clone returns a copy of the whole store as it was at one instant for each partition, like the image of
// a disk: what a store that lost its newest writes comes back with.
func (m *Memory) Clone() *Memory {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := NewMemory()
	for n, p := range m.partitions {
		c.partitions[n] = p.clone()
	}
	return c
}

func (p *memoryPartition) clone() *memoryPartition {
	p.mu.RLock()
	defer p.mu.RUnlock()
	c := &memoryPartition{shards: make(map[string]*memoryShard, len(p.shards))}
	for stage, s := range p.shards {
		c.shards[stage] = s.clone()
	}
	return c
}

// clone shares the values of rows and lists: they are never changed in place, only replaced.
func (s *memoryShard) clone() *memoryShard {
	c := newMemoryShard()
	c.meta, c.target, c.at, c.image = cloneMeta(s.meta), s.target, s.at, s.image
	c.rows = maps.Clone(s.rows)
	c.keys = s.keys.clone()
	c.wakes = maps.Clone(s.wakes)
	c.index = s.index.clone()
	for name, list := range s.lists {
		c.lists[name] = append([][]byte(nil), list...)
	}
	for name, set := range s.sets {
		c.sets[name] = maps.Clone(set)
	}
	return c
}
