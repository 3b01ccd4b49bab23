package profile

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
)

// link claims the identifiers of an event that do not resolve to the profile yet. They are the profile's
// at once; an identifier's home that knows better answers with a conflict. What an alias says to be a customer's earlier id
// waits until that id's home has said that no other customer has it (alias.go). An address is undecided until its home has
// answered: nobody is contacted there as this profile, since another one may be. A device is claimed again at
// every identify and alias, since the last login owns it.
func (d *draft) link(e *eventv1.Event, now time.Time) {
	byDevice := d.rules.class(e.GetIdentifiers()[0].GetKind()) == event.ClassDevice
	var asked asking
	for i, id := range d.named(e) {
		k, known := d.rules.kinds.Kind(id.GetKind())
		if !known || k.Class == event.ClassAccount && i > 0 {
			continue
		}
		if byDevice && k.Class != event.ClassDevice {
			// A device alone speaks for nobody.
			continue
		}
		if d.has(id) {
			if i > 0 && k.Class == event.ClassDevice && login(e) {
				d.claim(id, e)
			}
			continue
		}
		if asked.about(d.rules, e, i, id) {
			continue
		}
		if full := len(d.leaf.GetIdentities()) >= MaxIdentities; full || k.Unique && i > 0 && d.hasKind(id.GetKind()) {
			d.conflict(&profilev1.IdentityConflict{Kind: id.GetKind(), Claimant: d.p.GetId(), Cause: e.GetId()})
			d.line(now, "identity_conflict", id.GetKind(), e.GetId()).Reasons = []*reasonv1.Reason{tooMany(id.GetKind(), full)}
			continue
		}
		d.leaf.Identities = append(d.leaf.GetIdentities(), &profilev1.Identity{
			Identifier: bare(id), Since: e.GetAt(), Cause: e.GetId(), Undecided: i > 0 && k.Class == event.ClassEndpoint,
		})
		d.fact(&profilev1.Fact{Fact: &profilev1.Fact_IdentifierLinked{
			IdentifierLinked: &profilev1.IdentifierLinked{Kind: id.GetKind(), Cause: e.GetId()},
		}})
		if i > 0 {
			d.claim(id, e)
		}
	}
	d.ask(asked, e)
}

// tooMany says why an identifier is not linked, which the profile has no place for.
func tooMany(kind string, full bool) *reasonv1.Reason {
	why := &reasonv1.Reason{
		Code: reasonv1.Code_CODE_ALIAS_REFUSED, Evidence: []string{"a customer has at most one " + kind},
		Remedy: "send what follows under the " + kind + " that the customer has",
	}
	if full {
		why.Evidence, why.Remedy = []string{fmt.Sprintf("a customer has at most %d identifiers", MaxIdentities)}, ""
	}
	return why
}

func login(e *eventv1.Event) bool {
	return e.GetKind() == eventv1.Kind_KIND_IDENTIFY || e.GetKind() == eventv1.Kind_KIND_ALIAS
}

func (d *draft) has(id *eventv1.Identifier) bool {
	return slices.ContainsFunc(d.leaf.GetIdentities(), func(i *profilev1.Identity) bool { return sameIdentifier(i.GetIdentifier(), id) })
}

// sameIdentifier says whether two identifiers name one. How an address is written to is no part of that.
func sameIdentifier(a, b *eventv1.Identifier) bool {
	return a.GetKind() == b.GetKind() && a.GetValue() == b.GetValue()
}

// bare is an identifier without how it is written to.
func bare(id *eventv1.Identifier) *eventv1.Identifier {
	return &eventv1.Identifier{Kind: id.GetKind(), Value: id.GetValue()}
}

func (d *draft) hasKind(kind string) bool {
	return slices.ContainsFunc(d.leaf.GetIdentities(), func(i *profilev1.Identity) bool { return i.GetIdentifier().GetKind() == kind })
}

func (d *draft) claim(id *eventv1.Identifier, e *eventv1.Event) {
	d.post(d.rules.hasher.Home(e.GetTenant(), id), &profilev1.Letter{Letter: &profilev1.Letter_Claim{Claim: &profilev1.ClaimIdentifier{
		Identifier: bare(id), Tenant: e.GetTenant(), ProfileId: d.p.GetId(), Cause: e.GetId(), At: e.GetAt(),
	}}})
}

func (d *draft) conflict(c *profilev1.IdentityConflict) {
	d.fact(&profilev1.Fact{Fact: &profilev1.Fact_IdentityConflict{IdentityConflict: c}})
}

