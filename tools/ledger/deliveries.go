package ledger

import (
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
)

// reservation is room that a caller took by RPC.
type reservation struct {
	customer               *customer
	channel, action, topic string
	purpose                string
	counts                 bool
	// taken is the record that took it, before the one before that.
	taken, before *record
	held          bool // neither used nor freed
}

func (x *reading) contactFact(fact []byte) {
	for w := (wire{rest: fact}); w.next(); {
		switch w.num {
		case 1:
			x.judged(w.data)
		case 2:
			x.committed(w.data)
		case 3:
			x.leaves(field(w.data, 1), "freed")
		case 4:
			x.ended(w.data)
		case 5:
			x.proposals.get(field(w.data, 1))
		case 6:
			x.reserved(field(w.data, 1))
		}
	}
}

func (x *reading) judged(message []byte) {
	var kind contactv1.VerdictKind
	var id, treatment []byte
	var until, notAfter time.Time
	for w := (wire{rest: message}); w.next(); {
		switch w.num {
		case 1:
			kind = contactv1.VerdictKind(w.small()) //nolint:gosec // small fits
		case 2:
			id = field(field(w.data, 1), 1)
		case 3:
			treatment = w.data
		case 4:
			x.restsOn(field(w.data, 3))
		case 5:
			until = stamp(w.data)
		case 6:
			notAfter = stamp(w.data)
		}
	}
	p := x.proposals.get(id)
	p.verdict = kind
	x.allowed(kind, id)
	switch kind {
	case contactv1.VerdictKind_VERDICT_KIND_DEFERRED:
		p.deferred, p.deferredUntil = true, until
	case contactv1.VerdictKind_VERDICT_KIND_APPROVED:
		p.approvals = append(p.approvals, approval{
			record: x.record, before: x.before, at: x.at, notAfter: notAfter,
			channel: x.name(field(treatment, 2)), to: x.name(field(treatment, 3)), topic: x.name(field(treatment, 4)),
		})
		p.givenUp = p.givenUp || x.gaveUp(dispatch)
	case contactv1.VerdictKind_VERDICT_KIND_SUPPRESSED, contactv1.VerdictKind_VERDICT_KIND_PENDING, contactv1.VerdictKind_VERDICT_KIND_UNSPECIFIED:
	}
}

// reserved notes room. An id may take room anew after it was freed.
func (x *reading) reserved(entry []byte) {
	r := reservation{customer: x.owner(), taken: x.record, before: x.before, held: true}
	for w := (wire{rest: entry}); w.next(); {
		switch w.num {
		case 4:
			r.channel = x.name(w.data)
		case 5:
			r.action = x.name(w.data)
		case 6:
			r.purpose = x.name(w.data)
		case 7:
			r.topic = x.name(w.data)
		case 8:
			r.counts = w.n != 0
		}
	}
	id := string(field(entry, 1))
	if old := x.reservations[id]; old != nil && old.held {
		x.breaksf(ContactRoom, x.chain.subject, id, "record %d takes room that record %d took and nobody gave back", x.record.sequence, old.taken.sequence)
	}
	x.reservations[id] = &r
}

// leaves notes that room is not held any more; nil if it is none that a caller took.
func (x *reading) leaves(id []byte, how string) *reservation {
	r := x.reservations[string(id)]
	if r == nil {
		return nil
	}
	if !r.held {
		x.breaksf(ContactRoom, x.chain.subject, string(id), "in record %d it is %s, and was used or freed before", x.record.sequence, how)
	}
	r.held = false
	return r
}

// committed notes a contact that a caller made by itself, under the rules by which its room was taken. The mesh's
// own sends are known otherwise.
func (x *reading) committed(message []byte) {
	r := x.leaves(field(message, 1), "used")
	if r == nil {
		return
	}
	x.contacts = append(x.contacts, &contact{
		id: string(field(message, 1)), customer: r.customer, at: x.record.now, channel: r.channel, action: r.action,
		topic: r.topic, purpose: r.purpose, counts: r.counts, mine: true, revision: string(r.taken.revision), seen: r.before, decided: r.taken,
	})
}

