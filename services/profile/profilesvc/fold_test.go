package profilesvc

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/stage"
)

func hexOf(id []byte) string { return hex.EncodeToString(id) }

func want[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestAnonymousPastStaysAndTheKnownProfileHasWhatFollows(t *testing.T) {
	for _, partitions := range []int{1, 32} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) {
			m := newMesh(t, partitions)
			m.publish(
				track("a1", 0, anon("d")),
				track("a2", 1, anon("d")),
				identify("i1", 2, user("u"), anon("d")),
				track("t1", 3, user("u"), anon("d")),
				track("t2", 4, anon("d")),
			)
			known, past := m.made(user("u")), m.made(anon("d"))
			want(t, "events of the known profile", m.applied(known), []string{"i1", "t1", "t2"})
			want(t, "events of the anonymous past", m.applied(past), []string{"a1", "a2"})
			want(t, "anonymous resolves to", m.owner(anon("d")).GetId(), known.GetId())
			want(t, "user resolves to", m.owner(user("u")).GetId(), known.GetId())
			want(t, "past is closed for", past.GetLinkedTo(), known.GetId())
			want(t, "past keeps its orders", trait(past, "orders"), event.Integer(2))
			want(t, "known counts its own", trait(known, "orders"), event.Integer(2))
			want(t, "facts of the past", m.kinds(past), []string{"identifier_linked", "event_applied", "event_applied", "identity_linked"})
			if len(known.GetLinked()) != 1 || string(known.GetLinked()[0].GetProfileId()) != string(past.GetId()) || known.GetLinked()[0].GetCause() != "i1" {
				t.Errorf("known profile has linked %v, want the past by i1", known.GetLinked())
			}
			want(t, "contact with the past", profile.Basis(past, nil).GetClosed().GetCode(), reasonv1.Code_CODE_IDENTITY_LINKED)
			if len(m.marks) > 0 {
				t.Errorf("identifier cells with facts: %v", m.marks)
			}
		})
	}
}

func trait(p *profilev1.Profile, name string) *eventv1.Value {
	for _, tr := range profile.Traits(p) {
		if tr.GetName() == name {
			return tr.GetValue()
		}
	}
	return nil
}

func TestAnEventThatRacedTheLinkStaysWithTheAnonymousPast(t *testing.T) {
	m := newMesh(t, 32)
	m.publish(track("a1", 0, anon("d")))
	m.held = true
	m.publish(identify("i1", 1, user("u"), anon("d")), track("a2", 1, anon("d")))
	m.held = false
	m.settle()
	m.publish(track("a3", 2, anon("d")))
	want(t, "past", m.applied(m.made(anon("d"))), []string{"a1", "a2"})
	want(t, "known", m.applied(m.made(user("u"))), []string{"i1", "a3"})
}

func TestARepeatHasOneEffectForTheHorizon(t *testing.T) {
	m := newMesh(t, 8)
	again := func(id string, day int) *eventv1.Event {
		e := track(id, 0, user("u"))
		e.ReceivedAt = timestamppb.New(start.AddDate(0, 0, day))
		return e
	}
	m.clock = func(e *eventv1.Event) time.Time { return e.GetReceivedAt().AsTime() }
	m.publish(again("x", 0), again("x", 0), again("x", 2), again("x", 3))
	want(t, "within 72 hours", m.applied(m.made(user("u"))), []string{"x"})
	m.publish(again("y", 4))
	key := identity.IdentifierKey(tenant, m.hasher.ID(tenant, user("u")))
	home := m.hasher.Home(tenant, user("u"))
	if set := m.sets[home][profile.SeenSet(key, profile.DayOf(start))]; set != nil {
		t.Errorf("the first day's set is still there: %v", set)
	}
	want(t, "sets left", len(m.sets[home]), 1)
}

