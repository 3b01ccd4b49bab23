package state

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// Memory is a Store in this process. It is lost with the process and rebuilt from the log, which is all
// that one process with one replica needs. Bytes are copied on the way in and on the way out. A batch
// is applied at once, so nothing is ever unfinished, unless ApplyPart leaves it so.
type Memory struct {
	undo int // how many writes of a partition can be undone

	mu         sync.RWMutex
	partitions map[int]*memoryPartition
}

var _ Store = (*Memory)(nil)

// MemoryOption changes how a Memory works.
type MemoryOption func(*Memory)

// NewMemory returns an empty store.
func NewMemory(opts ...MemoryOption) *Memory {
	m := &Memory{partitions: map[int]*memoryPartition{}}
	for _, opt := range opts {
		opt(m)
	}
	return m
}

// memoryPartition has one lock for all stages, so that a read of several is consistent.
type memoryPartition struct {
	mu     sync.RWMutex
	shards map[string]*memoryShard
	past   past
}

// memoryWake is an entry of the timer index, ordered by time, then key.
type memoryWake struct {
	at  int64
	key string
}

func compareWakes(a, b memoryWake) int {
	return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.key, b.key))
}

// memoryRow is a row and the record that wrote it.
type memoryRow struct {
	value    []byte
	sequence uint64
}

type memoryShard struct {
	meta  Meta
	rows  map[string]memoryRow
	keys  sorted[string]
	wakes map[string]int64
	index sorted[memoryWake]
	lists map[string][][]byte
	sets  map[string]map[string]struct{}

	image  string // that is being restored; empty if none is
	target uint64 // the record that is written in part; 0 if none is
	at     int    // how many of its writes, or of the image's, are done
	past   *past  // what can be undone; nil if nothing is to be
}

func newMemoryShard() *memoryShard {
	return &memoryShard{
		rows:  map[string]memoryRow{},
		keys:  sorted[string]{compare: strings.Compare},
		wakes: map[string]int64{},
		index: sorted[memoryWake]{compare: compareWakes},
		lists: map[string][][]byte{},
		sets:  map[string]map[string]struct{}{},
	}
}

