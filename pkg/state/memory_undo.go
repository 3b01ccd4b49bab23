package state

import (
	"slices"
	"time"
)

// WithUndo lets the last n writes of every partition be undone.
func WithUndo(n int) MemoryOption { return func(m *Memory) { m.undo = n } }

// Undo takes back the last n writes to a partition, over all of its shards, as a store does that fails over
// to a copy that is behind. It returns how many it took back: not more than WithUndo keeps.
func (m *Memory) Undo(partition, n int) int {
	p := m.partition(partition)
	p.mu.Lock()
	defer p.mu.Unlock()
	done := 0
	for ; done < n && len(p.past.writes) > 0; done++ {
		last := len(p.past.writes) - 1
		steps := p.past.writes[last]
		p.past.writes = p.past.writes[:last]
		for _, step := range slices.Backward(steps) {
			step()
		}
	}
	return done
}

// Wipe removes everything of a partition, for good.
func (m *Memory) Wipe(partition int) {
	p := m.partition(partition)
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.shards)
	p.past.writes = nil
}

// past is how the last writes to a partition can be undone: for each one the steps, to be made backwards.
type past struct {
	room   int
	writes [][]func()
}

func (p *past) begin(first func()) {
	if p.room == 0 {
		return
	}
	if len(p.writes) == p.room {
		copy(p.writes, p.writes[1:])
		p.writes = p.writes[:p.room-1]
	}
	p.writes = append(p.writes, []func(){first})
}

func (p *past) step(f func()) {
	last := len(p.writes) - 1
	p.writes[last] = append(p.writes[last], f)
}

// begin begins a write to a shard, which is to be finished.
func (p *memoryPartition) begin(stage string, s *memoryShard) {
	if p.past.room == 0 {
		return
	}
	s.past = &p.past
	meta, target, at, image, was := cloneMeta(s.meta), s.target, s.at, s.image, p.shards[stage]
	p.past.begin(func() {
		s.meta, s.target, s.at, s.image = meta, target, at, image
		if was == nil {
			delete(p.shards, stage)
		}
	})
}

func (s *memoryShard) finish() { s.past = nil }

// keepRow remembers a row and its wake-up before they change.
func (s *memoryShard) keepRow(key string) {
	if s.past == nil {
		return
	}
	value, ok := s.rows[key]
	wake := time.Time{}
	if at, scheduled := s.wakes[key]; scheduled {
		wake = fromMicros(at)
	}
	s.past.step(func() {
		if ok {
			s.put(key, value)
		} else {
			s.remove(key)
		}
		s.schedule(key, wake)
	})
}

// keepNames remembers the list or set that a delta changes.
func (s *memoryShard) keepNames(d *Delta) {
	if s.past == nil {
		return
	}
	name, value := d.Name, string(d.Value)
	list, listed := s.lists[name]
	set := s.sets[name]
	_, member := set[value]
	adds := d.Kind == DeltaAdd && !member
	s.past.step(func() {
		if listed {
			s.lists[name] = list
		} else {
			delete(s.lists, name)
		}
		if set == nil {
			delete(s.sets, name)
			return
		}
		s.sets[name] = set
		if adds {
			delete(set, value)
		}
	})
}