// The days of the horizon are those of the recorded time: an arrival that a replica of ingest stamped wrongly makes
// nothing forgotten, and its own repeats are recognised.
func TestAnIngestClockThatIsOffForgetsNothing(t *testing.T) {
	for _, days := range []int{4, -4, 400} {
		m := newMesh(t, 8)
		home := m.hasher.Home(tenant, user("u"))
		at := func(id string, day int) {
			t.Helper()
			e := track(id, 0, user("u"))
			e.ReceivedAt = timestamppb.New(start.AddDate(0, 0, day))
			if err := m.step(home, laneInput(t, e, stage.FromLane, ""), start.Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		at("x", 0)
		at("y", days)
		at("x", 0)
		at("y", 0)
		want(t, "applied", m.applied(m.made(user("u"))), []string{"x", "y"})
	}
}

func TestARepeatOfAForwardedEventHasOneEffect(t *testing.T) {
	m := newMesh(t, 8)
	m.publish(identify("i1", 0, user("u"), anon("d")), track("t1", 1, anon("d")), track("t1", 1, anon("d")))
	want(t, "applied", m.applied(m.made(user("u"))), []string{"i1", "t1"})
}

func TestASharedDeviceBelongsToTheLastLogin(t *testing.T) {
	m := newMesh(t, 32)
	m.publish(
		identify("i1", 0, user("u1"), anon("d")), track("t1", 1, anon("d")),
		identify("i2", 2, user("u2"), anon("d")), track("t2", 3, anon("d")),
		identify("i3", 4, user("u1"), anon("d")), track("t3", 5, anon("d")),
	)
	want(t, "u1", m.applied(m.made(user("u1"))), []string{"i1", "t1", "i3", "t3"})
	want(t, "u2", m.applied(m.made(user("u2"))), []string{"i2", "t2"})
	for _, u := range []string{"u1", "u2"} {
		if p := m.made(user(u)); len(p.GetLinkedTo()) > 0 || len(p.GetLinked()) > 0 {
			t.Errorf("%s was linked: to %x, has %v", u, p.GetLinkedTo(), p.GetLinked())
		}
	}
}

func TestASharedDeviceWithAnAnonymousPastBelongsToTheLastLoginToo(t *testing.T) {
	m := newMesh(t, 32)
	m.publish(
		track("a1", 0, anon("d")),
		identify("i1", 1, user("u1"), anon("d")), track("t1", 2, anon("d")),
		identify("i2", 3, user("u2"), anon("d")), track("t2", 4, anon("d")),
	)
	want(t, "past", m.applied(m.made(anon("d"))), []string{"a1"})
	want(t, "past is closed for", m.made(anon("d")).GetLinkedTo(), m.made(user("u1")).GetId())
	want(t, "u1", m.applied(m.made(user("u1"))), []string{"i1", "t1"})
	want(t, "u2", m.applied(m.made(user("u2"))), []string{"i2", "t2"})
}

// Two devices that are named together in both orders at once do not close each other's profiles in a ring.
func TestTwoDevicesThatClaimEachOtherHaveOneProfile(t *testing.T) {
	m := newMesh(t, 32)
	m.publish(track("a1", 0, anon("d1")), track("a2", 0, anon("d2")))
	m.held = true
	m.publish(
		happened("al1", eventv1.Kind_KIND_ALIAS, "alias", 1, anon("d1"), anon("d2")),
		happened("al2", eventv1.Kind_KIND_ALIAS, "alias", 1, anon("d2"), anon("d1")),
	)
	m.held = false
	m.settle()
	m.publish(track("t1", 2, anon("d1")), track("t2", 3, anon("d2")))
	one := m.owner(anon("d1"))
	want(t, "both resolve to", m.owner(anon("d2")).GetId(), one.GetId())
	want(t, "its last events", m.applied(one)[len(m.applied(one))-2:], []string{"t1", "t2"})
}

func TestALateLoginDoesNotTakeTheDevice(t *testing.T) {
	m := newMesh(t, 32)
	m.publish(identify("i1", 5, user("u1"), anon("d")), identify("i0", 1, user("u2"), anon("d")))
	want(t, "owner", m.owner(anon("d")).GetId(), m.made(user("u1")).GetId())
	want(t, "identities of the late one", len(m.made(user("u2")).GetLeaves()[0].GetIdentities()), 1)
}

func TestAnAddressOfAnotherPersonIsAConflict(t *testing.T) {
	m := newMesh(t, 32)
	m.publish(
		identify("i1", 0, user("u1"), email("a@x.example")),
		identify("i2", 1, user("u2"), email("a@x.example")),
	)
	u1, u2 := m.made(user("u1")), m.made(user("u2"))
	want(t, "owner", m.owner(email("a@x.example")).GetId(), u1.GetId())
	want(t, "facts of u2", m.kinds(u2), []string{"identifier_linked", "identifier_linked", "basis_changed", "event_applied", "identity_conflict", "basis_changed"})
	last := m.facts[identity.CustomerKey(tenant, u2.GetId())][4].GetIdentityConflict()
	want(t, "conflict", last, &profilev1.IdentityConflict{Kind: "email", Owner: u1.GetId(), Claimant: u2.GetId(), Cause: "i2"})
	want(t, "identities of u2", len(u2.GetLeaves()[0].GetIdentities()), 1)
	want(t, "where u1 and u2 are reached", []int{len(profile.Endpoints(u1)), len(profile.Endpoints(u2))}, []int{1, 0})
}

// A shared address is a conflict on both customers' views, with the other one and since when, once each; why the second one is
// not contacted names it. It ends with an address of the customer's own, or when the address is named no more.
func TestASharedAddressIsSeenOnBothSides(t *testing.T) {
	m := newMesh(t, 32)
	m.publish(
		identify("i1", 0, user("u1"), email("ann@x.example")),
		identify("i2", 1, user("u2"), email("ann@x.example")),
		identify("i3", 2, user("u2"), email("ann@x.example")), // named again
	)
	u1, u2 := m.made(user("u1")), m.made(user("u2"))
	home, since := m.hasher.ID(tenant, email("ann@x.example")), timestamppb.New(start.Add(time.Minute))
	first := &profilev1.AddressConflict{
		Kind: "email", Masked: "a…@x.example", Other: u2.GetId(), Owned: true, Since: since, Cause: "i2", Identifier: home,
	}
	second := first.CloneVT()
	second.Other, second.Owned = u1.GetId(), false
	want(t, "conflicts of the owner", u1.GetConflicts(), []*profilev1.AddressConflict{first})
	want(t, "conflicts of the other", u2.GetConflicts(), []*profilev1.AddressConflict{second})
	want(t, "lines of the owner", m.lines(user("u1")), []string{"event_applied", "identity_conflict ADDRESS_CONFLICT"})
	want(t, "lines of the other", m.lines(user("u2")), []string{
		"event_applied", "identity_conflict ADDRESS_CONFLICT", "event_applied", "identity_conflict ADDRESS_CONFLICT",
	})
	missing := profile.Basis(u2, nil).GetMissing()
	want(t, "kinds that are missing", len(missing), 1)
	want(t, "reason", missing[0].GetReason(), &reasonv1.Reason{
		Code: reasonv1.Code_CODE_ADDRESS_CONFLICT,
		Evidence: []string{"the customer's email is that of profile " + hexOf(u1.GetId()) + ", who named it before; named by both since " +
			start.Add(time.Minute).Format(time.RFC3339)},
		Remedy: "send an identify with an address of this customer's own",
	})
	want(t, "what the owner lacks", len(profile.Basis(u1, nil).GetMissing()), 0)

	gone := identify("i4", 3, user("u2"))
	gone.Traits = []*eventv1.Property{{Name: "email", Value: nil}}
	m.publish(gone)
	want(t, "after it was taken away", len(m.made(user("u2")).GetConflicts()), 0)
	want(t, "the owner remembers", len(m.made(user("u1")).GetConflicts()), 1)
}

// However many customers name an address, its owner's state and timeline stay small.
func TestAnAddressThatManyNameIsNotedOfAFew(t *testing.T) {
	m := newMesh(t, 8)
	m.publish(identify("i", 0, user("owner"), email("all@x.example")))
	for n := range 3 * profile.MaxConflicts {
		m.publish(identify(fmt.Sprint("i", n), n+1, user(fmt.Sprint("u", n)), email("all@x.example")))
	}
	owner := m.made(user("owner"))
	want(t, "conflicts", len(owner.GetConflicts()), profile.MaxConflicts)
	want(t, "that there are more", owner.GetMoreConflicts(), true)
	want(t, "lines", len(m.lines(user("owner"))), 1+profile.MaxConflicts)
}

// Without a person the weaker identifier claims no stronger address, or two could close each other.
func TestAPhoneAloneClaimsNoAddressInTheTraits(t *testing.T) {
	m := newMesh(t, 32)
	e := identify("i1", 0, &eventv1.Identifier{Kind: "phone", Value: "+4930123456"})
	e.Traits = []*eventv1.Property{{Name: "email", Value: event.Text("a@x.example")}}
	m.publish(e)
	if p := m.owner(email("a@x.example")); p != nil {
		t.Errorf("the address resolves to %x", p.GetId())
	}
	want(t, "where it is reached", len(profile.Endpoints(m.made(e.GetIdentifiers()[0]))), 1)
}

// What a profile had that was closed for the claimant is the claimant's own.
func TestAnAddressOfAClosedProfileIsNoConflict(t *testing.T) {
	m := newMesh(t, 32)
	phone := &eventv1.Identifier{Kind: "phone", Value: "+4930123456"}
	m.publish(
		track("e1", 0, email("a@x.example"), phone),
		identify("i1", 1, user("u"), email("a@x.example")),
		identify("i2", 2, user("u"), phone),
	)
	u := m.made(user("u"))
	want(t, "identities", len(u.GetLeaves()[0].GetIdentities()), 3)
	want(t, "where it is reached", len(profile.Endpoints(u)), 2)
	want(t, "facts", slices.Contains(m.kinds(u), "identity_conflict"), false)
	want(t, "pending", m.pending(u), false)
}

// An address among the traits alone is claimed like any other.
func TestAnAddressInTheTraitsIsClaimed(t *testing.T) {
	m := newMesh(t, 32)
	say := func(id string, minute int, who *eventv1.Identifier) *eventv1.Event {
		e := identify(id, minute, who)
		e.Traits = []*eventv1.Property{{Name: "email", Value: event.Text("a@x.example")}}
		return e
	}
	m.publish(say("i1", 0, user("u1")), say("i2", 1, user("u2")))
	want(t, "owner", m.owner(email("a@x.example")).GetId(), m.made(user("u1")).GetId())
	want(t, "where u2 is reached", len(profile.Endpoints(m.made(user("u2")))), 0)
}

func TestAnAddressThatOnlyAnAnonymousPersonHadIsLinked(t *testing.T) {
	m := newMesh(t, 32)
	m.publish(
		track("e1", 0, email("a@x.example"), anon("d")),
		identify("i1", 1, user("u"), email("a@x.example")),
		track("e2", 2, email("a@x.example")),
		track("e3", 3, anon("d")), // resolves to the closed profile, and from there to the person
	)
	want(t, "person", m.applied(m.made(user("u"))), []string{"i1", "e2", "e3"})
	want(t, "past", m.applied(m.made(email("a@x.example"))), []string{"e1"})
}

func TestADeviceAloneClaimsNoPerson(t *testing.T) {
	m := newMesh(t, 8)
	e := track("a1", 0)
	e.Identifiers = []*eventv1.Identifier{anon("d"), user("u")} // where a workspace declares devices as stronger
	m.publish(e)
	if p := m.owner(user("u")); p != nil {
		t.Errorf("the user resolves to %x", p.GetId())
	}
}

func TestAliasOfTwoPersonsIsAConflict(t *testing.T) {
	m := newMesh(t, 8)
	m.publish(track("t1", 0, user("old")))
	m.publish(happened("al", eventv1.Kind_KIND_ALIAS, "alias", 1, user("new"), user("old")))
	want(t, "old resolves to", m.owner(user("old")).GetId(), m.made(user("old")).GetId())
	want(t, "facts", m.kinds(m.made(user("new"))), []string{"identifier_linked", "event_applied", "identity_conflict"})
	want(t, "lines of new", m.lines(user("new")), []string{"event_applied", "alias_refused ALIAS_REFUSED"})
	want(t, "lines of old", m.lines(user("old")), []string{"event_applied", "alias_refused ALIAS_REFUSED"})

	m.publish(happened("al2", eventv1.Kind_KIND_ALIAS, "alias", 2, user("new"), user("unheard")))
	want(t, "a second user_id, of nobody", m.lines(user("new"))[2:], []string{"event_applied", "identity_conflict ALIAS_REFUSED"})
	if p := m.owner(user("unheard")); p != nil {
		t.Errorf("the user_id resolves to %x", p.GetId())
	}
}

// previous is an alias as the Segment API has it: the earlier id is a device's or a user's, and nothing says which.
func previous(id string, minute int, who *eventv1.Identifier, earlier string) *eventv1.Event {
	e := happened(id, eventv1.Kind_KIND_ALIAS, "alias", minute, who, anon(earlier))
	e.Previous = anon(earlier)
	return e
}

// An earlier id that a customer is known by is no device: the alias is refused, both customers' timelines say so, and no
// identifier is made up. Before that customer was heard of, it is remembered as a device, and says that this is a guess.
func TestAnEarlierIDIsWhatIsKnownOfIt(t *testing.T) {
	m := newMesh(t, 8)
	m.publish(track("t1", 0, user("old")), previous("al", 1, user("new"), "old"))
	want(t, "lines of new", m.lines(user("new")), []string{"event_applied", "alias_refused ALIAS_REFUSED"})
	want(t, "lines of old", m.lines(user("old")), []string{"event_applied", "alias_refused ALIAS_REFUSED"})
	want(t, "identities of new", len(m.made(user("new")).GetLeaves()[0].GetIdentities()), 1)
	if p := m.owner(anon("old")); p != nil {
		t.Errorf("a device was made up, it resolves to %x", p.GetId())
	}
	m.publish(track("t2", 2, user("old")))
	want(t, "old goes on", m.applied(m.made(user("old"))), []string{"t1", "t2"})

	m.publish(track("a1", 3, anon("d")), previous("al2", 4, user("new"), "d"), track("a2", 5, anon("d")))
	want(t, "a device's past is linked", m.made(anon("d")).GetLinkedTo(), m.made(user("new")).GetId())
	want(t, "and what it does is the customer's", m.applied(m.made(user("new"))), []string{"al", "al2", "a2"})

	m.publish(previous("al3", 6, user("new"), "unheard"))
	identities := m.made(user("new")).GetLeaves()[0].GetIdentities()
	want(t, "one that nobody has is remembered", identities[len(identities)-1].GetIdentifier().GetValue(), "unheard")
	want(t, "as a guess", identities[len(identities)-1].GetAssumed(), true)

	m.publish(previous("al4", 7, user("new"), "new"))
	want(t, "an alias of itself says nothing", m.lines(user("new"))[len(m.lines(user("new")))-1:], []string{"event_applied"})
}

func TestOutcomesReachTheProfileDirectlyAlsoWhenItIsClosed(t *testing.T) {
	m := newMesh(t, 32)
	m.publish(track("e1", 0, email("a@x.example")))
	past := m.made(email("a@x.example"))
	outcome := func(id string, minute int, kind eventv1.OutcomeKind) *eventv1.Event {
		e := happened(id, eventv1.Kind_KIND_OUTCOME, "outcome", minute, direct(past.GetId()))
		e.Outcome = &eventv1.Outcome{Kind: kind, Channel: "email", Action: "welcome", Token: "t"}
		return e
	}
	m.publish(outcome("o1", 1, eventv1.OutcomeKind_OUTCOME_KIND_CLICK), outcome("o1", 1, eventv1.OutcomeKind_OUTCOME_KIND_CLICK))
	want(t, "direct", m.applied(past), []string{"e1", "o1"})
	m.publish(identify("i1", 2, user("u"), email("a@x.example")), outcome("o2", 3, eventv1.OutcomeKind_OUTCOME_KIND_COMPLAINED))
	u := m.made(user("u"))
	want(t, "after the link", m.applied(u), []string{"i1", "o2"})
	want(t, "endpoint", profile.Endpoints(u)[0].GetDoNotContact().GetCode(), reasonv1.Code_CODE_SUPPRESSED_COMPLAINT)
	want(t, "consent", profile.Consents(u)[0].GetConsent(), &eventv1.Consent{
		State: eventv1.ConsentState_CONSENT_STATE_WITHDRAWN, Channel: "email", Topic: "*", Basis: "complaint",
	})
	e := happened("o3", eventv1.Kind_KIND_OUTCOME, "outcome", 4, direct(m.hasher.ID(tenant, user("nobody"))))
	e.Outcome = &eventv1.Outcome{Kind: eventv1.OutcomeKind_OUTCOME_KIND_CLICK}
	if err := m.lane(e, stage.FromLane, ""); fault.Of(err) != fault.NotFound {
		t.Errorf("an outcome of nobody: %v, want not found", err)
	}
}

func TestLateEventsSaySo(t *testing.T) {
	m := newMesh(t, 4)
	m.clock = func(*eventv1.Event) time.Time { return start.Add(3 * time.Hour) }
	m.publish(track("late", 59, user("u")), track("fresh", 60, user("u")), identify("other", 119, user("u")), identify("fresh2", 120, user("u")))
	got := map[string]bool{}
	for _, f := range m.facts[identity.CustomerKey(tenant, m.made(user("u")).GetId())] {
		if e := f.GetEventApplied(); e != nil {
			got[e.GetEvent().GetId()] = e.GetLate()
		}
	}
	want(t, "late", got, map[string]bool{"late": true, "fresh": false, "other": true, "fresh2": false})
}

func TestGroupMakesTheAccount(t *testing.T) {
	m := newMesh(t, 32)
	account := &eventv1.Identifier{Kind: "account_id", Value: "acme"}
	g := happened("g1", eventv1.Kind_KIND_GROUP, "group", 0, user("u"))
	g.Account, g.Traits = account, []*eventv1.Property{{Name: "plan", Value: event.Text("gold")}}
	m.publish(g, g)
	a, u := m.owner(account), m.made(user("u"))
	want(t, "class", a.GetClass(), profilev1.Class_CLASS_ACCOUNT)
	want(t, "account trait", trait(a, "plan"), event.Text("gold"))
	want(t, "person has no such trait", trait(u, "plan"), nil)
	want(t, "relation", u.GetLeaves()[0].GetRelations(), []*profilev1.Relation{{Role: "member", ProfileId: a.GetId(), Since: g.GetAt()}})
	want(t, "facts of the account", m.kinds(a), []string{"identifier_linked"})
}

func TestAGapClosesContactUntilItIsRedriven(t *testing.T) {
	m := newMesh(t, 8)
	c := happened("c1", eventv1.Kind_KIND_CONSENT, "consent_withdrawn", 1, user("u"))
	c.Consent = &eventv1.Consent{State: eventv1.ConsentState_CONSENT_STATE_WITHDRAWN, Channel: "email", Topic: "*"}
	in := laneInput(t, c, stage.FromLane, "")
	home := m.hasher.Home(tenant, user("u"))
	n, err := m.fold.Needs(in, start)
	if err != nil {
		t.Fatal(err)
	}
	m.take(home, m.fold.Gap(in, view{m, home, n}, stage.Env{Now: start}, "dl-1"))
	p := m.made(user("u"))
	want(t, "closed", profile.Basis(p, nil).GetClosed().GetCode(), reasonv1.Code_CODE_GAP)
	want(t, "facts", m.kinds(p), []string{"basis_changed"})
	for range 2 { // redriving twice has one effect
		if err := m.lane(c, stage.FromRedrive, "dl-1"); err != nil {
			t.Fatal(err)
		}
	}
	p = m.made(user("u"))
	want(t, "open again", profile.Basis(p, nil).GetClosed(), nil)
	want(t, "applied", m.applied(p), []string{"c1"})
	want(t, "consents", len(profile.Consents(p)), 1)
}

func TestAGapOfAForwardedEventIsTheProfiles(t *testing.T) {
	m := newMesh(t, 8)
	m.publish(identify("i1", 0, user("u"), anon("d")))
	m.held = true
	m.publish(track("t1", 1, anon("d")))
	p := m.made(user("u"))
	home := m.hasher.Partition(p.GetId())
	in := stage.Input{Source: stage.FromBox, Name: "box.profile", Payload: m.boxes[home][0].Payload}
	m.boxes[home] = nil
	n, err := m.fold.Needs(in, start)
	if err != nil {
		t.Fatal(err)
	}
	m.take(home, m.fold.Gap(in, view{m, home, n}, stage.Env{Now: start}, "dl-1"))
	want(t, "gaps", m.made(user("u")).GetGaps(), []*profilev1.ProfileGap{{DeadLetter: "dl-1"}})
	in.Source, in.ID, in.Redriven = stage.FromRedrive, "dl-1", "box.profile"
	if err := m.step(home, in, start); err != nil {
		t.Fatal(err)
	}
	p = m.made(user("u"))
	want(t, "gaps left", len(p.GetGaps()), 0)
	want(t, "applied", m.applied(p), []string{"i1", "t1"})
}

func TestGarbageIsRefusedAndLeavesNoGap(t *testing.T) {
	m := newMesh(t, 2)
	for _, in := range []stage.Input{
		{Source: stage.FromLane, Payload: []byte("\xff\xff")},
		{Source: stage.FromLane},
		{Source: stage.FromBox, Payload: []byte{}},
		{Source: stage.FromBox, Payload: []byte("\x1a\x02\x0a\x00")},
	} {
		if _, err := m.fold.Needs(in, start); fault.Of(err) != fault.Invalid {
			t.Errorf("Needs(%q) = %v, want invalid", in.Payload, err)
		}
		if out := m.fold.Gap(in, view{m: m}, stage.Env{}, "dl"); len(out.Cells) > 0 {
			t.Errorf("Gap(%q) = %v, want nothing", in.Payload, out)
		}
	}
}

func drawEvent(n int) func(t *rapid.T) *eventv1.Event {
	return func(t *rapid.T) *eventv1.Event {
		ids := []*eventv1.Identifier{}
		if u := rapid.IntRange(0, 3).Draw(t, "user"); u > 0 {
			ids = append(ids, user(fmt.Sprint("u", u)))
		}
		if e := rapid.IntRange(0, 5).Draw(t, "email"); e > 2 {
			ids = append(ids, email(fmt.Sprintf("m%d@x.example", e)))
		}
		if d := rapid.IntRange(0, 3).Draw(t, "device"); d > 0 || len(ids) == 0 {
			ids = append(ids, anon(fmt.Sprint("d", d)))
		}
		id, minute := fmt.Sprint("e", n), rapid.IntRange(0, 30).Draw(t, "minute")
		var e *eventv1.Event
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0, 1:
			e = identify(id, minute, ids...)
			e.Traits = []*eventv1.Property{{Name: "city", Value: event.Text(id)}, {Name: "email", Value: event.Text(id + "@y.example")}}
		case 2:
			e = happened(id, eventv1.Kind_KIND_CONSENT, "consent_given", minute, ids...)
			e.Consent = &eventv1.Consent{State: eventv1.ConsentState(1 + rapid.IntRange(0, 1).Draw(t, "state")), Channel: "email", Topic: "news"}
		default:
			e = track(id, minute, ids...)
			e.Context = &eventv1.Context{TimeZone: rapid.SampledFrom([]string{"", "Asia/Tokyo", "Europe/London"}).Draw(t, "zone")}
		}
		e.ReceivedAt = timestamppb.New(start.Add(time.Duration(n) * time.Hour))
		return e
	}
}

func drawEvents(t *rapid.T) []*eventv1.Event {
	events := make([]*eventv1.Event, rapid.IntRange(1, 25).Draw(t, "events"))
	for n := range events {
		events[n] = rapid.Custom(drawEvent(n)).Draw(t, "event")
	}
	return events
}

// states are the profiles and facts of a mesh, which must not depend on where they live.
func (m *mesh) states() (map[string]*profilev1.Profile, map[string][]*profilev1.Fact) {
	out := map[string]*profilev1.Profile{}
	for p := range m.rows {
		for key := range m.rows[p] {
			if _, space, id, _ := identity.ParseKey(key); space == "c" {
				out[key] = m.profile(id)
				for _, l := range out[key].GetLinked() {
					l.Partition = 0
				}
			}
		}
	}
	facts := map[string][]*profilev1.Fact{}
	for key, list := range m.facts {
		for _, f := range list {
			f = f.CloneVT()
			if l := f.GetIdentityLinked(); l != nil {
				l.Partition = 0
			}
			if a := f.GetIdentityAdopted(); a != nil {
				a.Linked.Partition = 0
			}
			facts[key] = append(facts[key], f)
		}
		sortAnswers(facts[key])
	}
	return out, facts
}

// sortAnswers brings what several homes answered to the claims of one event into one order; theirs is not
// promised.
func sortAnswers(facts []*profilev1.Fact) {
	isAnswer := func(f *profilev1.Fact) bool { return f.GetIdentityAdopted() != nil || f.GetIdentityConflict() != nil }
	for from := 0; from < len(facts); from++ {
		to := from
		for to < len(facts) && isAnswer(facts[to]) {
			to++
		}
		slices.SortFunc(facts[from:to], func(a, b *profilev1.Fact) int { return strings.Compare(a.String(), b.String()) })
		from = to
	}
}

func TestFactsDoNotDependOnTheNumberOfPartitions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := drawEvents(t)
		one, many := newMesh(t, 1), newMesh(t, 32)
		one.publish(events...)
		many.publish(events...)
		p1, f1 := one.states()
		p32, f32 := many.states()
		if diff := cmp.Diff(p1, p32, protocmp.Transform()); diff != "" {
			t.Fatalf("profiles (-P=1 +P=32):\n%s", diff)
		}
		if diff := cmp.Diff(f1, f32, protocmp.Transform()); diff != "" {
			t.Fatalf("facts (-P=1 +P=32):\n%s", diff)
		}
	})
}

func TestRedeliveryChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := drawEvents(t)
		once, thrice := newMesh(t, 8), newMesh(t, 8)
		once.publish(events...)
		for n, e := range events {
			thrice.publish(e, e)
			thrice.publish(events[rapid.IntRange(0, n).Draw(t, "again")])
		}
		p1, f1 := once.states()
		p3, f3 := thrice.states()
		if diff := cmp.Diff(p1, p3, protocmp.Transform()); diff != "" {
			t.Fatalf("profiles (-once +repeated):\n%s", diff)
		}
		if diff := cmp.Diff(f1, f3, protocmp.Transform()); diff != "" {
			t.Fatalf("facts (-once +repeated):\n%s", diff)
		}
	})
}

func TestEveryAcceptedEventIsInEffectOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := drawEvents(t)
		m := newMesh(t, 8)
		m.held = rapid.Bool().Draw(t, "letters wait")
		m.publish(events...)
		m.settle()
		count := map[string]int{}
		for _, list := range m.facts {
			for _, f := range list {
				if e := f.GetEventApplied(); e != nil {
					count[e.GetEvent().GetId()]++
				}
			}
		}
		for _, e := range events {
			if count[e.GetId()] != 1 {
				t.Fatalf("event %s is in effect %d times", e.GetId(), count[e.GetId()])
			}
		}
		if len(m.marks) > 0 {
			t.Fatalf("identifier cells with facts: %v", m.marks)
		}
		for _, key := range slices.Sorted(maps.Keys(m.facts)) {
			if _, space, _, _ := identity.ParseKey(key); space != "c" {
				t.Fatalf("facts in %s", key)
			}
		}
	})
}

