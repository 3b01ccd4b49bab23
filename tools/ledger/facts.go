package ledger

import (
	"encoding/hex"
	"slices"
	"strings"
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
)

// customer is what the chains say of one customer's row.
type customer struct {
	key       string
	partition int
	closed    bool
	linkedTo  string // the key of the one that it was closed for
	// zones and statements in the order of the profile chain.
	zones      []zonePoint
	statements []statement
	contacts   []*contact
}

// zonePoint is a time zone from a record of the profile chain on; empty if it is not the customer's own.
type zonePoint struct {
	sequence uint64
	now      time.Time
	name     string
}

// statement is one change of permission.
type statement struct {
	sequence       uint64
	cell           *cell
	now, at, until time.Time
	given          bool
	channel, topic string
	basis          string
	// cause is the event, and arrived where it is stored, if that is known: statements are judged by their arrival.
	cause   string
	arrived stored
	// revision of the definitions under which it was taken.
	revision string
}

// proposal is all that is said of one proposal.
type proposal struct {
	id, action, purpose string
	labels              []string
	customer            *customer
	made, chosen        bool
	deferred, givenUp   bool
	deferredUntil       time.Time
	ended               time.Time // first
	verdict             contactv1.VerdictKind
	ends                []decisionv1.Resolution
	approvals           []approval
	// queued, intents and the reports about them are the delivery.
	queued, mayCall bool
	intents         []intent
	statuses        []dispatchv1.Status
	requests        []*Request
}

// approval is one verdict that allowed to send.
type approval struct {
	record             *record
	before             *record // the record before it
	at                 place
	notAfter           time.Time
	channel, to, topic string
}

type intent struct {
	now      time.Time
	channel  string
	approved *approval
}

type proposals struct {
	byID map[string]*proposal
	all  []*proposal
}

func (p *proposals) get(id []byte) *proposal {
	found := p.byID[string(id)]
	if found == nil {
		found = &proposal{id: string(id)}
		p.byID[found.id] = found
		p.all = append(p.all, found)
	}
	return found
}

// reading is where in a chain facts are collected.
type reading struct {
	*checker
	chain  *chain
	record *record
	before *record
	at     place
	cell   *cell
}

// collect goes through the facts of a chain, in order.
func (c *checker) collect(ch *chain) {
	take := [stages]func(*reading, []byte){(*reading).profileFact, (*reading).decisionFact, (*reading).contactFact, (*reading).dispatchFact}[ch.stage]
	x := &reading{checker: c, chain: ch}
	for n := range ch.records {
		x.record = &ch.records[n]
		for i := range x.record.cells {
			x.cell, x.at = &x.record.cells[i], place{x.record.sequence, uint32(i + 1)} //nolint:gosec // cells are few
			if ch.stage == profile {
				x.zone()
			}
			for _, fact := range x.cell.facts {
				take(x, fact)
			}
		}
		x.before = x.record
	}
}

// owner is the customer of the cell that is read.
func (x *reading) owner() *customer {
	found := x.customers[x.cell.key]
	if found == nil {
		found = &customer{key: x.cell.key, partition: x.chain.partition}
		x.customers[found.key] = found
	}
	return found
}

// tenant is whose customer it is.
func (c *customer) tenant() string {
	tenant, _, _ := strings.Cut(c.key, "/")
	return tenant
}

