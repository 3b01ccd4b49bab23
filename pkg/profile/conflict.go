package profile

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
)

// MaxConflicts bounds the addresses about which a profile notes that another customer names them too.
const MaxConflicts = 16

// tellOwner tells the owner of an identifier that another customer claims it.
func tellOwner(r *Rules, tenant string, c *profilev1.IdentityConflict, owner []byte) Posted {
	c = c.CloneVT()
	c.Tenant, c.To = tenant, owner
	return Posted{Partition: r.hasher.Partition(owner), Letter: &profilev1.Letter{Letter: &profilev1.Letter_Conflict{Conflict: c}}}
}

// contested notes in the owner's profile that another customer claims one of its identifiers. That it was noted before, or
// that there are too many, changes nothing. A closed profile tells the one that it was closed for.
func contested(r *Rules, p *profilev1.Profile, c *profilev1.IdentityConflict, m Moment) Change {
	if to := p.GetLinkedTo(); len(to) > 0 {
		out := closeGap(r, p, m)
		if !same(to, c.GetClaimant()) {
			out.Letters = append(out.Letters, tellOwner(r, p.GetTenant(), c, to))
		}
		return out
	}
	if adopted(p, c.GetClaimant()) || p.GetMoreConflicts() {
		return closeGap(r, p, m)
	}
	d := r.open(p)
	d.redriven(m.DeadLetter)
	at := slices.IndexFunc(d.leaf.GetIdentities(), func(i *profilev1.Identity) bool {
		return same(r.hasher.ID(p.GetTenant(), i.GetIdentifier()), c.GetIdentifier())
	})
	if at < 0 || d.noted(c.GetIdentifier(), c.GetClaimant()) >= 0 {
		return closeGap(r, p, m)
	}
	if len(d.p.GetConflicts()) >= MaxConflicts {
		d.p.MoreConflicts = true
		return d.close()
	}
	d.line(m.Now, "identity_conflict", c.GetKind(), c.GetCause()).Reasons = d.note(&profilev1.AddressConflict{
		Kind: c.GetKind(), Masked: Mask(d.leaf.GetIdentities()[at].GetIdentifier()), Other: c.GetClaimant(), Owned: true,
		Since: c.GetAt(), Cause: c.GetCause(), Identifier: c.GetIdentifier(),
	})
	return d.close()
}

// noted finds a conflict about an identifier with another profile; -1 if none is noted.
func (d *draft) noted(identifier, other []byte) int {
	return slices.IndexFunc(d.p.GetConflicts(), func(c *profilev1.AddressConflict) bool {
		return same(c.GetIdentifier(), identifier) && same(c.GetOther(), other)
	})
}

// note keeps a conflict, the earliest word of it, and says why contact at the address is not made. Of too many the oldest
// goes.
func (d *draft) note(c *profilev1.AddressConflict) []*reasonv1.Reason {
	if i := d.noted(c.GetIdentifier(), c.GetOther()); i >= 0 {
		return []*reasonv1.Reason{conflictReason(d.p.GetConflicts()[i])}
	}
	if len(d.p.GetConflicts()) >= MaxConflicts {
		d.p.Conflicts = slices.Delete(d.p.GetConflicts(), 0, 1)
	}
	d.p.Conflicts, d.basis = append(d.p.GetConflicts(), c), d.basis || !c.GetOwned()
	return []*reasonv1.Reason{conflictReason(c)}
}

// won ends the conflicts about an identifier that turned out to be this customer's.
func (d *draft) won(identifier []byte) {
	d.p.Conflicts = slices.DeleteFunc(d.p.GetConflicts(), func(c *profilev1.AddressConflict) bool {
		return !c.GetOwned() && same(c.GetIdentifier(), identifier)
	})
}

// unnamed ends the conflicts about a kind of address that this customer names no more.
func (d *draft) unnamed(kind string) {
	before := len(d.p.GetConflicts())
	d.p.Conflicts = slices.DeleteFunc(d.p.GetConflicts(), func(c *profilev1.AddressConflict) bool { return !c.GetOwned() && c.GetKind() == kind })
	d.basis = d.basis || len(d.p.GetConflicts()) != before
}

// conflictReason says whose an address is, and since when two name it.
func conflictReason(c *profilev1.AddressConflict) *reasonv1.Reason {
	since := c.GetSince().AsTime().Format(time.RFC3339)
	why := &reasonv1.Reason{
		Code:     reasonv1.Code_CODE_ADDRESS_CONFLICT,
		Evidence: []string{"the customer's " + c.GetKind() + " is that of profile " + text(c.GetOther()) + ", who named it before; named by both since " + since},
		Remedy:   "send an identify with an address of this customer's own",
	}
	if c.GetOwned() {
		why.Evidence = []string{"profile " + text(c.GetOther()) + " names this customer's " + c.GetKind() + " too, since " + since + "; it stays here"}
		why.Remedy = "find out whose address it is; the other customer is not contacted there"
	}
	return why
}

// missing says why there is no address of a kind: the newest conflict about one, else that it cannot be one.
func missing(p *profilev1.Profile) []*decisionv1.AddressMissing {
	var out []*decisionv1.AddressMissing
	for _, c := range slices.Backward(p.GetConflicts()) {
		if !c.GetOwned() && !slices.ContainsFunc(out, func(m *decisionv1.AddressMissing) bool { return m.GetKind() == c.GetKind() }) {
			out = append(out, &decisionv1.AddressMissing{Kind: c.GetKind(), Reason: conflictReason(c)})
		}
	}
	return append(out, unusableAddresses(p)...)
}

// Mask is an identifier's value so that who knows it recognises it, and nobody else learns it: the first sign of an address
// with its domain, the last two digits of anything else.
func Mask(id *eventv1.Identifier) string {
	value := id.GetValue()
	local, domain, mail := strings.Cut(value, "@")
	if mail {
		_, n := utf8.DecodeRuneInString(local)
		return local[:n] + "…@" + domain
	}
	runes := []rune(value)
	if len(runes) < 6 {
		return "…"
	}
	return "…" + string(runes[len(runes)-2:])
}