// What meets in one instant is delivered in the order of the rows it comes from (pkg/stage), so an answer
// says from which even if that row stays as it is.
func TestEveryLetterSaysFromWhichRowItIs(t *testing.T) {
	m := newMesh(t, 32)
	m.publish(identify("i1", 0, user("u1"), email("a@b.example")))
	m.held = true
	m.publish(identify("i2", 1, user("u2"), email("a@b.example")))
	claimed := m.boxes[m.hasher.Home(tenant, email("a@b.example"))]
	if len(claimed) != 1 {
		t.Fatalf("letters to the address: %v", claimed)
	}
	want(t, "row of the claim", claimed[0].From, identity.IdentifierKey(tenant, m.hasher.ID(tenant, user("u2"))))
	m.settle()
	in := stage.Input{Source: stage.FromBox, Name: "box.profile", Payload: claimed[0].Payload}
	n, err := m.fold.Needs(in, start)
	if err != nil {
		t.Fatal(err)
	}
	home := m.hasher.Home(tenant, email("a@b.example"))
	out, err := m.fold.Decide(in, view{m, home, n}, stage.Env{Now: start, Partition: home})
	if err != nil || len(out.Cells) != 0 || len(out.Addressed) != 2 {
		t.Fatalf("claim on somebody else's address: %+v, %v; want an answer, a word to the owner and no cell", out, err)
	}
	for _, a := range out.Addressed {
		want(t, "row of the answer", a.From, identity.IdentifierKey(tenant, m.hasher.ID(tenant, email("a@b.example"))))
	}
}

