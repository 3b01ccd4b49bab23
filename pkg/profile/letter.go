package profile

import (
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
)

// answer addresses l to the profile that made the claim c.
func answer(r *Rules, c *profilev1.ClaimIdentifier, l *profilev1.Letter) Posted {
	switch k := l.GetLetter().(type) {
	case *profilev1.Letter_Linked:
		k.Linked.Tenant, k.Linked.To = c.GetTenant(), c.GetProfileId()
	case *profilev1.Letter_Conflict:
		k.Conflict.Tenant = c.GetTenant()
	case *profilev1.Letter_Granted:
		k.Granted.Tenant, k.Granted.To = c.GetTenant(), c.GetProfileId()
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
	to := func(tenant string, id []byte) { m.Profile = identity.CustomerKey(tenant, id) }
	about := func(tenant string, id *eventv1.Identifier) {
		hash := h.ID(tenant, id)
		m.Row = identity.IdentifierKey(tenant, hash)
		to(tenant, hash)
	}
	switch k := l.GetLetter().(type) {
	case *profilev1.Letter_Forwarded:
		if len(k.Forwarded.GetEvent().GetIdentifiers()) == 0 {
			return Mail{}, fault.New(fault.Invalid, "open letter: a forwarded event without identifiers")
		}
		to(k.Forwarded.GetEvent().GetTenant(), k.Forwarded.GetProfileId())
	case *profilev1.Letter_Claim:
		if len(k.Claim.GetProfileId()) != identity.IDSize {
			return Mail{}, fault.New(fault.Invalid, "open letter: a claim of nobody")
		}
		about(k.Claim.GetTenant(), k.Claim.GetIdentifier())
	case *profilev1.Letter_Account:
		about(k.Account.GetTenant(), k.Account.GetAccount())
	case *profilev1.Letter_Linked:
		linked := k.Linked.CloneVT()
		to(linked.GetTenant(), linked.GetTo())
		linked.Tenant, linked.To = "", nil
		m.Letter = &profilev1.Letter{Letter: &profilev1.Letter_Linked{Linked: linked}}
	case *profilev1.Letter_Conflict:
		conflict := k.Conflict.CloneVT()
		to(conflict.GetTenant(), conflict.GetClaimant())
		if len(conflict.GetTo()) > 0 {
			to(conflict.GetTenant(), conflict.GetTo())
		}
		conflict.Tenant = ""
		m.Letter = &profilev1.Letter{Letter: &profilev1.Letter_Conflict{Conflict: conflict}}
	case *profilev1.Letter_Gap:
		to(k.Gap.GetTenant(), k.Gap.GetTo())
	case *profilev1.Letter_Closed:
		to(k.Closed.GetTenant(), k.Closed.GetTo())
	case *profilev1.Letter_Granted:
		to(k.Granted.GetTenant(), k.Granted.GetTo())
	case *profilev1.Letter_AliasAsked:
		if len(k.AliasAsked.GetProfileId()) != identity.IDSize {
			return Mail{}, fault.New(fault.Invalid, "open letter: an alias of nobody")
		}
		about(k.AliasAsked.GetTenant(), k.AliasAsked.GetPrevious())
	case *profilev1.Letter_AliasAnswered:
		if len(k.AliasAnswered.GetAsked().GetProfileId()) != identity.IDSize {
			return Mail{}, fault.New(fault.Invalid, "open letter: an alias of nobody")
		}
		to(k.AliasAnswered.GetAsked().GetTenant(), k.AliasAnswered.GetTo())
	default:
		return Mail{}, fault.New(fault.Invalid, "open letter: it says nothing that this stage knows")
	}
	if tenant, _, id, err := identity.ParseKey(m.Profile); err != nil || tenant == "" || len(id) != identity.IDSize {
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
	case *profilev1.Letter_Gap:
		return NoteGap(r, p, k.Gap, m)
	case *profilev1.Letter_Closed:
		return CloseGap(r, p, k.Closed, m)
	case *profilev1.Letter_Granted:
		return Grant(r, p, k.Granted, m)
	case *profilev1.Letter_AliasAsked:
		return AnswerAlias(r, row, k.AliasAsked), nil
	case *profilev1.Letter_AliasAnswered:
		return TakeAnswer(r, p, k.AliasAnswered, m)
	}
	return Change{}, fault.New(fault.Invalid, "deliver letter: it says nothing that this stage knows")
}