// hexOf is the customer's id in a row's key.
func hexOf(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

// zone notes the zone that a profile's state has, if it changed.
func (x *reading) zone() {
	if len(x.cell.state) == 0 || !strings.Contains(x.cell.key, "/c/") {
		return
	}
	var name, provenance string
	for w := (wire{rest: x.cell.state}); w.next(); {
		if w.num != 4 {
			continue
		}
		zone := field(w.data, 8)
		if n := field(zone, 1); len(n) > 0 {
			name, provenance = x.name(n), x.name(field(zone, 2))
		}
	}
	if provenance == "workspace" {
		name = ""
	}
	own := x.owner()
	if n := len(own.zones); n > 0 && own.zones[n-1].name == name {
		return
	}
	own.zones = append(own.zones, zonePoint{x.record.sequence, x.record.now, name})
}

func (x *reading) profileFact(fact []byte) {
	for w := (wire{rest: fact}); w.next(); {
		switch w.num {
		case 1:
			x.applied(w.data)
		case 2:
			x.statement(field(w.data, 1))
		case 3:
			own := x.owner()
			own.closed, own.linkedTo = true, own.tenant()+"/c/"+hex.EncodeToString(field(w.data, 2))
		}
	}
}

func (x *reading) applied(message []byte) {
	var e *event
	for w := (wire{rest: message}); w.next(); {
		switch w.num {
		case 1:
			e = x.events.named(w.data)
		case 2:
			if w.n != 0 {
				x.out.Totals.Profiles++
			}
		}
	}
	if e == nil {
		return
	}
	e.applied++
	if e.applied == 1 {
		e.effect, e.first = x.record.now, firstOf(field(message, 1))
	}
	e.customers = append(e.customers, x.cell.key)
	if e.key.tenant != x.owner().tenant() {
		x.breaksf(TenantEvent, x.chain.subject, x.cell.key, "event %s of tenant %s took effect in record %d", e.key.id, e.key.tenant, x.record.sequence)
	}
	x.alias(field(message, 1), e)
	x.said(field(field(message, 1), 12), e)
	if x.owner().closed {
		x.breaksf(EventClosed, x.chain.subject, x.cell.key, "event %s took effect in record %d, and the profile is closed", e.key.id, x.record.sequence)
	}
}

func (x *reading) statement(message []byte) {
	s := x.consent(field(message, 1))
	s.at, s.cause = stamp(field(message, 2)), string(field(message, 3))
	x.states(s)
}

// said notes what an applied event says about permission, also if that changes nothing that is in force.
func (x *reading) said(consent []byte, e *event) {
	if consent != nil {
		s := x.consent(consent)
		s.at, s.cause = e.at, e.key.id
		x.states(s)
	}
}

// consent reads a statement.
func (x *reading) consent(message []byte) statement {
	s := statement{sequence: x.record.sequence, cell: x.cell, now: x.record.now, revision: string(x.record.revision)}
	for v := (wire{rest: message}); v.next(); {
		switch v.num {
		case 1:
			s.given = v.n == 1
		case 2:
			s.channel = x.name(v.data)
		case 3:
			s.topic = x.name(v.data)
		case 4:
			s.basis = x.name(v.data)
		case 6:
			s.until = stamp(v.data)
		}
	}
	return s
}

// states adds a statement to its customer's, once per event.
func (x *reading) states(s statement) {
	own := x.owner()
	if s.cause == "" || !slices.ContainsFunc(own.statements, func(o statement) bool { return o.cause == s.cause && o.same(s) && o.given == s.given }) {
		own.statements = append(own.statements, s)
	}
}

func (x *reading) decisionFact(fact []byte) {
	for w := (wire{rest: fact}); w.next(); {
		switch w.num {
		case 2:
			x.stepped(w.data)
		case 3:
			delete(x.waits, string(field(w.data, 1)))
		case 4:
			x.proposed(field(w.data, 1))
		case 5:
			x.out.Totals.Decisions++
		case 6:
			p := x.proposals.get(field(field(w.data, 1), 1))
			p.chosen = true
			p.givenUp = p.givenUp || x.gaveUp(suppression)
		case 7:
			x.proposals.get(field(w.data, 1))
		case 8:
			x.ended(w.data)
		}
	}
}

// gaveUp says whether a stage gave up the cell that is read.
func (x *reading) gaveUp(stage int) bool {
	return x.chains[x.chain.partition][stage].gave[gaveUp{x.specs[x.chain.stage].Chain, x.at}]
}

func (x *reading) proposed(message []byte) {
	p := x.proposals.get(field(message, 1))
	if p.made {
		x.breaksf(ProposalTwice, x.chain.subject, p.id, "it was made again in record %d", x.record.sequence)
	}
	p.made, p.customer, p.labels = true, x.owner(), nil
	for w := (wire{rest: message}); w.next(); {
		switch w.num {
		case 2:
			p.action = x.name(w.data)
		case 3:
			p.purpose = x.name(w.data)
		case 4:
			p.labels = append(p.labels, string(field(w.data, 1))+"="+string(field(w.data, 2)))
		}
	}
}

func (x *reading) ended(message []byte) {
	how := 0
	for w := (wire{rest: message}); w.next(); {
		if w.num == 3 {
			how = w.small()
		}
	}
	p := x.proposals.get(field(message, 1))
	p.ends = append(p.ends, decisionv1.Resolution(how)) //nolint:gosec // small fits
	if len(p.ends) == 1 {
		p.ended = x.record.now
	}
}