// miss gives an event up at its home.
func (m *mesh) miss(e *eventv1.Event, deadLetter string) {
	m.t.Helper()
	in := laneInput(m.t, e, stage.FromLane, "")
	home := m.hasher.Home(tenant, e.GetIdentifiers()[0])
	n, err := m.fold.Needs(in, start)
	if err != nil {
		m.t.Fatal(err)
	}
	m.take(home, m.fold.Gap(in, view{m, home, n}, stage.Env{Now: start}, deadLetter))
	m.settle()
}

func withdrawal(id string, minute int, who *eventv1.Identifier) *eventv1.Event {
	e := happened(id, eventv1.Kind_KIND_CONSENT, "consent_withdrawn", minute, who)
	e.Consent = &eventv1.Consent{State: eventv1.ConsentState_CONSENT_STATE_WITHDRAWN, Channel: "email", Topic: "*"}
	return e
}

// Nobody may be contacted while a word about permission is missing, wherever it was lost.
func TestAGapReachesTheProfileThatTheIdentifierResolvesTo(t *testing.T) {
	for name, tell := range map[string]func(m *mesh, c *eventv1.Event){
		"linked before": func(m *mesh, c *eventv1.Event) {
			m.publish(identify("i1", 0, user("u"), anon("d")))
			m.miss(c, "dl-1")
		},
		"linked afterwards": func(m *mesh, c *eventv1.Event) {
			m.miss(c, "dl-1")
			m.publish(identify("i1", 2, user("u"), anon("d")))
		},
		"linked before, with a past": func(m *mesh, c *eventv1.Event) {
			m.publish(track("a1", 0, anon("d")), identify("i1", 0, user("u"), anon("d")))
			m.miss(c, "dl-1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t, 32)
			c := withdrawal("c1", 1, anon("d"))
			tell(m, c)
			p := m.made(user("u"))
			want(t, "closed", profile.Basis(p, nil).GetClosed().GetCode(), reasonv1.Code_CODE_GAP)
			want(t, "gaps", p.GetGaps(), []*profilev1.ProfileGap{{DeadLetter: "dl-1", ClosesContact: true}})
			for range 2 { // redriving twice has one effect
				if err := m.lane(c, stage.FromRedrive, "dl-1"); err != nil {
					t.Fatal(err)
				}
				m.settle()
			}
			p = m.made(user("u"))
			want(t, "open again", profile.Basis(p, nil).GetClosed(), nil)
			want(t, "applied", m.applied(p), []string{"i1", "c1"})
			want(t, "consents", len(profile.Consents(p)), 1)
		})
	}
}

