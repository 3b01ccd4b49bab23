package profile

import (
	"cmp"
	"slices"
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/consent"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
)

// Apply changes the profile p by an event that is about it and did not come before. Facts come in the
// order in which they should be acted on: what closes contact first, EventApplied last.
func Apply(r *Rules, p *profilev1.Profile, e *eventv1.Event, m Moment) (Change, error) {
	d := r.open(p)
	created := d.leaf.GetFirstSeen() == nil
	d.seen(e.GetAt())
	d.redriven(m.DeadLetter)
	line := d.timeline(e, m.Now)
	d.setAside(e)
	e = d.typed(e)
	d.link(e, m.Now)
	d.unusable(e)
	d.endpoints(e)
	d.takenAway(e)
	d.zone(e)
	if err := d.special(e, m, line); err != nil {
		return Change{}, err
	}
	if e.GetKind() == eventv1.Kind_KIND_IDENTIFY {
		d.publish(e, m.Now)
	}
	if err := d.compute(e); err != nil {
		return Change{}, err
	}
	line.Reasons = append(line.Reasons, d.remarks...)
	applied := &profilev1.EventApplied{Event: e, Created: created, Late: r.late(e, m.Now)}
	return d.close(&profilev1.Fact{Fact: &profilev1.Fact_EventApplied{EventApplied: applied}}), nil
}

// timeline notes the event; its own time only if it was late, or if it claimed one that has not come.
func (d *draft) timeline(e *eventv1.Event, now time.Time) *profilev1.TimelineEntry {
	line := d.line(now, "event_applied", e.GetType(), e.GetId())
	switch e.GetKind() {
	case eventv1.Kind_KIND_CONSENT:
		line.What = event.TypeConsentGiven
		if e.GetConsent().GetState() == eventv1.ConsentState_CONSENT_STATE_WITHDRAWN {
			line.What = event.TypeConsentWithdrawn
		}
		c := d.rules.names.Resolve(e.GetConsent())
		line.Subject, line.Channel = c.GetTopic(), c.GetChannel()
	case eventv1.Kind_KIND_OUTCOME:
		line.What = cmp.Or(event.OutcomeName(e.GetOutcome().GetKind()), line.GetWhat())
		if e.GetOutcome().GetMachine() {
			line.What += "_by_machine"
		}
		line.Subject = cmp.Or(e.GetOutcome().GetAction(), e.GetType())
		line.Channel = e.GetOutcome().GetChannel()
	default:
	}
	switch {
	case d.rules.late(e, now):
		line.OccurredAt = e.GetAt()
	case e.GetClaimedAt().AsTime().After(now):
		line.OccurredAt = e.GetClaimedAt()
	}
	return line
}

// special does what only events of one kind do.
func (d *draft) special(e *eventv1.Event, m Moment, line *profilev1.TimelineEntry) error {
	switch e.GetKind() {
	case eventv1.Kind_KIND_CONSENT:
		if e.GetConsent() == nil {
			return fault.New(fault.Invalid, "apply event: a consent event without consent")
		}
		d.consent(e.GetConsent(), e, m)
		line.Reasons = d.inVain(d.rules.names.Resolve(e.GetConsent()), m.Now)
	case eventv1.Kind_KIND_OUTCOME:
		if e.GetOutcome() == nil {
			return fault.New(fault.Invalid, "apply event: an outcome event without outcome")
		}
		d.outcome(e, m)
	case eventv1.Kind_KIND_GROUP:
		d.group(e)
	default:
	}
	return nil
}

// consent notes a statement of the customer.
func (d *draft) consent(said *eventv1.Consent, e *eventv1.Event, m Moment) {
	c := d.rules.names.Resolve(said)
	r := &profilev1.ConsentRecord{Consent: c, At: e.GetAt(), Cause: e.GetId(), Arrived: m.Arrived, ClaimedAt: e.GetClaimedAt()}
	if c.GetChannel() != said.GetChannel() {
		r.SaidChannel = said.GetChannel()
	}
	if c.GetTopic() != said.GetTopic() {
		r.SaidTopic = said.GetTopic()
	}
	d.permit(r)
}

