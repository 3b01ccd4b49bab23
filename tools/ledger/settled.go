package ledger

import (
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// checkSettled checks that nothing is left to do.
func (c *checker) checkSettled() {
	if !c.h.Settled {
		c.skipf("whether everything is covered, delivered and done: the mesh is not said to be settled")
		return
	}
	c.checkWaits()
	for p := range c.h.Partitions {
		for stage := range stages {
			c.checkCovered(&c.chains[p][stage])
		}
	}
}

// checkCovered checks that a stage has covered its inputs to their ends.
//
// What changed nothing is covered by the stage's next record only. After a CLOSE, which has the covers of
// all that was read, everything must be covered; otherwise only what must have led to a record.
func (c *checker) checkCovered(ch *chain) {
	last := ch.last()
	if last == nil {
		return
	}
	strict := last.kind == stagev1.RecordKind_RECORD_KIND_CLOSE
	for n := range ch.reads {
		in := &ch.reads[n]
		at := last.covers[n]
		if in.chain != nil {
			c.checkChainCovered(ch, in, at, strict)
			continue
		}
		for _, m := range in.messages {
			if at.after(place{m.sequence, m.items}) || at == (place{m.sequence, m.items}) {
				continue
			}
			if c.owed(ch, in, m, at, strict) {
				c.breaksf(SettledUncovered, ch.subject, "", "it covers %s up to %d/%d, and message %d has %d items", in.subject, at.sequence, at.index, m.sequence, m.items)
				break
			}
		}
	}
}

// owed says whether a message of a lane or mailbox that is not covered must be.
func (c *checker) owed(ch *chain, in *input, m message, at place, strict bool) bool {
	b := c.boxes[in.subject]
	if b == nil {
		return m.items > 0 && (strict || in.name != log.Redrive(c.specs[ch.stage].Name))
	}
	positions, known := c.positions(ch)
	if !known {
		return false
	}
	for n := uint32(1); n <= m.items; n++ {
		where := place{m.sequence, n}
		if id, ok := b.facts[where]; where.after(at) && (!ok || id.at.after(positions[id.sender])) {
			return true
		}
	}
	return false
}

// positions are how far a chain has applied the letters of its senders. Those of records that were trimmed are in
// the store; false if that is not known either.
func (c *checker) positions(ch *chain) (map[string]place, bool) {
	out := map[string]place{}
	if ch.records[0].prev != 0 {
		shard := c.h.States[state.Shard{Stage: c.specs[ch.stage].Name, Partition: ch.partition}]
		if shard == nil {
			return nil, false
		}
		for sender, at := range shard.Meta.Senders {
			out[sender] = place{at.Sequence, at.Index}
		}
	}
	for n := range ch.records {
		for _, s := range ch.records[n].senders {
			out[s.chain] = s.at
		}
	}
	return out, true
}

func (c *checker) checkChainCovered(ch *chain, in *input, at place, strict bool) {
	for n := range in.chain.records {
		r := &in.chain.records[n]
		if r.sequence < at.sequence {
			continue
		}
		for i := range r.cells {
			where := place{r.sequence, uint32(i + 1)} //nolint:gosec // cells are few
			cell := &r.cells[i]
			if !where.after(at) || len(cell.facts) == 0 || !strict && !c.leads(ch, in, r, cell) {
				continue
			}
			c.breaksf(SettledUncovered, ch.subject, cell.key, "it covers %s up to %d/%d, and cell %d of record %d has facts", in.subject, at.sequence, at.index, i+1, r.sequence)
			return
		}
	}
}

// leads says whether a cell must lead to a record of the stage that reads it: it comes with events that are
// news there, or says what the stage always answers.
func (c *checker) leads(ch *chain, in *input, r *record, cell *cell) bool {
	if in.name == c.specs[ch.stage].Before[0] && ch.stage != dispatch {
		for n := range r.origins {
			if r.origins[n] > ch.last().origins[n] {
				return true
			}
		}
	}
	for _, fact := range cell.facts {
		if answered(ch.stage, in.chain.stage, fact) {
			return true
		}
	}
	return false
}

// answered says whether a stage always answers a fact of another.
func answered(stage, from int, fact []byte) bool {
	switch {
	case stage == suppression && from == decision:
		return field(fact, 6) != nil // a proposal to be carried out
	case stage == suppression && from == dispatch:
		report := field(fact, 3)
		return report != nil && number(report, 3) != uint64(dispatchv1.Status_STATUS_QUEUED)
	case stage == dispatch && from == suppression:
		verdict := field(fact, 1)
		return verdict != nil && number(verdict, 1) == uint64(contactv1.VerdictKind_VERDICT_KIND_APPROVED)
	case stage == decision && from == suppression:
		return field(fact, 4) != nil // a resolution
	}
	return false
}

// checkDue checks that no wake-up of a shard is due.
func (c *checker) checkDue(subject string, wakes map[string]time.Time) {
	if !c.h.Settled || c.h.Now.IsZero() {
		return
	}
	for _, key := range sorted(wakes) {
		if !wakes[key].After(c.h.Now) {
			c.breaksf(SettledDue, subject, key, "its wake-up of %s is due at %s", wakes[key], c.h.Now)
		}
	}
}