// A publisher that repeated the event meanwhile is no reason to leave the gap open.
func TestARedrivenRepeatClosesTheGapElsewhere(t *testing.T) {
	m := newMesh(t, 32)
	m.publish(identify("i1", 0, user("u"), anon("d")))
	c := withdrawal("c1", 1, anon("d"))
	m.miss(c, "dl-1")
	m.publish(c)
	want(t, "still closed", profile.Basis(m.made(user("u")), nil).GetClosed().GetCode(), reasonv1.Code_CODE_GAP)
	if err := m.lane(c, stage.FromRedrive, "dl-1"); err != nil {
		t.Fatal(err)
	}
	m.settle()
	want(t, "gaps", len(m.made(user("u")).GetGaps()), 0)
	want(t, "applied", m.applied(m.made(user("u"))), []string{"i1", "c1"})
}

// A permission that was given up, and comes back after a withdrawal that arrived later, lifts nothing.
func TestAPermissionThatComesBackDoesNotLiftWhatWasWithdrawnMeanwhile(t *testing.T) {
	m := newMesh(t, 32)
	m.publish(identify("i1", 0, user("u")))
	yes := withdrawal("c1", 1, user("u"))
	yes.Type, yes.Consent.State = "consent_given", eventv1.ConsentState_CONSENT_STATE_GIVEN
	m.miss(yes, "dl-1")
	no := withdrawal("c2", 2, user("u"))
	no.At = timestamppb.New(start) // by a clock that is slow
	m.publish(no)
	if err := m.lane(yes, stage.FromRedrive, "dl-1"); err != nil {
		t.Fatal(err)
	}
	m.settle()
	got := profile.Consents(m.made(user("u")))
	if len(got) != 1 || got[0].GetConsent().GetState() != eventv1.ConsentState_CONSENT_STATE_WITHDRAWN {
		t.Errorf("got %v, want the withdrawal", got)
	}
}

