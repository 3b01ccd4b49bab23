package profile

import (
	"encoding/hex"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
)

// Arrival is an event at the home of its strongest identifier, with what is known there.
type Arrival struct {
	// Event as it came.
	Event *eventv1.Event
	// ReceivedAt is when ingest took it.
	ReceivedAt time.Time
	// StoredAt is when the broker stored it, and Sequence and Index where in its lane; zero if it came back from the
	// dead letters.
	StoredAt time.Time
	Sequence uint64
	Index    uint32
	// Row of the strongest identifier; nil if it is new.
	Row *profilev1.IdentifierRow
	// Profile that this identifier makes or made, which need not be the one it resolves to; nil if none.
	Profile *profilev1.Profile
	// Seen says that the event's id came before within the dedupe horizon.
	Seen bool
}

// HomeID is the id that an event is stored under: the hash of its strongest identifier, or the profile
// itself if the event addresses one directly. An event without a usable identifier is an error.
func HomeID(h identity.Hasher, e *eventv1.Event) ([]byte, error) {
	if len(e.GetIdentifiers()) == 0 || e.GetTenant() == "" || e.GetAt() == nil {
		return nil, fault.New(fault.Invalid, "read event: tenant, time or identifiers are missing")
	}
	return IdentifierID(h, e.GetTenant(), e.GetIdentifiers()[0])
}

// IdentifierID is the hash of an identifier, or the id it spells out if it addresses a profile directly.
func IdentifierID(h identity.Hasher, tenant string, id *eventv1.Identifier) ([]byte, error) {
	if id.GetKind() != event.KindProfile {
		return h.ID(tenant, id), nil
	}
	raw, err := hex.DecodeString(id.GetValue())
	if err != nil || len(raw) != identity.IDSize {
		return nil, fault.New(fault.Invalid, "read identifier: a profile id has %d hex digits", 2*identity.IDSize)
	}
	return raw, nil
}

// Keys names the rows and sets that Receive looks at.
type Keys struct {
	// Row of the identifier and Profile that it makes.
	Row, Profile string
	// Seen are the sets in which the event's id may be.
	Seen []string
}

// KeysOf names what an arrival needs that is judged at now.
func KeysOf(h identity.Hasher, a Arrival, now time.Time) (Keys, error) {
	id, err := HomeID(h, a.Event)
	if err != nil {
		return Keys{}, err
	}
	k := Keys{Row: identity.IdentifierKey(a.Event.GetTenant(), id), Profile: identity.CustomerKey(a.Event.GetTenant(), id)}
	for _, d := range SeenDays(now) {
		k.Seen = append(k.Seen, SeenSet(k.Row, d))
	}
	return k, nil
}

// Receive judges an event at its home. A repeat has no effect. An identifier that resolves to the
// profile made here has the event applied; one that is new makes the profile; one that resolves to
// another profile has the event forwarded by letter, wherever that profile lives, so that forwarded and
// direct events cannot overtake each other.
func Receive(r *Rules, a Arrival, m Moment) (Change, error) {
	home, err := HomeID(r.hasher, a.Event)
	if err != nil {
		return Change{}, err
	}
	if a.Seen {
		return refilled(r, a, home, closeGap(r, a.Profile, m), m), nil
	}
	a.Event = bounded(a.Event, a.ReceivedAt, m.Now)
	row, owner, err := resolve(a, home)
	if err != nil {
		return Change{}, err
	}
	dropped := see(row, m.Now)
	if ClosesContact(a.Event) {
		m.Arrived = a.arrived(home)
	}
	var out Change
	if same(owner, home) {
		p := a.Profile
		if p == nil {
			p = r.make(a.Event, home)
		}
		out, err = Apply(r, p, a.Event, m)
	} else {
		out = closeGap(r, a.Profile, m)
		letter := &profilev1.ForwardedEvent{ProfileId: owner, Event: a.Event, Arrived: m.Arrived}
		if ClosesContact(a.Event) {
			letter.Word = tellAt(row, home, owner)
		}
		out.Letters = append(out.Letters, forward(r, letter))
		out = refilled(r, a, home, out, m)
	}
	if err != nil {
		return Change{}, err
	}
	out.SeenOn, out.DroppedDays = DayOf(m.Now), dropped
	if !row.EqualVT(a.Row) {
		out.Row = row
	}
	return out, nil
}

// arrived says when and where an event came in, for its home to pass on.
func (a Arrival) arrived(home []byte) *profilev1.Arrived {
	out := &profilev1.Arrived{ReceivedAt: timestamppb.New(a.ReceivedAt), Under: home, Sequence: a.Sequence, Index: a.Index}
	if !a.StoredAt.IsZero() {
		out.StoredAt = timestamppb.New(a.StoredAt)
	}
	return out
}

