package profile

import (
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/event"
)

// ClosesContact says whether nobody may be contacted while the event is in the dead letters: it says
// something about permission.
func ClosesContact(e *eventv1.Event) bool {
	return e.GetKind() == eventv1.Kind_KIND_CONSENT ||
		e.GetOutcome().GetKind() == eventv1.OutcomeKind_OUTCOME_KIND_COMPLAINED
}

// MissArrival notes at its home that an event was given up. If nothing is known of the identifier, its
// profile is made, so that the gap is not forgotten. If the identifier resolves to another profile the
// gap cannot be told here, and nothing follows.
func MissArrival(r *Rules, a Arrival, deadLetter string) Change {
	home, err := HomeID(r.hasher, a.Event)
	if err != nil {
		return Change{}
	}
	owner := a.Row.GetProfileId()
	if len(owner) > 0 && !same(owner, home) {
		return Change{}
	}
	first := a.Event.GetIdentifiers()[0]
	if a.Profile == nil && first.GetKind() == event.KindProfile {
		return Change{}
	}
	p := a.Profile
	if p == nil {
		p = r.make(a.Event, home)
	}
	out := Miss(r, p, deadLetter, ClosesContact(a.Event))
	if len(owner) == 0 && first.GetKind() != event.KindProfile {
		out.Row = &profilev1.IdentifierRow{
			Kind: first.GetKind(), ProfileId: home, Since: a.Event.GetAt(), SeenDays: a.Row.GetSeenDays(),
		}
	}
	return out
}

// Miss notes in a profile that an input about it was given up. Nothing follows if there is no profile.
func Miss(r *Rules, p *profilev1.Profile, deadLetter string, closesContact bool) Change {
	if p == nil || hasGap(p, deadLetter) || len(p.GetGaps()) >= maxGaps && !closesContact {
		return Change{}
	}
	d := r.open(p)
	d.p.Gaps = append(d.p.GetGaps(), &profilev1.ProfileGap{DeadLetter: deadLetter, ClosesContact: closesContact})
	d.basis = true
	return d.close()
}

// MissLetter notes that a letter was given up, in the profile that it is about. A claim changes nothing
// that its own profile would have to know.
func MissLetter(r *Rules, l Mail, p *profilev1.Profile, deadLetter string) Change {
	switch k := l.Letter.GetLetter().(type) {
	case *profilev1.Letter_Forwarded:
		return Miss(r, p, deadLetter, ClosesContact(k.Forwarded.GetEvent()))
	case *profilev1.Letter_Linked, *profilev1.Letter_Conflict, *profilev1.Letter_Account:
		return Miss(r, p, deadLetter, false)
	}
	return Change{}
}