// Claim decides at an identifier's home whether it resolves to the claimant from now on. Row is the
// identifier's, own the profile that the identifier made; both may be nil. An identifier that nobody has
// goes to the claimant. A device goes to whoever used it last. An endpoint goes to the claimant if only
// a profile without a person has it; then that profile, which keeps its id and its past, is closed.
// Everything else stays where it is and the claimant is told of the conflict. The claimant of an address is answered in
// any case: it is contacted there only then. A claim that was given up has closed contact with the claimant, until it
// comes back.
func Claim(r *Rules, row *profilev1.IdentifierRow, own *profilev1.Profile, c *profilev1.ClaimIdentifier, m Moment) Change {
	out := claimed(r, row, own, c, m)
	if m.DeadLetter != "" { // after its answer: what is to be heard under the identifier is in that
		out.Letters = append(out.Letters, filled(r, c.GetTenant(), c.GetProfileId(), m.DeadLetter))
	}
	return out
}

func claimed(r *Rules, row *profilev1.IdentifierRow, own *profilev1.Profile, c *profilev1.ClaimIdentifier, m Moment) Change {
	home := r.hasher.ID(c.GetTenant(), c.GetIdentifier())
	owner := row.GetProfileId()
	class := r.class(c.GetIdentifier().GetKind())
	switch {
	case len(owner) == 0:
		return granted(r, c, Change{Row: moved(row, c)})
	case same(owner, c.GetProfileId()):
		return granted(r, c, Change{})
	case same(owner, home):
		if class == event.ClassDevice || class == event.ClassEndpoint && !r.hasPerson(own) {
			return closed(r, row, own, c, m)
		}
	case class == event.ClassDevice && !c.GetAt().AsTime().Before(row.GetSince().AsTime()):
		return Change{Row: moved(row, c)}
	}
	conflict := &profilev1.IdentityConflict{
		Kind: c.GetIdentifier().GetKind(), Owner: owner, Claimant: c.GetProfileId(), Cause: c.GetCause(), Identifier: home, At: c.GetAt(),
	}
	out := Change{Letters: []Posted{answer(r, c, &profilev1.Letter{Letter: &profilev1.Letter_Conflict{Conflict: conflict}})}}
	if class == event.ClassEndpoint || class == event.ClassPerson {
		out.Letters = append(out.Letters, tellOwner(r, c.GetTenant(), conflict, owner))
	}
	return out
}

// granted answers a claim on an address at which nobody was contacted before.
func granted(r *Rules, c *profilev1.ClaimIdentifier, out Change) Change {
	if r.class(c.GetIdentifier().GetKind()) == event.ClassEndpoint {
		out.Letters = append(out.Letters, answer(r, c, &profilev1.Letter{Letter: &profilev1.Letter_Granted{
			Granted: &profilev1.IdentifierGranted{Identifier: r.hasher.ID(c.GetTenant(), c.GetIdentifier())},
		}}))
	}
	return out
}

func moved(row *profilev1.IdentifierRow, c *profilev1.ClaimIdentifier) *profilev1.IdentifierRow {
	next := row.CloneVT()
	if next == nil {
		next = &profilev1.IdentifierRow{Kind: c.GetIdentifier().GetKind()}
	}
	next.MovedFrom = next.GetProfileId()
	next.ProfileId, next.Since = c.GetProfileId(), c.GetAt()
	return next
}

// closed moves an identifier away from the profile that it made and closes that profile.
func closed(r *Rules, row *profilev1.IdentifierRow, own *profilev1.Profile, c *profilev1.ClaimIdentifier, m Moment) Change {
	out := Change{Row: moved(row, c)}
	if own == nil {
		return granted(r, c, out)
	}
	to := r.hasher.Partition(c.GetProfileId())
	d := r.open(own)
	d.out = out
	d.p.LinkedTo = c.GetProfileId()
	d.line(m.Now, "identity_linked", c.GetIdentifier().GetKind(), c.GetCause())
	linked := &profilev1.Linked{
		ProfileId: own.GetId(), Partition: uint32(r.hasher.Partition(own.GetId())), //nolint:gosec // at most 1024
		At: c.GetAt(), Cause: c.GetCause(), Identifier: r.hasher.ID(c.GetTenant(), c.GetIdentifier()),
	}
	if linked.Withdrawals, linked.Blocked = restrictions(own); len(linked.GetWithdrawals())+len(linked.GetBlocked()) > 0 {
		linked.Word = tellAt(out.Row, own.GetId(), c.GetProfileId())
	}
	d.out.Letters = append(d.out.Letters, answer(r, c, &profilev1.Letter{Letter: &profilev1.Letter_Linked{Linked: linked}}))
	for _, g := range own.GetGaps() {
		if g.GetClosesContact() { // what may be missing is a word of the person who goes on there
			d.out.Letters = append(d.out.Letters, tell(r, &profilev1.GapNoted{
				Tenant: c.GetTenant(), To: c.GetProfileId(), Gap: g, Word: tellAt(out.Row, own.GetId(), c.GetProfileId()),
			}))
		}
	}
	return d.close(&profilev1.Fact{Fact: &profilev1.Fact_IdentityLinked{IdentityLinked: &profilev1.IdentityLinked{
		ProfileId: own.GetId(), LinkedTo: c.GetProfileId(), Partition: uint32(to), Cause: c.GetCause(), //nolint:gosec // at most 1024
	}}})
}

