package profile

import (
	"strings"

	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
)

// An answer must reach the claimant's row, and the contract of the answers has no field for its key. So
// on the way, and only there, their cause is "<key of the claimant> <event>".

// answer addresses l to the profile that made the claim c.
func answer(r *Rules, c *profilev1.ClaimIdentifier, l *profilev1.Letter) Posted {
	cause := identity.CustomerKey(c.GetTenant(), c.GetProfileId()) + " " + c.GetCause()
	switch k := l.GetLetter().(type) {
	case *profilev1.Letter_Linked:
		k.Linked.Cause = cause
	case *profilev1.Letter_Conflict:
		k.Conflict.Cause = cause
	}
	return Posted{Partition: r.hasher.Partition(c.GetProfileId()), Letter: l}
}

// Mail is a letter that was opened: the key of the profile that it is about, and what it says, with the
// address taken off. A claim or account update is also about the identifier in Row.
type Mail struct {
	// Profile is the key of the profile's row.
	Profile string
	// Row is the key of the identifier's row; empty if there is none.
	Row string
	// Letter is what it says.
	Letter *profilev1.Letter
}

// Open reads a letter. One that is addressed to nobody is an error.
func Open(h identity.Hasher, l *profilev1.Letter) (Mail, error) {
	m := Mail{Letter: l}
	switch k := l.GetLetter().(type) {
	case *profilev1.Letter_Forwarded:
		if len(k.Forwarded.GetProfileId()) != identity.IDSize || len(k.Forwarded.GetEvent().GetIdentifiers()) == 0 {
			return Mail{}, fault.New(fault.Invalid, "open letter: a forwarded event without profile or identifiers")
		}
		m.Profile = identity.CustomerKey(k.Forwarded.GetEvent().GetTenant(), k.Forwarded.GetProfileId())
	case *profilev1.Letter_Claim:
		if len(k.Claim.GetProfileId()) != identity.IDSize {
			return Mail{}, fault.New(fault.Invalid, "open letter: a claim of nobody")
		}
		id := h.ID(k.Claim.GetTenant(), k.Claim.GetIdentifier())
		m.Row, m.Profile = identity.IdentifierKey(k.Claim.GetTenant(), id), identity.CustomerKey(k.Claim.GetTenant(), id)
	case *profilev1.Letter_Account:
		id := h.ID(k.Account.GetTenant(), k.Account.GetAccount())
		m.Row, m.Profile = identity.IdentifierKey(k.Account.GetTenant(), id), identity.CustomerKey(k.Account.GetTenant(), id)
	case *profilev1.Letter_Linked:
		linked := k.Linked.CloneVT()
		m.Profile, linked.Cause, _ = strings.Cut(k.Linked.GetCause(), " ")
		m.Letter = &profilev1.Letter{Letter: &profilev1.Letter_Linked{Linked: linked}}
	case *profilev1.Letter_Conflict:
		conflict := k.Conflict.CloneVT()
		m.Profile, conflict.Cause, _ = strings.Cut(k.Conflict.GetCause(), " ")
		m.Letter = &profilev1.Letter{Letter: &profilev1.Letter_Conflict{Conflict: conflict}}
	default:
		return Mail{}, fault.New(fault.Invalid, "open letter: it says nothing that this stage knows")
	}
	if _, _, _, err := identity.ParseKey(m.Profile); err != nil {
		return Mail{}, fault.New(fault.Invalid, "open letter: it is addressed to no profile")
	}
	return m, nil
}

// Deliver decides what follows from a letter. Row and p are the rows that Open named; either may be nil.
func Deliver(r *Rules, l Mail, row *profilev1.IdentifierRow, p *profilev1.Profile, m Moment) (Change, error) {
	switch k := l.Letter.GetLetter().(type) {
	case *profilev1.Letter_Forwarded:
		return Forwarded(r, p, k.Forwarded, m)
	case *profilev1.Letter_Claim:
		return Claim(r, row, p, k.Claim, m), nil
	case *profilev1.Letter_Account:
		return UpdateAccount(r, row, p, k.Account, m), nil
	case *profilev1.Letter_Linked:
		return Adopt(r, p, k.Linked, m)
	case *profilev1.Letter_Conflict:
		return Lose(r, p, k.Conflict, m)
	}
	return Change{}, fault.New(fault.Invalid, "deliver letter: it says nothing that this stage knows")
}
