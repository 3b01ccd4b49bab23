package profile

import (
	"cmp"
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
	d.timeline(e, m.Now)
	d.link(e)
	d.endpoints(e)
	d.zone(e)
	if err := d.special(e); err != nil {
		return Change{}, err
	}
	if e.GetKind() == eventv1.Kind_KIND_IDENTIFY {
		d.publish(e, m.Now)
	}
	if err := d.compute(e); err != nil {
		return Change{}, err
	}
	applied := &profilev1.EventApplied{Event: e, Created: created, Late: r.late(e.GetType(), e.GetAt().AsTime(), m.Now)}
	return d.close(&profilev1.Fact{Fact: &profilev1.Fact_EventApplied{EventApplied: applied}}), nil
}

// timeline notes the event; its own time only if it was late.
func (d *draft) timeline(e *eventv1.Event, now time.Time) {
	line := d.line(now, "event_applied", e.GetType(), e.GetId())
	switch e.GetKind() {
	case eventv1.Kind_KIND_CONSENT:
		line.What = event.TypeConsentGiven
		if e.GetConsent().GetState() == eventv1.ConsentState_CONSENT_STATE_WITHDRAWN {
			line.What = event.TypeConsentWithdrawn
		}
		line.Subject, line.Channel = e.GetConsent().GetTopic(), e.GetConsent().GetChannel()
	case eventv1.Kind_KIND_OUTCOME:
		line.What = cmp.Or(event.OutcomeName(e.GetOutcome().GetKind()), line.GetWhat())
		line.Subject = cmp.Or(e.GetOutcome().GetAction(), e.GetType())
		line.Channel = e.GetOutcome().GetChannel()
	default:
	}
	if d.rules.late(e.GetType(), e.GetAt().AsTime(), now) {
		line.OccurredAt = e.GetAt()
	}
}

// special does what only events of one kind do.
func (d *draft) special(e *eventv1.Event) error {
	switch e.GetKind() {
	case eventv1.Kind_KIND_CONSENT:
		if e.GetConsent() == nil {
			return fault.New(fault.Invalid, "apply event: a consent event without consent")
		}
		d.consent(e.GetConsent(), e)
	case eventv1.Kind_KIND_OUTCOME:
		if e.GetOutcome() == nil {
			return fault.New(fault.Invalid, "apply event: an outcome event without outcome")
		}
		d.outcome(e)
	case eventv1.Kind_KIND_GROUP:
		d.group(e)
	default:
	}
	return nil
}

func (d *draft) consent(c *eventv1.Consent, e *eventv1.Event) {
	record := &profilev1.ConsentRecord{Consent: c, At: e.GetAt(), Cause: e.GetId()}
	list, changed := consent.Put(d.leaf.GetConsents(), record)
	if !changed {
		return
	}
	d.leaf.Consents, d.basis = list, true
	d.fact(&profilev1.Fact{Fact: &profilev1.Fact_ConsentChanged{ConsentChanged: &profilev1.ConsentChanged{Record: record}}})
}

// outcome records what became of something. A complaint withdraws consent for the whole channel and
// closes the endpoint; a bounce closes the endpoint if it was already the endpoint by then.
func (d *draft) outcome(e *eventv1.Event) {
	o := e.GetOutcome()
	switch o.GetKind() {
	case eventv1.OutcomeKind_OUTCOME_KIND_COMPLAINED:
		d.consent(&eventv1.Consent{
			State: eventv1.ConsentState_CONSENT_STATE_WITHDRAWN, Channel: cmp.Or(o.GetChannel(), consent.Any),
			Topic: consent.Any, Basis: "complaint", Evidence: o.GetSubjectId(),
		}, e)
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