// hasPerson says whether a person's identifier resolves to p.
func (r *Rules) hasPerson(p *profilev1.Profile) bool {
	for _, leaf := range p.GetLeaves() {
		for _, i := range leaf.GetIdentities() {
			if r.class(i.GetIdentifier().GetKind()) == event.ClassPerson {
				return true
			}
		}
	}
	return false
}

// Adopt notes in the claimant's profile that another one was closed in its favour, and takes over what that one
// was told not to do: its person goes on here. A claimant that is closed itself tells the profile that it was
// closed for. Contact at an address waits until the contact ledger of the closed profile has come, which follows by
// another way (package contact). Doing it again changes nothing.
func Adopt(r *Rules, p *profilev1.Profile, l *profilev1.Linked, m Moment) (Change, error) {
	if p == nil {
		return Change{}, fault.New(fault.NotFound, "adopt profile: the claimant does not exist")
	}
	if adopted(p, l.GetProfileId()) {
		return closeGap(r, p, m), nil
	}
	word, withdrawals, blocked, identifier := l.GetWord(), l.GetWithdrawals(), l.GetBlocked(), l.GetIdentifier()
	l = l.CloneVT()
	l.Word, l.Withdrawals, l.Blocked, l.Identifier = nil, nil, nil, nil
	d := r.open(hear(p, word))
	d.redriven(m.DeadLetter)
	d.decided(identifier)
	d.basis = true // its contact ledger is awaited
	d.p.Linked = append(d.p.GetLinked(), l)
	// Answers of several homes come in any order; the state must not show which.
	slices.SortFunc(d.p.GetLinked(), func(a, b *profilev1.Linked) int {
		return cmp.Or(a.GetAt().AsTime().Compare(b.GetAt().AsTime()), bytes.Compare(a.GetProfileId(), b.GetProfileId()))
	})
	d.line(m.Now, "identity_adopted", "", l.GetCause())
	d.restrict(withdrawals, blocked)
	if to := p.GetLinkedTo(); len(to) > 0 {
		onward := l.CloneVT()
		onward.Tenant, onward.To, onward.Word = p.GetTenant(), to, d.pass(word)
		onward.Withdrawals, onward.Blocked = withdrawals, blocked
		d.post(r.hasher.Partition(to), &profilev1.Letter{Letter: &profilev1.Letter_Linked{Linked: onward}})
	}
	return d.close(&profilev1.Fact{Fact: &profilev1.Fact_IdentityAdopted{IdentityAdopted: &profilev1.IdentityAdopted{Linked: l}}}), nil
}

// restrict takes over what another profile of the person was told not to do. A withdrawal stands unless a permission
// lifts it, and an address that may never be used again stays one.
func (d *draft) restrict(withdrawals []*profilev1.ConsentRecord, blocked []*profilev1.Endpoint) {
	for _, r := range withdrawals {
		d.permit(r)
	}
	for _, b := range blocked {
		i := slices.IndexFunc(d.leaf.GetEndpoints(), func(ep *profilev1.Endpoint) bool {
			return ep.GetChannel() == b.GetChannel() && ep.GetAddress() == b.GetAddress()
		})
		switch {
		case i < 0:
			d.leaf.Endpoints = append(d.leaf.GetEndpoints(), b.CloneVT())
		case d.leaf.GetEndpoints()[i].GetDoNotContact() == nil:
			d.leaf.Endpoints[i].DoNotContact = b.GetDoNotContact()
		default:
			continue
		}
		d.basis = true
	}
	slices.SortFunc(d.leaf.GetEndpoints(), compareEndpoints)
	for _, b := range blocked {
		d.forget(b.GetChannel(), current(d.leaf.GetEndpoints(), b.GetChannel()))
	}
}

