package ledger

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"refrain.dev/pkg/log"
)

// box is one mailbox, read.
type box struct {
	messages []message
	// facts are the addressed facts in it, by where they stand.
	facts map[place]factID
}

// factID names an addressed fact: the chain, record and index that it comes from.
type factID struct {
	sender string
	at     place
}

// readBoxes reads all mailboxes, and holds every letter against the chain of its sender.
func (c *checker) readBoxes() {
	for p := range c.h.Partitions {
		for stage, spec := range c.specs {
			subject := log.Subject(log.Box(spec.Name), p)
			b := &box{facts: map[place]factID{}}
			c.boxes[subject] = b
			newest := map[string]place{}
			seen := map[factID]bool{}
			for _, msg := range c.h.Log[subject] {
				if len(msg.Data) > largestMessage {
					c.breaksf(ChainSize, subject, "", "letter %d has %d bytes, and at most %d may be written", msg.Sequence, len(msg.Data), largestMessage)
				}
				l, ok := c.letter(msg)
				if !ok {
					c.breaksf(ChainUnreadable, subject, "", "letter %d cannot be decoded", msg.Sequence)
				}
				b.messages = append(b.messages, message{msg.Sequence, max(uint32(len(l.items)), l.least)}) //nolint:gosec // items are few
				for n, item := range l.items {
					id := factID{l.sender, place{l.sequence, item.index}}
					b.facts[place{msg.Sequence, uint32(n + 1)}] = id //nolint:gosec // items are few
					c.genuine(subject, stage, p, id, item.payload)
					if !seen[id] && !c.h.Trimmed && newest[l.sender].after(id.at) { // what was trimmed may have come first
						c.breaksf(LetterOrder, subject, "", "letter %d brings fact %d of record %d of %s, but %d/%d came before it", msg.Sequence,
							item.index, l.sequence, l.sender, newest[l.sender].sequence, newest[l.sender].index)
					}
					seen[id] = true
					if id.at.after(newest[l.sender]) {
						newest[l.sender] = id.at
					}
				}
			}
		}
	}
}

// letter is one message of a mailbox.
type letter struct {
	sender   string
	sequence uint64
	items    []letterItem
	// least is 1 for what cannot be read: it is one input that cannot be decided.
	least uint32
}

type letterItem struct {
	index   uint32
	payload []byte
}

func (c *checker) letter(msg log.Message) (letter, bool) {
	var l letter
	w := wire{rest: msg.Data}
	for w.next() {
		switch w.num {
		case 1:
			l.sender = c.name(w.data)
		case 2:
			l.sequence = w.n
		case 3:
			var item letterItem
			for x := (wire{rest: w.data}); x.next(); {
				switch x.num {
				case 1:
					item.index = uint32(x.small()) //nolint:gosec // small fits
				case 2:
					item.payload = address(x.data).payload
				}
			}
			l.items = append(l.items, item)
		}
	}
	if w.bad {
		return letter{least: 1}, false
	}
	return l, true
}

// chainOf returns the chain of a subject; nil if it is none.
func (c *checker) chainOf(subject string) *chain {
	name, number, ok := strings.Cut(subject, ".")
	p, err := strconv.Atoi(number)
	if !ok || err != nil || p < 0 || p >= len(c.chains) {
		return nil
	}
	for stage := range c.specs {
		if c.specs[stage].Chain == name {
			return &c.chains[p][stage]
		}
	}
	return nil
}

// addressedBy finds an addressed fact in its sender's chain. Known is false if the history does not reach
// there.
func (c *checker) addressedBy(id factID) (a *addressed, known bool) {
	ch := c.chainOf(id.sender)
	if ch == nil {
		return nil, true
	}
	r := ch.at(id.at.sequence)
	if r == nil {
		beyond := id.at.sequence > c.lastRead(ch.subject) && id.at.sequence <= c.end(ch.subject)
		return nil, !beyond && !c.h.Trimmed
	}
	if n := int(id.at.index); n >= 1 && n <= len(r.addressed) {
		return &r.addressed[n-1], true
	}
	return nil, true
}

// genuine checks that a letter says what its sender's record says.
func (c *checker) genuine(subject string, stage, partition int, id factID, payload []byte) {
	a, known := c.addressedBy(id)
	switch {
	case !known:
	case a == nil:
		c.breaksf(LetterForged, subject, "", "it holds fact %d of record %d of %q, which is not there", id.at.index, id.at.sequence, id.sender)
	case string(a.stage) != c.specs[stage].Name || a.partition != partition:
		c.breaksf(LetterForged, subject, "", "it holds fact %d of record %d of %s, which is addressed to %s.%d", id.at.index, id.at.sequence, id.sender, a.stage, a.partition)
	case !bytes.Equal(a.payload, payload):
		c.breaksf(LetterForged, subject, "", "it holds fact %d of record %d of %s with other words", id.at.index, id.at.sequence, id.sender)
	}
}