// partition returns a partition, made at its first use.
func (m *Memory) partition(partition int) *memoryPartition {
	m.mu.RLock()
	p := m.partitions[partition]
	m.mu.RUnlock()
	if p != nil {
		return p
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p = m.partitions[partition]; p == nil {
		p = &memoryPartition{shards: map[string]*memoryShard{}, past: past{room: m.undo}}
		m.partitions[partition] = p
	}
	return p
}

// view calls see with the shard under a read lock, or with an empty one.
func (m *Memory) view(ctx context.Context, shard Shard, see func(*memoryShard)) error {
	if err := admit(ctx, shard.Partition); err != nil {
		return err
	}
	p := m.partition(shard.Partition)
	p.mu.RLock()
	defer p.mu.RUnlock()
	see(p.shard(shard.Stage))
	return nil
}

// shard returns a stage's shard, an empty one that is not kept if there is none.
func (p *memoryPartition) shard(stage string) *memoryShard {
	if s := p.shards[stage]; s != nil {
		return s
	}
	return newMemoryShard()
}

// Read implements Store.
func (m *Memory) Read(ctx context.Context, partition int, q Query) (View, error) {
	if err := admit(ctx, partition); err != nil {
		return View{}, err
	}
	p := m.partition(partition)
	p.mu.RLock()
	defer p.mu.RUnlock()
	v := newView(q)
	for _, stage := range q.Metas {
		v.Metas[stage] = cloneMeta(p.shard(stage).meta)
	}
	for i, row := range q.Rows {
		if s := p.shards[row.Stage]; s != nil {
			found := s.rows[row.Key]
			v.Rows[i], v.Sequences[i] = cloneBytes(found.value), found.sequence
		}
	}
	for i, member := range q.Members {
		if s := p.shards[member.Stage]; s != nil {
			_, v.Members[i] = s.sets[member.Set][member.Value]
		}
	}
	for i, list := range q.Lists {
		if s := p.shards[list.Stage]; s != nil {
			v.Lists[i] = newest(s.lists[list.Name], list.Newest)
		}
	}
	return v, nil
}

// Apply implements Store.
func (m *Memory) Apply(ctx context.Context, shard Shard, b Batch) error {
	return m.ApplyPart(ctx, shard, b, len(b.Writes))
}

// ApplyPart is an Apply that ends after so many of the batch's writes, as if the process had died between two
// parts. If all are done the batch is applied.
func (m *Memory) ApplyPart(ctx context.Context, shard Shard, b Batch, writes int) error {
	if err := admit(ctx, shard.Partition); err != nil {
		return err
	}
	if err := b.check(); err != nil {
		return err
	}
	p := m.partition(shard.Partition)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shard(shard.Stage)
	switch {
	case s.meta.Applied == b.Meta.Applied:
		return nil
	case s.meta.Applied != b.Prev:
		return &FencedError{Applied: s.meta.Applied}
	case s.image != "":
		return &FencedError{}
	case s.target != 0 && s.target != b.Meta.Applied:
		return &OtherError{Applied: b.Prev, Target: s.target}
	}
	if s.target != 0 && s.at >= len(b.Writes) {
		return damaged("apply record %d to %s/%d: %d writes are done of %d", b.Meta.Applied, shard.Stage, shard.Partition, s.at, len(b.Writes))
	}
	p.begin(shard.Stage, s)
	defer s.finish()
	p.shards[shard.Stage] = s
	last := b.lastWrites()
	for ; s.at < min(writes, len(b.Writes)); s.at++ {
		w := &b.Writes[s.at]
		if last.counts(w.Key, s.at) {
			s.row(w, b.Meta.Applied)
		}
		s.deltas(w)
	}
	if s.at < len(b.Writes) {
		s.target, s.meta.Unfinished, s.meta.Target = b.Meta.Applied, true, b.Meta.Applied
		return nil
	}
	s.target, s.at = 0, 0
	s.advance(b.Meta)
	return nil
}

// row writes or removes the row.
func (s *memoryShard) row(w *Write, sequence uint64) {
	if w.Deleted || w.Value != nil {
		s.keepRow(w.Key)
	}
	switch {
	case w.Deleted:
		s.remove(w.Key)
	case w.Value != nil:
		s.put(w.Key, memoryRow{cloneBytes(w.Value), sequence})
		s.schedule(w.Key, w.Wake)
	}
}

func (s *memoryShard) deltas(w *Write) {
	for i := range w.Deltas {
		s.keepNames(&w.Deltas[i])
		s.change(&w.Deltas[i])
	}
}

func (s *memoryShard) put(key string, value memoryRow) {
	if _, ok := s.rows[key]; !ok {
		s.keys.insert(key)
	}
	s.rows[key] = value
}

func (s *memoryShard) remove(key string) {
	if _, ok := s.rows[key]; ok {
		delete(s.rows, key)
		s.keys.remove(key)
	}
	s.schedule(key, time.Time{})
}

func (s *memoryShard) schedule(key string, wake time.Time) {
	was, had := s.wakes[key]
	if had {
		if !wake.IsZero() && was == wakeMicros(wake) {
			return
		}
		s.index.remove(memoryWake{was, key})
		delete(s.wakes, key)
	}
	if wake.IsZero() {
		return
	}
	s.wakes[key] = wakeMicros(wake)
	s.index.insert(memoryWake{wakeMicros(wake), key})
}

func (s *memoryShard) change(d *Delta) {
	switch d.Kind {
	case DeltaAppend:
		s.lists[d.Name] = append(s.lists[d.Name], cloneOrEmpty(d.Value))
	case DeltaTrim:
		list := s.lists[d.Name]
		drop := len(list) - max(d.Keep, 0)
		if drop <= 0 {
			return
		}
		if d.Keep <= 0 {
			delete(s.lists, d.Name)
			return
		}
		if s.past != nil {
			list = slices.Clone(list)
		}
		s.lists[d.Name] = slices.Delete(list, 0, drop)
	case DeltaAdd:
		set := s.sets[d.Name]
		if set == nil {
			set = map[string]struct{}{}
			s.sets[d.Name] = set
		}
		set[string(d.Value)] = struct{}{}
	case DeltaDrop:
		delete(s.lists, d.Name)
		delete(s.sets, d.Name)
	}
}

func (s *memoryShard) advance(to Meta) {
	senders := s.meta.Senders
	if senders == nil {
		senders = make(map[string]Position, len(to.Senders))
	}
	maps.Copy(senders, to.Senders)
	s.meta = to
	s.meta.Unfinished, s.meta.Target, s.meta.Damaged = false, 0, false
	s.meta.Origins = maps.Clone(to.Origins)
	s.meta.Senders = senders
	s.meta.Now = toMicro(to.Now)
}

// Due implements Store.
func (m *Memory) Due(ctx context.Context, shard Shard, until time.Time, limit int) ([]Due, error) {
	var due []Due
	if limit <= 0 {
		return nil, admit(ctx, shard.Partition)
	}
	bound := untilMicros(until)
	err := m.view(ctx, shard, func(s *memoryShard) {
		s.index.from(memoryWake{at: math.MinInt64}, func(w memoryWake) bool {
			if w.at > bound {
				return false
			}
			due = append(due, Due{Key: w.key, At: fromMicros(w.at)})
			return len(due) < limit
		})
	})
	return due, err
}

// Unschedule implements Store.
func (m *Memory) Unschedule(ctx context.Context, shard Shard, due Due) error {
	if err := admit(ctx, shard.Partition); err != nil {
		return err
	}
	p := m.partition(shard.Partition)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shard(shard.Stage)
	if at, ok := s.wakes[due.Key]; ok && at == wakeMicros(due.At) {
		p.begin(shard.Stage, s)
		defer s.finish()
		s.keepRow(due.Key)
		s.schedule(due.Key, time.Time{})
	}
	return nil
}

// Keys implements Store.
func (m *Memory) Keys(ctx context.Context, shard Shard, after string, limit int) ([]string, error) {
	var keys []string
	if limit <= 0 {
		return nil, admit(ctx, shard.Partition)
	}
	err := m.view(ctx, shard, func(s *memoryShard) {
		s.keys.from(after, func(key string) bool {
			if key > after {
				keys = append(keys, key)
			}
			return len(keys) < limit
		})
	})
	return keys, err
}

// Reset implements Store.
func (m *Memory) Reset(ctx context.Context, shard Shard) error {
	if err := admit(ctx, shard.Partition); err != nil {
		return err
	}
	p := m.partition(shard.Partition)
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.shards[shard.Stage]; s != nil {
		p.past.begin(func() { p.shards[shard.Stage] = s })
		delete(p.shards, shard.Stage)
	}
	return nil
}