// Lose takes an identity that stays with its owner away from the profile that had claimed it, and the address that
// it is: what is said about an address is said where its owner is, so nobody else is contacted there. If the owner
// is a profile that was closed for the claimant, nothing is lost.
func Lose(r *Rules, p *profilev1.Profile, c *profilev1.IdentityConflict, m Moment) (Change, error) {
	if p == nil {
		return Change{}, fault.New(fault.NotFound, "take identity back: the claimant does not exist")
	}
	if len(c.GetTo()) > 0 {
		return contested(r, p, c, m), nil
	}
	if adopted(p, c.GetOwner()) {
		d := r.open(p)
		d.redriven(m.DeadLetter)
		if !d.decided(c.GetIdentifier()) {
			return closeGap(r, p, m), nil
		}
		return d.close(), nil
	}
	d := r.open(p)
	d.redriven(m.DeadLetter)
	line := d.line(m.Now, "identity_conflict", c.GetKind(), c.GetCause())
	if i := d.lost(c); i >= 0 {
		id := d.leaf.GetIdentities()[i].GetIdentifier()
		line.Reasons = d.note(&profilev1.AddressConflict{
			Kind: c.GetKind(), Masked: Mask(id), Other: c.GetOwner(), Since: c.GetAt(), Cause: c.GetCause(), Identifier: c.GetIdentifier(),
		})
		d.unreach(id.GetValue())
		d.leaf.Identities = slices.Delete(d.leaf.GetIdentities(), i, i+1)
	}
	fact := c.CloneVT()
	fact.Identifier, fact.At = nil, nil
	d.conflict(fact)
	return d.close(), nil
}

// Grant notes in the claimant's profile that an address is its own. Doing it again changes nothing.
func Grant(r *Rules, p *profilev1.Profile, g *profilev1.IdentifierGranted, m Moment) (Change, error) {
	if p == nil {
		return Change{}, fault.New(fault.NotFound, "grant identifier: the claimant does not exist")
	}
	d := r.open(p)
	d.redriven(m.DeadLetter)
	if !d.decided(g.GetIdentifier()) {
		return closeGap(r, p, m), nil
	}
	return d.close(), nil
}

// decided notes that the claim on an identifier is decided in the profile's favour; false if it was before, or the
// profile has it no more.
func (d *draft) decided(identifier []byte) bool {
	for _, i := range d.leaf.GetIdentities() {
		if i.GetUndecided() && same(d.rules.hasher.ID(d.p.GetTenant(), i.GetIdentifier()), identifier) {
			i.Undecided, d.basis = false, true
			d.won(identifier)
			return true
		}
	}
	return false
}

// adopted says whether a profile was closed for p.
func adopted(p *profilev1.Profile, id []byte) bool {
	return slices.ContainsFunc(p.GetLinked(), func(l *profilev1.Linked) bool { return same(l.GetProfileId(), id) })
}

// lost finds the identity that a conflict is about. Letters of old do not name it: then it is the one that its
// owner made, else the last of its kind that the event linked.
func (d *draft) lost(c *profilev1.IdentityConflict) int {
	if len(c.GetIdentifier()) > 0 {
		return slices.IndexFunc(d.leaf.GetIdentities(), func(i *profilev1.Identity) bool {
			return same(d.rules.hasher.ID(d.p.GetTenant(), i.GetIdentifier()), c.GetIdentifier())
		})
	}
	found := -1
	for i, identity := range d.leaf.GetIdentities() {
		id := identity.GetIdentifier()
		if id.GetKind() != c.GetKind() {
			continue
		}
		if same(d.rules.hasher.ID(d.p.GetTenant(), id), c.GetOwner()) {
			return i
		}
		if identity.GetCause() == c.GetCause() {
			found = i
		}
	}
	return found
}

// UpdateAccount makes or updates an account's profile by a group call. Row and p may be nil.
func UpdateAccount(r *Rules, row *profilev1.IdentifierRow, p *profilev1.Profile, u *profilev1.AccountUpdate, m Moment) Change {
	id := r.hasher.ID(u.GetTenant(), u.GetAccount())
	if p == nil {
		p = newProfile(u.GetTenant(), id, event.ClassAccount)
	}
	d := r.open(p)
	d.redriven(m.DeadLetter)
	e := &eventv1.Event{
		Id: u.GetCause(), Tenant: u.GetTenant(), Type: "group", At: u.GetAt(), Traits: u.GetTraits(),
		Identifiers: []*eventv1.Identifier{u.GetAccount()},
	}
	if len(row.GetProfileId()) == 0 {
		d.out.Row = row.CloneVT()
		if d.out.Row == nil {
			d.out.Row = &profilev1.IdentifierRow{}
		}
		d.out.Row.Kind, d.out.Row.ProfileId, d.out.Row.Since = u.GetAccount().GetKind(), id, u.GetAt()
	}
	d.seen(u.GetAt())
	d.link(e, m.Now)
	d.publish(e, m.Now)
	if len(d.remarks) > 0 {
		d.line(m.Now, "values_quarantined", e.GetType(), e.GetId()).Reasons = d.remarks
	}
	return d.close()
}

// seen widens the time in which the profile was heard of.
func (d *draft) seen(at *timestamppb.Timestamp) {
	d.leaf.FirstSeen = earlier(d.leaf.GetFirstSeen(), at)
	d.leaf.LastSeen = later(d.leaf.GetLastSeen(), at)
}
