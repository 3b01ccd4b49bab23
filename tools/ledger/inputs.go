package ledger

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// message is one message of an input: where it is and how much is in it.
type message struct {
	sequence uint64
	items    uint32
}

// lane is one lane or redrive subject, read.
type lane struct {
	messages []message
	// catalogs are those that it brings.
	catalogs map[appliedCatalog]bool
	// redriven are the dead letters that it brings back.
	redriven map[place]string
}

// appliedCatalog is a catalog, and its place among all that were applied.
type appliedCatalog struct {
	order    uint64
	revision string
}

// arrival is one item in a lane.
type arrival struct {
	received time.Time
	time     time.Time // by the broker
	payload  []byte
}

// deadLetter is what was given up, or refused.
type deadLetter struct {
	stage, subject string
	code, why      []byte
	input, payload []byte
}

// readLanes reads what arrived.
func (c *checker) readLanes() {
	var subjects []string
	for p := range c.h.Partitions {
		for _, name := range log.Lanes() {
			subjects = append(subjects, log.Subject(log.Lane(name), p))
		}
		for _, spec := range c.specs {
			subjects = append(subjects, log.Subject(log.Redrive(spec.Name), p))
		}
	}
	for _, subject := range subjects {
		l := &lane{redriven: map[place]string{}, catalogs: map[appliedCatalog]bool{}}
		c.lanes[subject] = l
		for _, msg := range c.h.Log[subject] {
			l.messages = append(l.messages, message{msg.Sequence, c.readArrivals(subject, l, msg)})
		}
	}
}

func (c *checker) readArrivals(subject string, l *lane, msg log.Message) (items uint32) {
	w := wire{rest: msg.Data}
	for w.next() {
		if w.num == 1 {
			items++
			c.readArrival(subject, l, place{msg.Sequence, items}, w.data, msg.Time)
		}
	}
	if w.bad {
		// Whoever reads it takes it for one input that cannot be decided.
		return 1
	}
	return items
}

func (c *checker) readArrival(subject string, l *lane, at place, message []byte, stored time.Time) {
	a := arrival{time: stored}
	for w := (wire{rest: message}); w.next(); {
		switch w.num {
		case 1:
			a.received = stamp(w.data)
		case 4:
			a.payload = w.data
		case 6:
			l.catalogs[appliedCatalog{number(w.data, 2), c.name(field(w.data, 1))}] = true
		case 7:
			l.redriven[at] = string(field(w.data, 1))
		}
	}
	if a.payload != nil {
		c.events.arrived(subject, at, a)
	}
}

// readDeadLetters reads what was given up or refused.
func (c *checker) readDeadLetters() {
	names := []string{"ingest"}
	for _, spec := range c.specs {
		names = append(names, spec.Name)
	}
	for p := range c.h.Partitions {
		for _, name := range names {
			subject := log.Subject(log.DeadLetters(name), p)
			for _, msg := range c.h.Log[subject] {
				c.readDeadLetter(name, subject, msg)
			}
		}
	}
}

func (c *checker) readDeadLetter(stage, subject string, msg log.Message) {
	d := deadLetter{stage: stage, subject: subject}
	id := ""
	w := wire{rest: msg.Data}
	for w.next() {
		switch w.num {
		case 1:
			id = string(w.data)
		case 4:
			d.input = w.data
		case 7:
			d.code = w.data
		case 8:
			d.why = w.data
		case 9:
			d.payload = w.data
		}
	}
	if w.bad || id == "" {
		c.breaksf(ChainUnreadable, subject, "", "dead letter %d cannot be decoded", msg.Sequence)
		return
	}
	if len(d.why) == 0 || len(d.code) == 0 {
		c.breaksf(ChainGap, subject, id, "the dead letter gives no reason")
	}
	c.letters[id] = d
	c.events.gaveUp(d)
}

// input is one input of a stage in one partition, with what is known of its messages.
type input struct {
	name, subject string
	// chain it is; nil for a lane or mailbox, which has messages.
	chain    *chain
	messages []message
	// last is the last sequence that was read, end the last that there is.
	last, end uint64
}

