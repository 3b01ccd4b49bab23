package profile

import (
	"slices"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
)

// ClosesContact says whether nobody may be contacted while the event is in the dead letters: it says
// something about permission.
func ClosesContact(e *eventv1.Event) bool {
	return e.GetKind() == eventv1.Kind_KIND_CONSENT ||
		e.GetOutcome().GetKind() == eventv1.OutcomeKind_OUTCOME_KIND_COMPLAINED
}

// closes says whether nobody may be contacted while an event about p is in the dead letters: it says something about
// permission, or would link an identifier to p, under which something may be said. The first one is what leads to p.
func closes(p *profilev1.Profile, e *eventv1.Event) bool {
	return ClosesContact(e) || slices.ContainsFunc(e.GetIdentifiers()[1:], func(id *eventv1.Identifier) bool { return !isKnownBy(p, id) })
}

func isKnownBy(p *profilev1.Profile, id *eventv1.Identifier) bool {
	return slices.ContainsFunc(p.GetLeaves(), func(l *profilev1.Leaf) bool {
		return slices.ContainsFunc(l.GetIdentities(), func(i *profilev1.Identity) bool {
			return i.GetIdentifier().GetKind() == id.GetKind() && i.GetIdentifier().GetValue() == id.GetValue()
		})
	})
}

// Missed says that an input was given up.
type Missed struct {
	// DeadLetter that it is now.
	DeadLetter string
	// Before is the dead letter that it was when it came back in vain: its gap goes on under the new name. Empty: none.
	Before string
}

// MissArrival notes at its home that an event was given up. If nothing is known of the identifier, its
// profile is made, so that the gap is not forgotten. If the identifier resolves to another profile, that
// one is told by letter.
func MissArrival(r *Rules, a Arrival, up Missed) Change {
	home, err := HomeID(r.hasher, a.Event)
	if err != nil {
		return Change{}
	}
	owner := a.Row.GetProfileId()
	if to := a.elsewhere(home); to != nil {
		links := len(a.Event.GetIdentifiers()) > 1 // what that profile is known by is not known here
		note := &profilev1.GapNoted{
			Tenant: a.Event.GetTenant(), To: to, Gap: &profilev1.ProfileGap{DeadLetter: up.DeadLetter, ClosesContact: links || ClosesContact(a.Event)},
		}
		out := Change{}
		if ClosesContact(a.Event) && a.Row != nil {
			out.Row = a.Row.CloneVT()
			note.Word = tellAt(out.Row, home, to)
		}
		out.Letters = []Posted{tell(r, note)}
		if up.Before != "" {
			out.Letters = append(out.Letters, filled(r, a.Event.GetTenant(), to, up.Before))
		}
		return out
	}
	first := a.Event.GetIdentifiers()[0]
	if a.Profile == nil && first.GetKind() == event.KindProfile {
		return Change{}
	}
	p := a.Profile
	if p == nil {
		p = r.make(a.Event, home)
	}
	out := Miss(r, p, up, closes(p, a.Event))
	if len(owner) == 0 && first.GetKind() != event.KindProfile {
		out.Row = &profilev1.IdentifierRow{
			Kind: first.GetKind(), ProfileId: home, Since: a.Event.GetAt(), SeenDays: a.Row.GetSeenDays(),
		}
	}
	return out
}

// Miss notes in a profile that an input about it was given up. Nothing follows if there is no profile. What does not
// close contact is noted as long as there are few; of what does, MaxClosing are named, and one more closes contact for
// good, since nothing would tell when the last of them was redriven.
func Miss(r *Rules, p *profilev1.Profile, up Missed, closesContact bool) Change {
	if p == nil || hasGap(p, up.DeadLetter) {
		return Change{}
	}
	d := r.open(p)
	changed := d.redriven(up.Before)
	switch g := (&profilev1.ProfileGap{DeadLetter: up.DeadLetter, ClosesContact: closesContact}); {
	case closesContact && gaps(d.p, true) >= MaxClosing:
		if g.DeadLetter = ""; gaps(d.p, true) == MaxClosing {
			d.p.Gaps = append(d.p.GetGaps(), g)
			changed = true
		}
	case closesContact || gaps(d.p, false) < maxGaps:
		d.p.Gaps = append(d.p.GetGaps(), g)
		changed = true
	}
	if !changed {
		return Change{}
	}
	d.basis = true
	return d.close()
}

// gaps counts those that close contact, or those that do not.
func gaps(p *profilev1.Profile, closing bool) (n int) {
	for _, g := range p.GetGaps() {
		if g.GetClosesContact() == closing {
			n++
		}
	}
	return n
}