// While a claim is in the dead letters nothing that is withdrawn under the identifier comes to the claimant: contact is
// closed there until it comes back.
func TestAClaimThatIsGivenUpClosesContactWithTheClaimant(t *testing.T) {
	m := newMesh(t, 32)
	m.publish(track("t1", 0, anon("d")))
	m.held = true
	m.publish(identify("i1", 1, user("u"), anon("d")))
	home := m.hasher.Home(tenant, anon("d"))
	in := stage.Input{Source: stage.FromBox, Name: "box.profile", Payload: m.boxes[home][0].Payload}
	m.boxes[home], m.held = nil, false
	n, err := m.fold.Needs(in, start)
	if err != nil {
		t.Fatal(err)
	}
	m.take(home, m.fold.Gap(in, view{m, home, n}, stage.Env{Now: start}, "dl-1"))
	m.settle()
	want(t, "closed", profile.Basis(m.made(user("u")), nil).GetClosed().GetEvidence(), []string{"dead letter dl-1"})

	m.publish(withdrawal("c1", 2, anon("d")))
	in.Source, in.ID, in.Redriven = stage.FromRedrive, "dl-1", "box.profile"
	if err := m.step(home, in, start); err != nil {
		t.Fatal(err)
	}
	m.settle()
	p := m.made(user("u"))
	want(t, "open again", profile.Basis(p, nil).GetClosed(), nil)
	got := profile.Consents(p)
	if len(got) != 1 || got[0].GetConsent().GetState() != eventv1.ConsentState_CONSENT_STATE_WITHDRAWN {
		t.Errorf("got %v, want the device's withdrawal", got)
	}
}