// connect finds the inputs of a chain.
func (c *checker) connect(ch *chain) {
	for _, name := range c.inputs[ch.stage] {
		in := input{name: name, subject: log.Subject(name, ch.partition)}
		in.chain, in.last, in.end = c.chainOf(in.subject), c.lastRead(in.subject), c.end(in.subject)
		if l := c.lanes[in.subject]; l != nil {
			in.messages = l.messages
		} else if b := c.boxes[in.subject]; b != nil {
			in.messages = b.messages
		}
		ch.reads = append(ch.reads, in)
	}
}

// message finds a message of an input; first is the input's first sequence.
func (in *input) message(sequence uint64) (first uint64, items uint32, found bool) {
	if in.chain != nil {
		if len(in.chain.records) == 0 {
			return 0, 0, false
		}
		r := in.chain.at(sequence)
		return in.chain.records[0].sequence, r.items(), r != nil
	}
	if len(in.messages) == 0 {
		return 0, 0, false
	}
	n, found := slices.BinarySearchFunc(in.messages, sequence, func(m message, s uint64) int { return cmp.Compare(m.sequence, s) })
	if !found {
		return in.messages[0].sequence, 0, false
	}
	return in.messages[0].sequence, in.messages[n].items, true
}

// checkInputs checks what records say of their inputs.
func (c *checker) checkInputs() {
	for p := range c.h.Partitions {
		for stage := range stages {
			ch := &c.chains[p][stage]
			c.connect(ch)
			none := record{covers: make([]place, len(c.inputs[stage]))}
			prev := &none
			for n := range ch.records {
				r := &ch.records[n]
				c.checkCovers(ch, prev, r)
				c.checkOrigins(ch, prev, r)
				c.checkSenders(ch, r)
				c.checkGaps(ch, r)
				prev = r
			}
			c.checkRevisions(ch)
			c.checkRedrives(ch)
		}
	}
}

// checkCovers checks that what is newly covered is there.
func (c *checker) checkCovers(ch *chain, prev, r *record) {
	for n := range ch.reads {
		at, in := r.covers[n], &ch.reads[n]
		if at == prev.covers[n] || at.sequence == 0 {
			continue
		}
		if at.sequence > in.end {
			c.breaksf(ChainCover, ch.subject, "", "record %d covers %s up to %d/%d, but it ends at %d", r.sequence, in.subject, at.sequence, at.index, in.end)
			continue
		}
		first, items, found := in.message(at.sequence)
		switch {
		case !found && at.sequence > first && at.sequence <= in.last:
			c.breaksf(ChainCover, ch.subject, "", "record %d covers %s up to %d, where there is no message", r.sequence, in.subject, at.sequence)
		case found && at.index > items:
			c.breaksf(ChainCover, ch.subject, "", "record %d covers item %d of message %d of %s, which has %d", r.sequence, at.index, at.sequence, in.subject, items)
		}
	}
}

// lastRead is the last sequence of a subject that is in the history.
func (c *checker) lastRead(subject string) uint64 {
	all := c.h.Log[subject]
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1].Sequence
}

// items is how much there is to cover in a record.
func (r *record) items() uint32 {
	if r == nil || r.kind != stagev1.RecordKind_RECORD_KIND_BATCH {
		return 0
	}
	return uint32(len(r.cells)) //nolint:gosec // cells are few
}

// checkOrigins checks that origins are not beyond what is covered through all stages before.
func (c *checker) checkOrigins(ch *chain, prev, r *record) {
	if r.origins == prev.origins && r.barrier == prev.barrier {
		return
	}
	if ch.stage != profile {
		before := c.chains[ch.partition][ch.stage-1].at(r.covers[0].sequence)
		if before != nil && r.barrier > before.barrier {
			c.breaksf(ChainOrigin, ch.subject, "", "record %d has barrier %d, but what it covers has %d", r.sequence, r.barrier, before.barrier)
		}
		for n, lane := range log.Lanes() {
			if before != nil && r.origins[n] > before.origins[n] {
				c.breaksf(ChainOrigin, ch.subject, "", "record %d has origin %d in lane %s, but what it covers has %d", r.sequence, r.origins[n], lane, before.origins[n])
			}
		}
		return
	}
	for n, lane := range log.Lanes() {
		covered := r.covers[n].sequence
		if _, items, found := ch.reads[n].message(covered); found && r.covers[n].index < items {
			covered--
		}
		if lane == log.LaneControl && r.barrier > covered {
			c.breaksf(ChainOrigin, ch.subject, "", "record %d has barrier %d, but the control lane is covered up to %d", r.sequence, r.barrier, covered)
		}
		if r.origins[n] > covered {
			c.breaksf(ChainOrigin, ch.subject, "", "record %d has origin %d in lane %s, which is covered up to %d", r.sequence, r.origins[n], lane, covered)
		}
	}
}

