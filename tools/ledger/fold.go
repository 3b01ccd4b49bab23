package ledger

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// fold is what a chain's records add up to.
type fold struct {
	rows    map[string][]byte
	wakes   map[string]time.Time
	touched map[string]bool
	lists   map[string][][]byte
	sets    map[string]map[string]bool
	senders map[string]place
}

// checkStates holds the store against the folds of the chains, each up to the record that the meta names.
func (c *checker) checkStates() {
	if c.h.States == nil {
		c.skipf("states: the store is not known")
		return
	}
	for p := range c.h.Partitions {
		for stage, spec := range c.specs {
			ch := &c.chains[p][stage]
			shard := c.h.States[state.Shard{Stage: spec.Name, Partition: p}]
			if shard == nil {
				c.skipf("states: the shard %s.%d is not known", spec.Name, p)
				continue
			}
			c.checkShard(ch, log.Subject(spec.Name, p), shard)
		}
	}
}

func (c *checker) checkShard(ch *chain, subject string, s *Shard) {
	last, applied := ch.last(), s.Meta.Applied
	if last == nil {
		return
	}
	at := ch.at(applied)
	switch {
	case applied > c.end(ch.subject):
		c.breaksf(StateAhead, subject, "", "the store is at record %d, the chain ends at %d", applied, last.sequence)
		return
	case c.h.Settled && (s.Meta.Unfinished || ch.batchAfter(applied)):
		c.breaksf(StateBehind, subject, "", "the store is at record %d, the chain at %d; unfinished: %v", applied, last.sequence, s.Meta.Unfinished)
		return
	case applied == 0 || s.Meta.Unfinished:
		c.skipf("states: the shard %s is being written", subject)
		return
	case at == nil && (c.h.Trimmed || applied > last.sequence):
		c.skipf("states: record %d, at which the shard %s is, is not known", applied, subject)
		return
	case at == nil:
		c.breaksf(StateMeta, subject, "", "the store is at record %d, which the chain does not have", applied)
		return
	}
	f := foldOf(ch, applied)
	c.checkMeta(subject, at, f, s)
	c.checkRows(subject, f, s)
	c.checkTimers(subject, f, s)
	if ch.records[0].prev != 0 {
		c.skipf("states: the lists and sets of the shard %s, whose chain was trimmed", subject)
		return
	}
	c.checkLists(subject, f, s)
	c.checkSets(subject, f, s)
	c.checkDue(subject, s.Timers)
}

// foldOf adds a chain's records up to a sequence.
func foldOf(ch *chain, until uint64) *fold {
	f := &fold{
		rows: map[string][]byte{}, wakes: map[string]time.Time{}, touched: map[string]bool{}, lists: map[string][][]byte{},
		sets: map[string]map[string]bool{}, senders: map[string]place{},
	}
	for n := range ch.records {
		r := &ch.records[n]
		if r.sequence > until {
			break
		}
		for i := range r.cells {
			f.add(&r.cells[i])
		}
		for _, s := range r.senders {
			f.senders[s.chain] = s.at
		}
	}
	return f
}

func (f *fold) add(c *cell) {
	switch {
	case c.deleted:
		delete(f.rows, c.key)
		delete(f.wakes, c.key)
		f.touched[c.key] = true
	case len(c.state) > 0:
		f.rows[c.key] = c.state
		f.touched[c.key] = true
		delete(f.wakes, c.key)
		if !c.wake.IsZero() {
			f.wakes[c.key] = c.wake
		}
	}
	for _, d := range c.deltas {
		f.delta(d)
	}
}

func (f *fold) delta(message []byte) {
	var name, value []byte
	kind, keep := stagev1.DeltaKind_DELTA_KIND_UNSPECIFIED, 0
	for w := (wire{rest: message}); w.next(); {
		switch w.num {
		case 1:
			name = w.data
		case 2:
			kind = stagev1.DeltaKind(w.small()) //nolint:gosec // small fits
		case 3:
			value = w.data
		case 4:
			keep = w.small()
		}
	}
	switch kind {
	case stagev1.DeltaKind_DELTA_KIND_APPEND:
		f.lists[string(name)] = append(f.lists[string(name)], value)
	case stagev1.DeltaKind_DELTA_KIND_TRIM:
		if list := f.lists[string(name)]; len(list) > keep {
			f.lists[string(name)] = list[len(list)-keep:]
		}
	case stagev1.DeltaKind_DELTA_KIND_ADD:
		if f.sets[string(name)] == nil {
			f.sets[string(name)] = map[string]bool{}
		}
		f.sets[string(name)][string(value)] = true
	case stagev1.DeltaKind_DELTA_KIND_DROP:
		delete(f.lists, string(name))
		delete(f.sets, string(name))
	case stagev1.DeltaKind_DELTA_KIND_UNSPECIFIED:
	}
}