// An event in the dead letters that names an identifier which the profile is not known by closes contact: something may be
// withdrawn under that one.
func TestAnEventThatWouldLinkClosesContactWhileItIsGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		before *eventv1.Event
		missed *eventv1.Event
		closed bool
	}{
		"a device that is new":             {identify("i1", 0, user("u")), identify("e1", 1, user("u"), anon("d")), true},
		"a device that it has":             {identify("i1", 0, user("u"), anon("d")), identify("e1", 1, user("u"), anon("d")), false},
		"nothing but what leads to it":     {identify("i1", 0, user("u")), track("e1", 1, user("u")), false},
		"the first of all":                 {identify("i1", 0, user("v")), track("e1", 1, user("u")), false},
		"by an address, with a new device": {identify("i1", 0, user("u"), email("u@x.example")), track("e1", 1, email("u@x.example"), anon("d")), true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t, 32)
			m.publish(c.before)
			m.miss(c.missed, "dl-1")
			m.settle()
			closed := profile.Basis(m.made(user("u")), nil).GetClosed() != nil
			want(t, "closed", closed, c.closed)
			if err := m.lane(c.missed, stage.FromRedrive, "dl-1"); err != nil {
				t.Fatal(err)
			}
			m.settle()
			want(t, "closed after it came back", profile.Basis(m.made(user("u")), nil).GetClosed() != nil, false)
		})
	}
}