// checkSenders checks that positions of senders are those of facts that were addressed to this mailbox.
func (c *checker) checkSenders(ch *chain, r *record) {
	for _, s := range r.senders {
		a, known := c.addressedBy(factID{s.chain, s.at})
		if known && (a == nil || string(a.stage) != c.specs[ch.stage].Name || a.partition != ch.partition) {
			c.breaksf(ChainSender, ch.subject, "", "record %d is at fact %d of record %d of %s, which was not addressed to it", r.sequence, s.at.index, s.at.sequence, s.chain)
		}
	}
}

// checkLetters checks that no addressed fact was applied twice, and, when all is settled, that every one
// came to its mailbox.
func (c *checker) checkLetters() {
	arrived := map[factID]bool{}
	for p := range c.h.Partitions {
		for stage, spec := range c.specs {
			b := c.boxes[log.Subject(log.Box(spec.Name), p)]
			if len(b.facts) == 0 {
				continue
			}
			for _, id := range b.facts {
				arrived[id] = true
			}
			c.checkAppliedOnce(&c.chains[p][stage], b)
		}
	}
	if !c.h.Settled || !c.whole {
		return
	}
	for p := range c.h.Partitions {
		for stage := range stages {
			ch := &c.chains[p][stage]
			for n := range ch.records {
				for i, a := range ch.records[n].addressed {
					id := factID{ch.subject, place{ch.records[n].sequence, uint32(i + 1)}} //nolint:gosec // few
					if !arrived[id] && !c.trimmedAway(a, id) {
						c.breaksf(LetterLost, ch.subject, "", "fact %d of record %d never came to %s.%d", i+1, id.at.sequence, a.stage, a.partition)
					}
				}
			}
		}
	}
}

// trimmedAway says whether an addressed fact may have been in the part of its mailbox that was trimmed: it was
// applied, and nothing from its sender that is older is there.
func (c *checker) trimmedAway(a addressed, id factID) bool {
	if !c.h.Trimmed {
		return false
	}
	stage := slices.IndexFunc(c.specs, func(s log.StageSpec) bool { return s.Name == string(a.stage) })
	if stage < 0 || a.partition < 0 || a.partition >= len(c.chains) {
		return false
	}
	for _, there := range c.boxes[log.Subject(log.Box(string(a.stage)), a.partition)].facts {
		if there.sender == id.sender && id.at.after(there.at) {
			return false
		}
	}
	positions, known := c.positions(&c.chains[a.partition][stage])
	return !known || !id.at.after(positions[id.sender])
}

// checkAppliedOnce looks at the causes of a chain's cells: one fact causes cells in one record, at one
// place of the mailbox.
func (c *checker) checkAppliedOnce(ch *chain, b *box) {
	type effect struct {
		record uint64
		at     place
	}
	effects := map[factID]effect{}
	input := log.Box(c.specs[ch.stage].Name)
	for n := range ch.records {
		r := &ch.records[n]
		for i := range r.cells {
			at, ok := causeIn(r.cells[i].cause, input)
			if !ok {
				continue
			}
			id, known := b.facts[at]
			if !known {
				continue
			}
			now := effect{r.sequence, at}
			if before, again := effects[id]; again && before != now {
				c.breaksf(LetterTwice, ch.subject, r.cells[i].key, "fact %d of record %d of %s was applied in record %d and again in record %d",
					id.at.index, id.at.sequence, id.sender, before.record, r.sequence)
			}
			effects[id] = now
		}
	}
}

// causeIn reads "<input>/<sequence>/<index>".
func causeIn(cause []byte, input string) (place, bool) {
	rest, ok := bytes.CutPrefix(cause, []byte(input))
	if !ok || len(rest) == 0 || rest[0] != '/' {
		return place{}, false
	}
	sequence, index, ok := strings.Cut(string(rest[1:]), "/")
	if !ok {
		return place{}, false
	}
	s, err := strconv.ParseUint(sequence, 10, 64)
	if err != nil {
		return place{}, false
	}
	n, err := strconv.ParseUint(index, 10, 32)
	return place{s, uint32(n)}, err == nil
}