// bounded is an event that happened no later than it arrived, and than it is now: neither a publisher's clock nor
// ingest's may make what is known today outlast what is said tomorrow. What was claimed is kept.
func bounded(e *eventv1.Event, received, now time.Time) *eventv1.Event {
	latest := received
	if now.Before(latest) {
		latest = now
	}
	if !e.GetAt().AsTime().After(latest) {
		return e
	}
	e = e.CloneVT()
	if e.GetClaimedAt() == nil && !e.GetAt().AsTime().Equal(received) { // else it is ingest's own word
		e.ClaimedAt = e.GetAt()
	}
	e.At = timestamppb.New(latest)
	return e
}

// refilled adds to the change by a redriven event that its gap is closed, if another profile was told of it.
func refilled(r *Rules, a Arrival, home []byte, out Change, m Moment) Change {
	if to := a.elsewhere(home); to != nil && m.DeadLetter != "" {
		out.Letters = append(out.Letters, filled(r, a.Event.GetTenant(), to, m.DeadLetter))
	}
	return out
}

// elsewhere is the profile to which the strongest identifier resolves: whoever claimed it last, or for whom the
// profile that it made was closed; nil if it is that profile itself, or nobody.
func (a Arrival) elsewhere(home []byte) []byte {
	if owner := a.Row.GetProfileId(); len(owner) > 0 && !same(owner, home) {
		return owner
	}
	if to := a.Profile.GetLinkedTo(); len(to) > 0 {
		return to
	}
	return nil
}

// resolve says to which profile the strongest identifier resolves and returns a row to change.
func resolve(a Arrival, home []byte) (*profilev1.IdentifierRow, []byte, error) {
	first := a.Event.GetIdentifiers()[0]
	row := a.Row.CloneVT()
	if row == nil {
		row = &profilev1.IdentifierRow{}
	}
	switch {
	case len(row.GetProfileId()) > 0:
	case first.GetKind() == event.KindProfile && a.Profile == nil:
		return nil, nil, fault.New(fault.NotFound, "apply event: nobody has the profile that it addresses")
	default:
		row.ProfileId, row.Since = home, a.Event.GetAt()
		if first.GetKind() != event.KindProfile {
			row.Kind = first.GetKind()
		}
	}
	owner := a.elsewhere(home)
	if owner == nil {
		owner = row.GetProfileId()
	}
	return row, owner, nil
}

// make returns the empty profile that an identifier creates.
func (r *Rules) make(e *eventv1.Event, id []byte) *profilev1.Profile {
	return newProfile(e.GetTenant(), id, r.class(e.GetIdentifiers()[0].GetKind()))
}

func newProfile(tenant string, id []byte, c event.Class) *profilev1.Profile {
	class := profilev1.Class_CLASS_CUSTOMER
	if c == event.ClassAccount {
		class = profilev1.Class_CLASS_ACCOUNT
	}
	return &profilev1.Profile{Tenant: tenant, Id: id, Class: class, Leaves: []*profilev1.Leaf{{ProfileId: id}}}
}

// Forwarded applies an event that was forwarded to the profile p, or forwards it again if p is closed. Whether a
// redriven one has taken effect already is not asked here: not every gap has a mark in the profile.
func Forwarded(r *Rules, p *profilev1.Profile, l *profilev1.ForwardedEvent, m Moment) (Change, error) {
	if p == nil {
		return Change{}, fault.New(fault.NotFound, "apply forwarded event: the profile does not exist")
	}
	next := hear(p, l.GetWord())
	m.Arrived = l.GetArrived()
	if len(p.GetLinkedTo()) == 0 {
		return Apply(r, next, l.GetEvent(), m)
	}
	onward := &profilev1.ForwardedEvent{ProfileId: p.GetLinkedTo(), Event: l.GetEvent(), Arrived: l.GetArrived()}
	if l.GetWord() == nil {
		out := closeGap(r, p, m)
		out.Letters = append(out.Letters, forward(r, onward))
		return out, nil
	}
	d := r.open(next)
	d.redriven(m.DeadLetter)
	onward.Word = d.pass(l.GetWord())
	d.out.Letters = append(d.out.Letters, forward(r, onward))
	return d.close(), nil
}

func forward(r *Rules, f *profilev1.ForwardedEvent) Posted {
	return Posted{Partition: r.hasher.Partition(f.GetProfileId()), Letter: &profilev1.Letter{Letter: &profilev1.Letter_Forwarded{Forwarded: f}}}
}

// closeGap removes the gap of a redriven input from a profile that the input does not change otherwise.
func closeGap(r *Rules, p *profilev1.Profile, m Moment) Change {
	if p == nil || !hasGap(p, m.DeadLetter) {
		return Change{}
	}
	d := r.open(p)
	d.redriven(m.DeadLetter)
	return d.close()
}