// MissLetter notes that a letter was given up, in the profile that it is about; of a claim, in the claimant's.
func MissLetter(r *Rules, l Mail, p *profilev1.Profile, up Missed) Change {
	switch k := l.Letter.GetLetter().(type) {
	case *profilev1.Letter_Claim:
		return missClaim(r, k.Claim, up)
	case *profilev1.Letter_Forwarded:
		return missWord(r, p, given{up, k.Forwarded.GetWord(), closes(p, k.Forwarded.GetEvent())})
	case *profilev1.Letter_Linked: // without it p takes its own addresses for those of a stranger
		return missWord(r, p, given{up, k.Linked.GetWord(), true})
	case *profilev1.Letter_Gap:
		return missWord(r, p, given{up, k.Gap.GetWord(), k.Gap.GetGap().GetClosesContact()})
	case *profilev1.Letter_Conflict: // to the claimant, it may have taken away an address that is another customer's
		return Miss(r, p, up, len(k.Conflict.GetTo()) == 0)
	case *profilev1.Letter_Account, *profilev1.Letter_Granted, // an address stays undecided
		*profilev1.Letter_AliasAnswered: // a device stays unlinked
		return Miss(r, p, up, false)
	}
	return Change{}
}

// missClaim tells who claims an identifier that the claim was given up: what is withdrawn under the identifier, or was
// before, does not come there as long as nobody knows whose it is.
func missClaim(r *Rules, c *profilev1.ClaimIdentifier, up Missed) Change {
	out := Change{Letters: []Posted{tell(r, &profilev1.GapNoted{
		Tenant: c.GetTenant(), To: c.GetProfileId(), Gap: &profilev1.ProfileGap{DeadLetter: up.DeadLetter, ClosesContact: true},
	})}}
	if up.Before != "" {
		out.Letters = append(out.Letters, filled(r, c.GetTenant(), c.GetProfileId(), up.Before))
	}
	return out
}

// given is a letter that was given up: its dead letters, the word that it brought, and whether contact must wait
// for it.
type given struct {
	Missed

	word          *profilev1.Word
	closesContact bool
}

// missWord notes that a letter was given up, which may have brought a word about permission: then the gap closes
// contact in its place, also with the profile that a closed one is linked to.
func missWord(r *Rules, p *profilev1.Profile, up given) Change {
	if p == nil || up.word == nil {
		return Miss(r, p, up.Missed, up.closesContact)
	}
	out := Miss(r, hear(p, up.word), up.Missed, up.closesContact)
	if out.Profile == nil || len(p.GetLinkedTo()) == 0 {
		return out
	}
	d := &draft{rules: r, p: out.Profile, out: out}
	d.out.Letters = append(d.out.Letters, tell(r, &profilev1.GapNoted{
		Tenant: p.GetTenant(), To: p.GetLinkedTo(), Word: d.pass(up.word),
		Gap: &profilev1.ProfileGap{DeadLetter: up.DeadLetter, ClosesContact: up.closesContact},
	}))
	return d.out
}

// NoteGap notes in a profile an event that was given up before it could be forwarded. A closed profile
// tells the one that it was closed for.
func NoteGap(r *Rules, p *profilev1.Profile, l *profilev1.GapNoted, m Moment) (Change, error) {
	if p == nil {
		return Change{}, fault.New(fault.NotFound, "note gap: the profile does not exist")
	}
	next := hear(p, l.GetWord())
	if to := p.GetLinkedTo(); len(to) > 0 {
		onward := &profilev1.GapNoted{Tenant: l.GetTenant(), To: to, Gap: l.GetGap()}
		out := closeGap(r, p, m)
		if l.GetWord() != nil {
			d := r.open(next)
			d.redriven(m.DeadLetter)
			onward.Word = d.pass(l.GetWord())
			out = d.close()
		}
		out.Letters = append(out.Letters, tell(r, onward))
		return out, nil
	}
	noted := Miss(r, next, Missed{DeadLetter: l.GetGap().GetDeadLetter()}, l.GetGap().GetClosesContact())
	if noted.Profile == nil && next != p {
		noted = r.open(next).close()
	}
	if noted.Profile == nil {
		return closeGap(r, p, m), nil
	}
	if closed := closeGap(r, noted.Profile, m); closed.Profile != nil {
		return closed, nil
	}
	return noted, nil
}

// CloseGap removes a gap that NoteGap noted: the event was redriven. Doing it again changes nothing.
func CloseGap(r *Rules, p *profilev1.Profile, l *profilev1.GapClosed, m Moment) (Change, error) {
	if p == nil {
		return Change{}, fault.New(fault.NotFound, "close gap: the profile does not exist")
	}
	out := closeGap(r, p, Moment{Now: m.Now, DeadLetter: l.GetDeadLetter()})
	if to := p.GetLinkedTo(); len(to) > 0 {
		out.Letters = append(out.Letters, filled(r, l.GetTenant(), to, l.GetDeadLetter()))
	}
	return out, nil
}

// tell posts a gap to the profile that it is about.
func tell(r *Rules, g *profilev1.GapNoted) Posted {
	return Posted{Partition: r.hasher.Partition(g.GetTo()), Letter: &profilev1.Letter{Letter: &profilev1.Letter_Gap{Gap: g}}}
}

// filled posts to a profile that a gap it was told of is closed.
func filled(r *Rules, tenant string, to []byte, deadLetter string) Posted {
	return Posted{Partition: r.hasher.Partition(to), Letter: &profilev1.Letter{Letter: &profilev1.Letter_Closed{
		Closed: &profilev1.GapClosed{Tenant: tenant, To: to, DeadLetter: deadLetter},
	}}}
}