// sorted are the keys of a map in their order, so that the same history gives the same report.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func (c *checker) checkMeta(subject string, r *record, f *fold, s *Shard) {
	m := s.Meta
	if m.Generation != c.h.Generation {
		c.breaksf(StateMeta, subject, "", "it is of generation %d, not %d", m.Generation, c.h.Generation)
	}
	if m.Revision != string(r.revision) {
		c.breaksf(StateMeta, subject, "", "it is under revision %q, record %d under %q", m.Revision, r.sequence, r.revision)
	}
	if !r.now.IsZero() && !m.Now.Equal(time.UnixMicro(r.now.UnixMicro())) {
		c.breaksf(StateMeta, subject, "", "it is of %s, record %d of %s", m.Now, r.sequence, r.now)
	}
	if m.Origins[log.Barrier] != r.barrier {
		c.breaksf(StateMeta, subject, "", "its barrier is %d, that of record %d is %d", m.Origins[log.Barrier], r.sequence, r.barrier)
	}
	for n, lane := range log.Lanes() {
		if m.Origins[lane] != r.origins[n] {
			c.breaksf(StateMeta, subject, "", "its origin in lane %s is %d, that of record %d is %d", lane, m.Origins[lane], r.sequence, r.origins[n])
		}
	}
	for _, sender := range sorted(f.senders) {
		at := f.senders[sender]
		if have := m.Senders[sender]; have != (state.Position{Sequence: at.sequence, Index: at.index}) {
			c.breaksf(StateMeta, subject, sender, "it is at %d/%d of the sender, the chain at %d/%d", have.Sequence, have.Index, at.sequence, at.index)
		}
	}
	if len(m.Senders) > len(f.senders) && c.whole {
		c.breaksf(StateMeta, subject, "", "it knows %d senders, the chain %d", len(m.Senders), len(f.senders))
	}
}

func (c *checker) checkRows(subject string, f *fold, s *Shard) {
	for _, key := range sorted(f.rows) {
		have, ok := s.Rows[key]
		switch {
		case !ok:
			c.breaksf(StateRow, subject, key, "the row is not in the store")
		case !bytes.Equal(have, f.rows[key]):
			c.breaksf(StateRow, subject, key, "the row is not what the chain's last cell says")
		}
	}
	if len(s.Rows) == len(f.rows) {
		return
	}
	for _, key := range sorted(s.Rows) {
		if _, ok := f.rows[key]; !ok && (c.whole || f.touched[key]) {
			c.breaksf(StateRow, subject, key, "the row is in the store, and not in the chain")
		}
	}
}

func (c *checker) checkTimers(subject string, f *fold, s *Shard) {
	for _, key := range sorted(f.wakes) {
		have, ok := s.Timers[key]
		switch {
		case !ok:
			c.breaksf(StateTimer, subject, key, "its wake-up at %s is not in the index", f.wakes[key])
		case have.UnixMicro() != micros(f.wakes[key]):
			c.breaksf(StateTimer, subject, key, "its wake-up is at %s, indexed at %s", f.wakes[key], have)
		}
	}
	if len(s.Timers) == len(f.wakes) {
		return
	}
	for _, key := range sorted(s.Timers) {
		if _, ok := f.wakes[key]; !ok && (c.whole || f.touched[key]) {
			c.breaksf(StateTimer, subject, key, "the index has a wake-up at %s that no state has", s.Timers[key])
		}
	}
}

// micros is an instant as the index keeps it: whole microseconds, rounded up, at most 2^53.
func micros(t time.Time) int64 {
	us := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 {
		us++
	}
	const most = 1<<53 - 1
	if t.Year() > 2255 || us > most || us == math.MinInt64 {
		return most
	}
	return us
}

func (c *checker) checkLists(subject string, f *fold, s *Shard) {
	for _, name := range sorted(f.lists) {
		if have := s.Lists[name]; !slices.EqualFunc(have, f.lists[name], bytes.Equal) {
			c.breaksf(StateList, subject, name, "the list holds %d values, and not the %d that the chain says", len(have), len(f.lists[name]))
		}
	}
	for _, name := range sorted(s.Lists) {
		if have := s.Lists[name]; len(have) > 0 && len(f.lists[name]) == 0 {
			c.breaksf(StateList, subject, name, "the list holds %d values, and the chain says none", len(have))
		}
	}
}

func (c *checker) checkSets(subject string, f *fold, s *Shard) {
	for _, name := range sorted(f.sets) {
		for _, member := range sorted(f.sets[name]) {
			if !s.Sets[name][member] {
				c.breaksf(StateSet, subject, name, "%q is not in the set", member)
			}
		}
	}
	for _, name := range sorted(s.Sets) {
		for _, member := range sorted(s.Sets[name]) {
			if s.Sets[name][member] && !f.sets[name][member] {
				c.breaksf(StateSet, subject, name, "%q is in the set, and the chain did not put it there", member)
			}
		}
	}
}
