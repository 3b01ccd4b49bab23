package profile

import (
	"slices"

	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/consent"
	"refrain.dev/pkg/identity"
)

// What somebody says about permission under an identifier that resolves to a profile of another partition is
// acknowledged at the identifier's home and takes effect at the profile's: until its letter has come, the
// profile permits what was withdrawn. So whoever passes such a word on counts it, and the profile notes the
// number that has come. Whoever is about to contact the customer compares the two (Pending); a count that is
// ahead means that a word is on its way.

const (
	// maxTold is how many profiles a teller remembers to have told, the latest ones. A device that more persons
	// have used than that, all within the time that a letter takes, is not thought of.
	maxTold = 64
	// maxHeard is how many tellers a profile remembers, the latest ones; there are no more than it has
	// identifiers and closed profiles.
	maxHeard = 256
)

// count counts one more word to a profile: numbers rise over all profiles that are told.
func count(told []*profilev1.Word, to []byte) ([]*profilev1.Word, uint64) {
	n := uint64(1)
	for _, w := range told {
		n = max(n, w.GetNumber()+1)
	}
	next := slices.DeleteFunc(slices.Clone(told), func(w *profilev1.Word) bool { return same(w.GetOf(), to) })
	next = append(next, &profilev1.Word{Of: to, Number: n})
	return next[max(0, len(next)-maxTold):], n
}

// tellAt counts a word that is passed on at an identifier's row.
func tellAt(row *profilev1.IdentifierRow, id, to []byte) *profilev1.Word {
	list, n := count(row.GetTold(), to)
	row.Told = list
	return &profilev1.Word{Of: id, Number: n}
}

// pass counts a word that a closed profile passes on, if there is one.
func (d *draft) pass(word *profilev1.Word) *profilev1.Word {
	if word == nil {
		return nil
	}
	list, n := count(d.p.GetTold(), d.p.GetLinkedTo())
	d.p.Told = list
	return &profilev1.Word{Of: d.p.GetId(), Closed: true, Number: n}
}

// hear notes in a copy of p that a word has come, if there is one that is newer.
func hear(p *profilev1.Profile, word *profilev1.Word) *profilev1.Profile {
	if word == nil || heard(p, word) >= word.GetNumber() {
		return p
	}
	p = p.CloneVT()
	p.Heard = slices.DeleteFunc(p.GetHeard(), func(w *profilev1.Word) bool { return sameTeller(w, word) })
	p.Heard = append(p.GetHeard(), word.CloneVT())
	p.Heard = p.Heard[max(0, len(p.Heard)-maxHeard):]
	return p
}

func heard(p *profilev1.Profile, of *profilev1.Word) uint64 {
	for _, w := range p.GetHeard() {
		if sameTeller(w, of) {
			return w.GetNumber()
		}
	}
	return 0
}

func sameTeller(a, b *profilev1.Word) bool {
	return a.GetClosed() == b.GetClosed() && same(a.GetOf(), b.GetOf())
}

func told(list []*profilev1.Word, to []byte) uint64 {
	for _, w := range list {
		if same(w.GetOf(), to) {
			return w.GetNumber()
		}
	}
	return 0
}

// Teller is a place at which words for a profile are passed on: the row of an identifier and the row of the
// profile that the identifier made, which have the same hash and the same home.
type Teller struct {
	// ID is the identifier's hash.
	ID []byte
	// Row and Profile as they are there; nil if there is none.
	Row     *profilev1.IdentifierRow
	Profile *profilev1.Profile
	// Address says that it is an address at which the customer is reached.
	Address bool
}

// Tellers are all places at which a word for p may be passed on directly: its identifiers and the profiles that
// were closed for it, still without what is there. The home of p itself is not among them.
func Tellers(h identity.Hasher, p *profilev1.Profile) []Teller {
	var all []Teller
	add := func(id []byte, address bool) {
		if !same(id, p.GetId()) && !slices.ContainsFunc(all, func(known Teller) bool { return same(known.ID, id) }) {
			all = append(all, Teller{ID: id, Address: address})
		}
	}
	for _, leaf := range p.GetLeaves() {
		for _, i := range leaf.GetIdentities() {
			if id, err := IdentifierID(h, p.GetTenant(), i.GetIdentifier()); err == nil {
				add(id, reachedAt(leaf, i.GetIdentifier().GetValue()))
			}
		}
	}
	for _, l := range p.GetLinked() {
		add(l.GetProfileId(), false)
	}
	return all
}

func reachedAt(leaf *profilev1.Leaf, address string) bool {
	return slices.ContainsFunc(leaf.GetEndpoints(), func(ep *profilev1.Endpoint) bool { return ep.GetAddress() == address })
}

// Leads says whether what the teller's profile is told may come to p: it was closed for p, or that is not decided
// yet. Then its own tellers matter too.
func (t Teller) Leads(p *profilev1.Profile) bool {
	return t.Profile != nil && (same(t.Profile.GetLinkedTo(), p.GetId()) || t.undecided())
}

// undecided says whether the identifier still resolves to the profile that it made, whoever claims it.
func (t Teller) undecided() bool {
	return same(t.Row.GetProfileId(), t.ID) && len(t.Profile.GetLinkedTo()) == 0
}

// Pending says whether a word about permission may be on its way from the teller to p, which claims the teller's
// identifier: one was passed on and has not come; or the claim has not been decided, and the profile that has the
// identifier has been told no; or it is an address that somebody else has, who alone hears what is said about it,
// and p does not know that yet. If p lost that letter, contact with it is closed.
func (t Teller) Pending(p *profilev1.Profile) bool {
	at, closed := &profilev1.Word{Of: t.ID}, &profilev1.Word{Of: t.ID, Closed: true}
	if told(t.Row.GetTold(), p.GetId()) > heard(p, at) || told(t.Profile.GetTold(), p.GetId()) > heard(p, closed) {
		return true
	}
	if t.Address && t.anothers(p) && Closed(p) == nil {
		return true
	}
	return t.undecided() && restricts(t.Profile)
}

// anothers says whether the identifier resolves to a profile that is neither p, nor the one that it made itself, nor
// one that was closed for p.
func (t Teller) anothers(p *profilev1.Profile) bool {
	owner := t.Row.GetProfileId()
	return len(owner) > 0 && !same(owner, p.GetId()) && !same(owner, t.ID) && !adopted(p, owner)
}

// restricts says whether a profile holds anything that closes contact.
func restricts(p *profilev1.Profile) bool {
	withdrawals, blocked := restrictions(p)
	closing := slices.ContainsFunc(p.GetGaps(), func(g *profilev1.ProfileGap) bool { return g.GetClosesContact() })
	return closing || len(withdrawals) > 0 || len(blocked) > 0
}

// restrictions are the withdrawals and the addresses never to be used again that a profile holds.
func restrictions(p *profilev1.Profile) (withdrawals []*profilev1.ConsentRecord, blocked []*profilev1.Endpoint) {
	for _, r := range Consents(p) {
		if consent.Withdraws(r) {
			withdrawals = append(withdrawals, r)
		}
	}
	for _, leaf := range p.GetLeaves() {
		for _, ep := range leaf.GetEndpoints() {
			if ep.GetDoNotContact() != nil {
				blocked = append(blocked, ep)
			}
		}
	}
	return withdrawals, blocked
}