// permit puts a statement among the others; what is in force for its channel and topic is a fact if it changed.
func (d *draft) permit(r *profilev1.ConsentRecord) {
	before := inForce(d.leaf.GetConsents(), r.GetConsent())
	list, changed := consent.Put(d.leaf.GetConsents(), r)
	if !changed {
		return
	}
	d.leaf.Consents, d.basis = list, true
	if after := inForce(list, r.GetConsent()); !after.EqualVT(before) {
		d.fact(&profilev1.Fact{Fact: &profilev1.Fact_ConsentChanged{ConsentChanged: &profilev1.ConsentChanged{Record: after}}})
	}
}

// inForce is the statement in force for the channel and topic of another, without those beside it.
func inForce(list []*profilev1.ConsentRecord, c *eventv1.Consent) *profilev1.ConsentRecord {
	i := slices.IndexFunc(list, func(r *profilev1.ConsentRecord) bool {
		return r.GetConsent().GetChannel() == c.GetChannel() && r.GetConsent().GetTopic() == c.GetTopic()
	})
	if i < 0 {
		return nil
	}
	return consent.Alone(list[i])
}

// inVain says why a permission does not count, if a withdrawal stands against it.
func (d *draft) inVain(c *eventv1.Consent, now time.Time) []*reasonv1.Reason {
	state, stands := consent.Evaluate(d.leaf.GetConsents(), c.GetChannel(), c.GetTopic(), now)
	if c.GetState() != eventv1.ConsentState_CONSENT_STATE_GIVEN || state != consent.Withdrawn {
		return nil
	}
	return []*reasonv1.Reason{{
		Code:     reasonv1.Code_CODE_UNSUBSCRIBED,
		Evidence: []string{"event " + stands.GetCause() + " withdrew it at " + stands.GetAt().AsTime().Format(time.RFC3339)},
		Remedy:   "only a permission that arrives after the withdrawal and claims no earlier time lifts it",
	}}
}

// outcome records what became of something. A complaint withdraws consent for the whole channel and
// closes the endpoint; a bounce closes the endpoint if it was already the endpoint by then.
func (d *draft) outcome(e *eventv1.Event, m Moment) {
	o := e.GetOutcome()
	switch o.GetKind() {
	case eventv1.OutcomeKind_OUTCOME_KIND_COMPLAINED:
		d.consent(&eventv1.Consent{
			State: eventv1.ConsentState_CONSENT_STATE_WITHDRAWN, Channel: cmp.Or(o.GetChannel(), consent.Any),
			Topic: consent.Any, Basis: "complaint", Evidence: o.GetSubjectId(),
		}, e, m)
		d.doNotContact(o.GetChannel(), reasonv1.Code_CODE_SUPPRESSED_COMPLAINT, nil)
	case eventv1.OutcomeKind_OUTCOME_KIND_BOUNCED:
		d.doNotContact(o.GetChannel(), reasonv1.Code_CODE_SUPPRESSED_HARD_BOUNCE, e.GetAt())
	default:
	}
	d.fact(&profilev1.Fact{Fact: &profilev1.Fact_OutcomeRecorded{
		OutcomeRecorded: &profilev1.OutcomeRecorded{Outcome: o, At: e.GetAt()},
	}})
}

// group ties the person to the account and tells the account's home what is now known about it.
func (d *draft) group(e *eventv1.Event) {
	if e.GetAccount() == nil {
		return
	}
	id := d.rules.hasher.ID(e.GetTenant(), e.GetAccount())
	d.relate("member", id, e)
	d.post(d.rules.hasher.Partition(id), &profilev1.Letter{Letter: &profilev1.Letter_Account{Account: &profilev1.AccountUpdate{
		Tenant: e.GetTenant(), Account: e.GetAccount(), Member: d.p.GetId(), Traits: e.GetTraits(), Cause: e.GetId(), At: e.GetAt(),
	}}})
}

func (d *draft) relate(role string, id []byte, e *eventv1.Event) {
	for _, rel := range d.leaf.GetRelations() {
		if rel.GetRole() == role && same(rel.GetProfileId(), id) {
			rel.Since = earlier(rel.GetSince(), e.GetAt())
			return
		}
	}
	if len(d.leaf.GetRelations()) < MaxRelations {
		d.leaf.Relations = append(d.leaf.Relations, &profilev1.Relation{Role: role, ProfileId: id, Since: e.GetAt()})
	}
}
