package ledger

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"refrain.dev/pkg/log"
)

// receiptKind is the kind of events that dispatch publishes itself; the door refuses them from anybody else.
const receiptKind = 9

// horizon is how long a repeated event id has no effect.
const horizon = 72 * time.Hour

// events are all events that anybody speaks of.
type events struct {
	byKey     map[eventKey]*event
	byMessage map[messageKey][]*event
	all       []*event
}

// eventKey is what makes an event: its message id and the first of its identifiers, folded.
type eventKey struct {
	messageKey

	customer string
}

// event is one event: where it is stored and what became of it.
type event struct {
	key     eventKey
	stored  []stored
	applied int
	effect  time.Time // when it first took effect
	first   string    // the first identifier of what took effect, as it is stored
	// customers are the rows that it was applied to.
	customers []string
	dead      bool
	at        time.Time // as it is stored
	// own says that the mesh made it by itself: the result of a call that came too late.
	own bool
	// basis of the consent, if it speaks of one.
	basis string
	sent  *Sent
	ahead bool // of its arrival, as it is stored
}

// stored is one place where an event is.
type stored struct {
	subject  string
	at       place
	received time.Time
	time     time.Time // by the broker
}

// when is when it was stored, by the broker if that is known.
func (s stored) when() time.Time {
	if s.time.IsZero() {
		return s.received
	}
	return s.time
}

// counts is the time that counts of what an event claims: no later than it was stored, whatever clock is wrong.
func (e *event) counts() time.Time {
	if len(e.stored) > 0 && e.at.After(e.stored[0].when()) {
		return e.stored[0].when()
	}
	return e.at
}

func newEvents() events {
	return events{byKey: map[eventKey]*event{}, byMessage: map[messageKey][]*event{}}
}

func (e *events) get(key eventKey) *event {
	found := e.byKey[key]
	if found == nil {
		found = &event{key: key}
		e.byKey[key] = found
		e.byMessage[key.messageKey] = append(e.byMessage[key.messageKey], found)
		e.all = append(e.all, found)
	}
	return found
}

// named returns the event of an encoded one; nil if it has no id.
func (e *events) named(message []byte) *event {
	var id, tenant, at, consent []byte
	kind := uint64(0)
	w := wire{rest: message}
	for w.next() {
		switch w.num {
		case 1:
			id = w.data
		case 2:
			tenant = w.data
		case 4:
			kind = w.n
		case 5:
			at = w.data
		case 12:
			consent = w.data
		}
	}
	if w.bad || len(id) == 0 || len(tenant) == 0 {
		return nil
	}
	found := e.get(eventKey{messageKey{string(tenant), string(id)}, customerOf(message)})
	if found.own = kind == receiptKind; len(found.stored) == 0 {
		found.at = stamp(at)
	}
	if consent != nil {
		found.basis = string(field(consent, 4))
	}
	return found
}

// arrived notes that an event is stored in a lane.
func (e *events) arrived(subject string, at place, a arrival) {
	if found := e.named(a.payload); found != nil {
		found.stored = append(found.stored, stored{subject, at, a.received, a.time})
		found.ahead = found.ahead || stamp(field(a.payload, 5)).After(a.received)
	}
}

// gaveUp notes the event in a dead letter, if there is one: itself, or on its way to another partition.
func (e *events) gaveUp(d deadLetter) {
	if d.stage != "profile" && d.stage != "ingest" || len(d.why) == 0 {
		return
	}
	forwarded := field(field(d.payload, 1), 2)
	candidates := [][]byte{d.payload, forwarded}
	if bytes.HasPrefix(d.input, []byte("box.")) {
		candidates = candidates[1:]
	}
	for _, data := range candidates {
		if found := e.named(data); found != nil {
			found.dead = true
			return
		}
	}
}

// checkEvents checks that every acknowledged event took effect once, and nothing did that nobody sent.
func (c *checker) checkEvents() {
	if c.h.Sent == nil {
		c.skipf("events: the client's log is not known")
	}
	if c.h.Trimmed {
		c.skipf("events: lanes and chains may have been trimmed")
	}
	for i := range c.h.Sent {
		c.acknowledged(&c.h.Sent[i])
	}
	for _, e := range c.events.all {
		if !e.acknowledged() && e.applied == 0 && len(e.stored) == 0 {
			continue
		}
		if e.acknowledged() {
			c.out.Totals.Events++
			c.checkLost(e)
		}
		if e.ahead {
			c.breaksf(EventAhead, e.stored[0].subject, e.key.id, "it counts as of %s, after its arrival at %s", e.at, e.stored[0].received)
		}
		c.checkTwice(e)
		c.checkForged(e)
	}
}

func (e *event) acknowledged() bool { return e.sent != nil && !e.sent.Acknowledged.IsZero() }

func (c *checker) acknowledged(s *Sent) {
	e := c.sentAs(s)
	if e.sent == nil || e.sent.Acknowledged.IsZero() {
		e.sent = s
	}
	if p := s.Position; p != nil && !s.Acknowledged.IsZero() && !c.h.Trimmed {
		if !e.storedAt(p) {
			c.breaksf(EventLost, log.Subject(log.Lane(p.Lane), p.Partition), s.ID, "it was acknowledged at %d, where it is not stored", p.Sequence)
		}
	}
}

const defaultTenant = "default"

func (c *checker) checkLost(e *event) {
	if c.h.Trimmed || e.applied > 0 || e.dead {
		return
	}
	switch {
	case len(e.stored) == 0:
		c.breaksf(EventLost, "", e.key.id, "it was acknowledged and is in no lane")
	case c.h.Settled:
		c.breaksf(EventLost, e.stored[0].subject, e.key.id, "it was acknowledged and neither took effect nor is a dead letter")
	}
}

// checkTwice counts the effects of an event: one, and one more for every time it came again after the horizon.
func (c *checker) checkTwice(e *event) {
	if e.applied <= 1 {
		return
	}
	times := make([]time.Time, 0, len(e.stored))
	for _, s := range e.stored {
		times = append(times, s.received)
	}
	slices.SortFunc(times, time.Time.Compare)
	allowed, from := 1, time.Time{}
	for n, t := range times {
		if n == 0 {
			from = t
		} else if t.Sub(from) > horizon {
			allowed, from = allowed+1, t
		}
	}
	if e.applied > allowed {
		c.breaksf(EventTwice, "", e.key.id, "it took effect %d times, on %s", e.applied, strings.Join(e.customers, ", "))
	}
}

func (c *checker) checkForged(e *event) {
	switch {
	case c.h.Trimmed:
	case e.applied > 0 && len(e.stored) == 0 && !e.dead:
		c.breaksf(EventForged, "", e.key.id, "it took effect and is in no lane")
	case c.h.AllSent && c.h.Sent != nil && e.sent == nil && !e.own && len(e.stored) > 0 && c.h.read(e.stored[0].received):
		c.breaksf(EventForged, e.stored[0].subject, e.key.id, "it is stored, and nobody sent it")
	}
}
