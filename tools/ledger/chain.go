package ledger

import (
	"bytes"
	"slices"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
)

// chain is one chain, read.
type chain struct {
	stage, partition int
	subject          string
	records          []record
	// gave are the inputs that were given up.
	gave map[gaveUp]bool
	// reads are the stage's inputs in this partition.
	reads []input
}

// gaveUp is one input that was given up.
type gaveUp struct {
	input string
	at    place
}

// batchAfter says whether a batch follows a record: only batches change states. An owner that is stopped while it
// takes over leaves records of others behind, which the next one copies. What was trimmed may have been a batch.
func (c *chain) batchAfter(sequence uint64) bool {
	return c.records[0].prev > sequence || slices.ContainsFunc(c.records, func(r record) bool {
		return r.sequence > sequence && r.kind == stagev1.RecordKind_RECORD_KIND_BATCH
	})
}

// last is the chain's last record; nil if it has none.
func (c *chain) last() *record {
	if len(c.records) == 0 {
		return nil
	}
	return &c.records[len(c.records)-1]
}

// at finds a record by its sequence; nil if there is none.
func (c *chain) at(sequence uint64) *record {
	n, found := slices.BinarySearchFunc(c.records, sequence, func(r record, s uint64) int {
		switch {
		case r.sequence < s:
			return -1
		case r.sequence > s:
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	return &c.records[n]
}

// readChains decodes every record once, checks that chains are unbroken, and collects what they say.
func (c *checker) readChains() {
	size := 0
	for p := range c.h.Partitions {
		for _, spec := range c.specs {
			size += len(c.h.Log[log.Subject(spec.Chain, p)])
		}
	}
	c.decoder.grow(size)
	for p := range c.h.Partitions {
		for stage, spec := range c.specs {
			ch := &c.chains[p][stage]
			*ch = chain{stage: stage, partition: p, subject: log.Subject(spec.Chain, p)}
			c.readChain(ch)
			c.out.Records += len(ch.records)
		}
	}
	for p := range c.h.Partitions {
		for stage := range stages {
			c.collect(&c.chains[p][stage])
		}
	}
}

func (c *checker) readChain(ch *chain) {
	messages := c.h.Log[ch.subject]
	ch.records = make([]record, 0, len(messages))
	l := &links{checker: c, chain: ch}
	for _, msg := range messages {
		r, ok := c.record(msg, c.inputs[ch.stage])
		if !ok {
			c.breaksf(ChainUnreadable, ch.subject, "", "record %d cannot be decoded", msg.Sequence)
			continue
		}
		l.link(&r)
		c.checkSizes(ch, &r, len(msg.Data))
		for _, g := range r.gaps {
			if ch.gave == nil {
				ch.gave = map[gaveUp]bool{}
			}
			ch.gave[gaveUp{string(g.input), g.at}] = true
		}
		ch.records = append(ch.records, r)
	}
	if len(ch.records) == 0 {
		c.breaksf(ChainStart, ch.subject, "", "it has no record, not even its genesis")
	}
}

// What may be written: a record or a mailbox message, and a state with a note in it that an input was given up.
const (
	largestMessage = 512 << 10
	largestState   = 72 << 10
)

// checkSizes checks that a record and the states in it are not larger than what may be written: one that no message
// can hold would stop its partition.
func (c *checker) checkSizes(ch *chain, r *record, size int) {
	if size > largestMessage {
		c.breaksf(ChainSize, ch.subject, "", "record %d has %d bytes, and at most %d may be written", r.sequence, size, largestMessage)
	}
	for i := range r.cells {
		if n := len(r.cells[i].state); n > largestState {
			c.breaksf(ChainSize, ch.subject, r.cells[i].key, "the state in record %d has %d bytes, and at most %d may be written", r.sequence, n, largestState)
		}
	}
}

// links follows one chain from record to record.
type links struct {
	*checker
	chain *chain
	// open is the last OPEN.
	open    *record
	ids     map[[16]byte]uint64
	senders map[string]place
}

func (l *links) link(r *record) {
	subject := l.chain.subject
	prev := l.chain.last()
	switch {
	case prev == nil:
		l.begin(r)
	case r.sequence <= prev.sequence:
		l.breaksf(ChainSequence, subject, "", "record %d stands behind record %d", r.sequence, prev.sequence)
	case r.prev != prev.sequence:
		l.breaksf(ChainLink, subject, "", "record %d says it follows %d, but %d is before it", r.sequence, r.prev, prev.sequence)
	}
	l.times(prev, r)
	if r.generation != uint64(l.h.Generation) {
		l.breaksf(ChainGeneration, subject, "", "record %d is of generation %d, not %d", r.sequence, r.generation, l.h.Generation)
	}
	l.repeated(r)
	l.owned(prev, r)
	l.covers(prev, r)
	l.sends(r)
	for n := range r.cells {
		if r.cells[n].bad {
			l.breaksf(ChainUnreadable, subject, r.cells[n].key, "a cell of record %d cannot be opened", r.sequence)
		}
	}
}

// early is by how much the time of a decision may be ahead of the time at which its record is stored.
const early = 2 * time.Second

// times checks that time does not go back, and does not run ahead.
func (l *links) times(prev, r *record) {
	subject := l.chain.subject
	mended := r.kind == stagev1.RecordKind_RECORD_KIND_MEND
	if prev != nil && r.now.Before(prev.now) && !mended {
		l.breaksf(ChainTime, subject, "", "record %d was decided at %s, the one before it at %s", r.sequence, r.now, prev.now)
	}
	// An OPEN that finds a chain ahead takes its time over and decides nothing; instants of the replay clock are no
	// times of day.
	decides := r.kind == stagev1.RecordKind_RECORD_KIND_BATCH && len(r.cells)+len(r.gaps)+len(r.addressed) > 0
	if decides && r.round == 0 && !r.stored.IsZero() && r.now.Sub(r.stored) > early {
		l.breaksf(ChainEarly, subject, "", "record %d was decided at %s and stored at %s already", r.sequence, r.now, r.stored)
	}
}

func (l *links) begin(r *record) {
	l.ids, l.senders = map[[16]byte]uint64{}, map[string]place{}
	switch {
	case r.kind == stagev1.RecordKind_RECORD_KIND_GENESIS && r.prev == 0:
	case l.h.Trimmed && r.prev > 0:
		l.whole = false
	default:
		l.breaksf(ChainStart, l.chain.subject, "", "it begins with record %d, which follows %d and is %s", r.sequence, r.prev, kindName(r.kind))
	}
}

func (l *links) repeated(r *record) {
	var id [16]byte
	copy(id[:], r.id)
	if len(r.id) != len(id) {
		l.breaksf(ChainRepeat, l.chain.subject, "", "record %d has an id of %d bytes", r.sequence, len(r.id))
		return
	}
	if before, ok := l.ids[id]; ok {
		l.breaksf(ChainRepeat, l.chain.subject, "", "records %d and %d are one append", before, r.sequence)
	}
	l.ids[id] = r.sequence
}

// owned checks that a record is the last OPEN's owner's.
func (l *links) owned(prev, r *record) {
	subject := l.chain.subject
	switch r.kind {
	case stagev1.RecordKind_RECORD_KIND_GENESIS:
		if prev != nil {
			l.breaksf(ChainStart, subject, "", "record %d is a genesis in the middle", r.sequence)
		}
		return
	case stagev1.RecordKind_RECORD_KIND_OPEN:
		if r.epoch != 0 || len(r.cells)+len(r.addressed)+len(r.gaps) > 0 {
			l.breaksf(ChainOwner, subject, "", "record %d is an OPEN that does more than to open", r.sequence)
		}
		own := *r
		l.open = &own
		return
	case stagev1.RecordKind_RECORD_KIND_MEND:
		if r.epoch != 0 || len(r.cells)+len(r.addressed)+len(r.gaps) > 0 {
			l.breaksf(ChainOwner, subject, "", "record %d is a MEND that does more than to put the time right", r.sequence)
		}
		return
	case stagev1.RecordKind_RECORD_KIND_BATCH:
	case stagev1.RecordKind_RECORD_KIND_ATTEMPT, stagev1.RecordKind_RECORD_KIND_CLOSE:
		if len(r.cells)+len(r.addressed)+len(r.gaps) > 0 {
			l.breaksf(ChainOwner, subject, "", "record %d is %s and has cells, letters or gaps", r.sequence, kindName(r.kind))
		}
	default:
		l.breaksf(ChainUnreadable, subject, "", "record %d is of no known kind: %d", r.sequence, r.kind)
		return
	}
	switch {
	case prev == nil: // trimmed: its OPEN is gone
	case prev.kind == stagev1.RecordKind_RECORD_KIND_MEND:
		l.breaksf(ChainOwner, subject, "", "record %d was appended after a MEND without an OPEN", r.sequence)
	case l.open == nil && !l.whole:
	case l.open == nil:
		l.breaksf(ChainOwner, subject, "", "record %d was appended before any OPEN", r.sequence)
	case r.epoch != l.open.sequence:
		l.breaksf(ChainOwner, subject, "", "record %d was appended under OPEN %d, but %d is the last", r.sequence, r.epoch, l.open.sequence)
	case !bytes.Equal(r.owner, l.open.owner):
		l.breaksf(ChainOwner, subject, "", "record %d of %s was appended under the OPEN of %s", r.sequence, r.owner, l.open.owner)
	case prev.kind == stagev1.RecordKind_RECORD_KIND_CLOSE:
		l.breaksf(ChainOwner, subject, "", "record %d was appended after its owner's CLOSE", r.sequence)
	}
}

// covers checks that covers and origins are all there and only grow.
func (l *links) covers(prev, r *record) {
	subject := l.chain.subject
	if r.strange != "" {
		l.breaksf(ChainCover, subject, "", "record %d covers %q, which the stage does not read, or reads once", r.sequence, r.strange)
	}
	if prev == nil {
		return
	}
	for n, input := range l.inputs[l.chain.stage] {
		switch {
		case prev.covered[n] && !r.covered[n]:
			l.breaksf(ChainCover, subject, "", "record %d does not say how far %s is covered", r.sequence, input)
		case prev.covers[n].after(r.covers[n]):
			l.breaksf(ChainCover, subject, "", "record %d covers %s up to %d/%d, the one before it up to %d/%d", r.sequence, input,
				r.covers[n].sequence, r.covers[n].index, prev.covers[n].sequence, prev.covers[n].index)
		case r.kind == stagev1.RecordKind_RECORD_KIND_OPEN && r.covers[n] != prev.covers[n]:
			l.breaksf(ChainCover, subject, "", "record %d is an OPEN and covers more of %s than the record before it", r.sequence, input)
		}
	}
	if r.barrier < prev.barrier {
		l.breaksf(ChainOrigin, subject, "", "record %d has barrier %d, the one before it %d", r.sequence, r.barrier, prev.barrier)
	}
	for n, lane := range log.Lanes() {
		if r.origins[n] < prev.origins[n] {
			l.breaksf(ChainOrigin, subject, "", "record %d has origin %d in lane %s, the one before it %d", r.sequence, r.origins[n], lane, prev.origins[n])
		}
	}
}

// sends checks that the positions of mailbox senders only grow.
func (l *links) sends(r *record) {
	for _, s := range r.senders {
		if !s.at.after(l.senders[s.chain]) {
			l.breaksf(ChainSender, l.chain.subject, "", "record %d is at %d/%d of sender %s, an earlier one at %d/%d", r.sequence,
				s.at.sequence, s.at.index, s.chain, l.senders[s.chain].sequence, l.senders[s.chain].index)
		}
		l.senders[s.chain] = s.at
	}
}

// kindName is what people call a kind of record.
func kindName(k stagev1.RecordKind) string {
	return k.String()[len("RECORD_KIND_"):]
}