// dispatchFact follows every delivery: a call may be declared once after it was queued, and again only after
// the one before was provably not made.
func (x *reading) dispatchFact(fact []byte) {
	for w := (wire{rest: fact}); w.next(); {
		p := x.proposals.get(field(w.data, 1))
		switch w.num {
		case 1:
			if p.queued {
				x.breaksf(DeliveryQueued, x.chain.subject, p.id, "it was taken over again in record %d", x.record.sequence)
			}
			p.queued, p.mayCall = true, true
			if x.approvalOf(p) == nil && x.whole {
				x.breaksf(SendApproval, x.chain.subject, p.id, "record %d takes it over, and no approval is before that", x.record.sequence)
			}
		case 2:
			x.intended(p, w.data)
		case 3:
			x.reported(p, w.data)
		}
	}
}

// approvalOf is the last approval that the record that is read covers; nil if there is none.
func (x *reading) approvalOf(p *proposal) *approval {
	var last *approval
	for n := range p.approvals {
		if a := &p.approvals[n]; !a.at.after(x.record.covers[0]) {
			last = a
		}
	}
	return last
}

func (x *reading) intended(p *proposal, message []byte) {
	attempt, channel := 0, ""
	for w := (wire{rest: message}); w.next(); {
		switch w.num {
		case 2:
			attempt = w.small()
		case 3:
			channel = x.name(w.data)
		}
	}
	in := intent{now: x.record.now, channel: channel, approved: x.approvalOf(p)}
	p.intents = append(p.intents, in)
	subject := x.chain.subject
	if !x.whole {
		return
	}
	switch {
	case finals(p.statuses) > 0:
		x.breaksf(DeliveryIntent, subject, p.id, "record %d declares a call of a delivery that has ended", x.record.sequence)
	case !p.mayCall:
		x.breaksf(DeliveryIntent, subject, p.id, "record %d declares a call, though the one before may have been made", x.record.sequence)
	case attempt != len(p.intents):
		x.breaksf(DeliveryIntent, subject, p.id, "record %d declares attempt %d, after %d", x.record.sequence, attempt, len(p.intents)-1)
	}
	p.mayCall = false
	switch {
	case in.approved == nil:
		x.breaksf(SendApproval, subject, p.id, "record %d declares a call, and no approval is before that", x.record.sequence)
	case in.approved.channel != channel:
		x.breaksf(SendApproval, subject, p.id, "record %d declares a call on %s, approved is %s", x.record.sequence, channel, in.approved.channel)
	case !in.now.Before(in.approved.notAfter):
		x.breaksf(SendExpired, subject, p.id, "record %d declares a call at %s, the approval ended at %s", x.record.sequence, in.now, in.approved.notAfter)
	}
}

func (x *reading) reported(p *proposal, message []byte) {
	status := dispatchv1.Status_STATUS_UNSPECIFIED
	for w := (wire{rest: message}); w.next(); {
		if w.num == 3 {
			status = dispatchv1.Status(w.small()) //nolint:gosec // small fits
		}
	}
	p.statuses = append(p.statuses, status)
	p.mayCall = true
	p.givenUp = p.givenUp || status != dispatchv1.Status_STATUS_QUEUED && x.gaveUp(suppression)
	if status != dispatchv1.Status_STATUS_QUEUED && finals(p.statuses) > 1 {
		x.breaksf(DeliveryEnds, x.chain.subject, p.id, "it ended again in record %d: %v", x.record.sequence, p.statuses)
	}
}

// finals counts the reports that end a delivery.
func finals(statuses []dispatchv1.Status) int {
	n := 0
	for _, s := range statuses {
		if s != dispatchv1.Status_STATUS_QUEUED {
			n++
		}
	}
	return n
}
