package profile

import (
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
)

// asking is what an alias has to ask before it links: the user_ids that customers may have, and what waits for the answer.
type asking struct {
	previous []*eventv1.Identifier
	links    []*eventv1.Identifier
}

// about notes that identifier i of an event waits for an answer, if it does. A person whom an alias names beside another one
// does; so does a device that may be a person by its value, with all that would be claimed for it.
func (a *asking) about(r *Rules, e *eventv1.Event, i int, id *eventv1.Identifier) bool {
	if e.GetKind() != eventv1.Kind_KIND_ALIAS || i == 0 {
		return false
	}
	if id.GetKind() == event.KindUserID {
		a.previous, a.links = append(a.previous, bare(id)), append(a.links, bare(id))
		return true
	}
	previous := e.GetPrevious()
	if previous == nil || !sameIdentifier(previous, id) && !sameIdentifier(previous, e.GetIdentifiers()[0]) {
		return false
	}
	user, err := r.kinds.Identifier(event.KindUserID, previous.GetValue())
	if err != nil {
		return false // it cannot be a user's
	}
	if len(a.links) == 0 {
		a.previous = append(a.previous, bare(user))
	}
	a.links = append(a.links, bare(id))
	return true
}

// ask asks the homes. All that waits is linked by the answer to the last question.
func (d *draft) ask(a asking, e *eventv1.Event) {
	for _, previous := range a.previous {
		d.post(d.rules.hasher.Home(e.GetTenant(), previous), &profilev1.Letter{Letter: &profilev1.Letter_AliasAsked{AliasAsked: &profilev1.AliasAsked{
			Tenant: e.GetTenant(), Previous: previous, ProfileId: d.p.GetId(), Links: a.links, Cause: e.GetId(), At: e.GetAt(),
		}}})
	}
}

// AnswerAlias says at the home of a user_id, whose row may be nil, whether another customer than the one who asks has it.
// Then both are told that the alias is refused.
func AnswerAlias(r *Rules, row *profilev1.IdentifierRow, q *profilev1.AliasAsked) Change {
	owner := row.GetProfileId()
	if same(owner, q.GetProfileId()) {
		return Change{} // it is the customer's own
	}
	out := Change{Letters: []Posted{answered(r, q, q.GetProfileId(), owner)}}
	if len(owner) > 0 {
		out.Letters = append(out.Letters, answered(r, q, owner, owner))
	}
	return out
}

func answered(r *Rules, q *profilev1.AliasAsked, to, owner []byte) Posted {
	return Posted{Partition: r.hasher.Partition(to), Letter: &profilev1.Letter{Letter: &profilev1.Letter_AliasAnswered{
		AliasAnswered: &profilev1.AliasAnswered{Asked: q, To: to, Owner: owner},
	}}}
}

// TakeAnswer links in the profile p what an alias named, or notes that the alias is refused, in the profiles of both
// customers. A profile that is closed passes it on to the one that it was closed for.
func TakeAnswer(r *Rules, p *profilev1.Profile, a *profilev1.AliasAnswered, m Moment) (Change, error) {
	if p == nil {
		return Change{}, fault.New(fault.NotFound, "take answer to alias: the profile does not exist")
	}
	d := r.open(p)
	d.redriven(m.DeadLetter)
	q, owner := a.GetAsked(), a.GetOwner()
	switch to := p.GetLinkedTo(); {
	case len(to) > 0 && same(to, owner) && same(p.GetId(), q.GetProfileId()):
		return closeGap(r, p, m), nil // the two are one by now
	case len(to) > 0:
		out := closeGap(r, p, m)
		onward := q.CloneVT()
		if same(p.GetId(), q.GetProfileId()) {
			onward.ProfileId = to
		} else {
			owner = to
		}
		out.Letters = append(out.Letters, answered(r, onward, to, owner))
		return out, nil
	case len(owner) == 0:
		d.alias(q, m.Now)
	default:
		d.refuseAlias(q, owner, m.Now)
	}
	return d.close(), nil
}

// alias links what nobody else is known by.
func (d *draft) alias(q *profilev1.AliasAsked, now time.Time) {
	before := len(d.leaf.GetIdentities())
	self := &eventv1.Identifier{Kind: event.KindProfile, Value: text(d.p.GetId())}
	d.link(&eventv1.Event{
		Id: q.GetCause(), Tenant: q.GetTenant(), At: q.GetAt(), Kind: eventv1.Kind_KIND_IDENTIFY, // it asks no more
		Identifiers: append([]*eventv1.Identifier{self}, q.GetLinks()...),
	}, now)
	for _, i := range d.leaf.GetIdentities()[before:] {
		i.Assumed = i.GetIdentifier().GetKind() != event.KindUserID && i.GetIdentifier().GetValue() == q.GetPrevious().GetValue()
	}
}

// refuseAlias notes that an alias names this customer and another one who is known, too.
func (d *draft) refuseAlias(q *profilev1.AliasAsked, owner []byte, now time.Time) {
	why := &reasonv1.Reason{
		Code:     reasonv1.Code_CODE_ALIAS_REFUSED,
		Evidence: []string{"the earlier id is the user_id of profile " + text(owner)},
		Remedy:   "both customers are known and stay two: send what follows under the user_id that is to go on",
	}
	if same(d.p.GetId(), owner) {
		why.Evidence = []string{"profile " + text(q.GetProfileId()) + " named this customer's user_id as an earlier id of its own"}
	}
	d.conflict(&profilev1.IdentityConflict{
		Kind: event.KindUserID, Owner: owner, Claimant: q.GetProfileId(), Cause: q.GetCause(),
	})
	d.line(now, "alias_refused", event.KindUserID, q.GetCause()).Reasons = []*reasonv1.Reason{why}
}