// checkGaps checks that what was given up is in the dead letters.
func (c *checker) checkGaps(ch *chain, r *record) {
	for _, g := range r.gaps {
		d, ok := c.letters[string(g.deadLetter)]
		switch {
		case !ok && c.h.Trimmed && !c.stillOpen(ch, string(g.deadLetter)): // its dead letter was answered, and is trimmed
		case !ok:
			c.breaksf(ChainGap, ch.subject, string(g.deadLetter), "record %d gave %s/%d/%d up, but there is no such dead letter", r.sequence, g.input, g.at.sequence, g.at.index)
		case d.stage != c.specs[ch.stage].Name:
			c.breaksf(ChainGap, ch.subject, string(g.deadLetter), "record %d gave %s/%d/%d up, but the dead letter is of %s", r.sequence, g.input, g.at.sequence, g.at.index, d.stage)
		}
	}
}

// stillOpen says whether a gap is open in the states of a stage.
func (c *checker) stillOpen(ch *chain, deadLetter string) bool {
	shard := c.h.States[state.Shard{Stage: c.specs[ch.stage].Name, Partition: ch.partition}]
	if shard == nil {
		return false
	}
	for _, member := range shard.Sets[":gap/"+deadLetter] {
		if member {
			return true
		}
	}
	return false
}

// checkRedrives checks that what came back out of the dead letters had been given up, and took effect once.
func (c *checker) checkRedrives(ch *chain) {
	name := log.Redrive(c.specs[ch.stage].Name)
	sent := c.lanes[log.Subject(name, ch.partition)].redriven
	if len(ch.records) == 0 || len(sent) == 0 {
		return
	}
	if ch.records[0].prev != 0 {
		c.skipf("redrives: %s, whose gaps may have been trimmed", ch.subject)
		return
	}
	open := map[string]bool{}
	for n := range ch.records {
		r := &ch.records[n]
		for _, g := range r.gaps {
			open[string(g.deadLetter)] = true
		}
		taken := map[place]bool{}
		for i := range r.cells {
			at, ok := causeIn(r.cells[i].cause, name)
			if id, known := sent[at]; ok && known && !taken[at] {
				taken[at] = true
				if !open[id] {
					c.breaksf(ChainRedrive, ch.subject, id, "record %d is what the dead letter led to, and no gap of it is open", r.sequence)
				}
				delete(open, id)
			}
			for _, d := range r.cells[i].deltas { // a timer that has passed after all closes its gap by itself
				if name, kind := deltaOf(d); kind == stagev1.DeltaKind_DELTA_KIND_DROP {
					delete(open, string(bytes.TrimPrefix(name, []byte(":gap/"))))
				}
			}
		}
	}
}

// deltaOf reads what a delta is about and what it does.
func deltaOf(message []byte) (name []byte, kind stagev1.DeltaKind) {
	for w := (wire{rest: message}); w.next(); {
		switch w.num {
		case 1:
			name = w.data
		case 2:
			kind = stagev1.DeltaKind(w.small()) //nolint:gosec // small fits
		}
	}
	return name, kind
}

// checkRevisions checks that catalogs take effect in the order in which they were applied.
func (c *checker) checkRevisions(ch *chain) {
	brought := c.lanes[log.Subject(log.Lane(log.LaneControl), ch.partition)].catalogs
	var now appliedCatalog
	for n := range ch.records {
		r := &ch.records[n]
		next := appliedCatalog{r.order, c.name(r.revision)}
		switch {
		case next == now:
		case next.order <= now.order:
			c.breaksf(ChainRevision, ch.subject, "", "record %d goes from revision %q, number %d of all that were applied, to %q, number %d",
				r.sequence, now.revision, now.order, next.revision, next.order)
			return
		case !brought[next] && !c.h.Trimmed:
			c.breaksf(ChainRevision, ch.subject, "", "record %d is under revision %q, which was never applied as number %d", r.sequence, next.revision, next.order)
			return
		}
		now = next
	}
}
