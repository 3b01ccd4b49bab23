package profile_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/consent"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/profile"
)

// received receives events one after the other at Ann's home, an hour apart, whatever they claim, and returns her
// profile and the lines of its timeline.
func received(t *testing.T, events ...*eventv1.Event) (*profilev1.Profile, []*profilev1.TimelineEntry) {
	t.Helper()
	var p *profilev1.Profile
	var row *profilev1.IdentifierRow
	var lines []*profilev1.TimelineEntry
	for i, e := range events {
		at := hour(i + 1)
		c, err := profile.Receive(profile.DefaultRules(hasher()), profile.Arrival{
			Event: e, ReceivedAt: at, StoredAt: at, Sequence: uint64(i + 1), Index: 1, Row: row, Profile: p, //nolint:gosec // small
		}, profile.Moment{Now: at})
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, c.Timeline...)
		if p = c.Profile; c.Row != nil {
			row = c.Row
		}
	}
	return p, lines
}

func permitted(p *profilev1.Profile) consent.State {
	s, _ := consent.Evaluate(profile.Consents(p), "email", "news", hour(50))
	return s
}

func TestAnOptOutWinsAgainstAPermissionFromTheFuture(t *testing.T) {
	p, lines := received(t,
		consentEvent("from the future", 100, eventv1.ConsentState_CONSENT_STATE_GIVEN), // arrives at 1
		consentEvent("one click", 2, eventv1.ConsentState_CONSENT_STATE_WITHDRAWN),
	)
	check(t, "state", permitted(p), consent.Withdrawn)
	check(t, "what was claimed is on the timeline", lines[0].GetOccurredAt(), stamp(100))
}

func TestAnOptOutOfASlowClockWinsAgainstThePermissionBefore(t *testing.T) {
	p, _ := received(t,
		consentEvent("yes", 1, eventv1.ConsentState_CONSENT_STATE_GIVEN),
		consentEvent("no, an hour ago", 0, eventv1.ConsentState_CONSENT_STATE_WITHDRAWN),
	)
	check(t, "state", permitted(p), consent.Withdrawn)
}

func TestAPermissionThatDoesNotLiftAWithdrawalSaysSo(t *testing.T) {
	p, lines := received(t,
		consentEvent("no", 1, eventv1.ConsentState_CONSENT_STATE_WITHDRAWN),
		consentEvent("from before", 0, eventv1.ConsentState_CONSENT_STATE_GIVEN),
	)
	check(t, "state", permitted(p), consent.Withdrawn)
	if r := lines[1].GetReasons(); len(r) != 1 || r[0].GetCode() != reasonv1.Code_CODE_UNSUBSCRIBED || len(r[0].GetEvidence()) != 1 {
		t.Errorf("the permission's line has the reasons %v, want UNSUBSCRIBED with the withdrawal", r)
	}
	p, lines = received(t,
		consentEvent("no", 1, eventv1.ConsentState_CONSENT_STATE_WITHDRAWN), consentEvent("yes", 2, eventv1.ConsentState_CONSENT_STATE_GIVEN),
	)
	check(t, "afterwards", permitted(p), consent.Given)
	check(t, "without a reason", len(lines[1].GetReasons()), 0)
}

func TestAForwardedStatementKeepsItsArrival(t *testing.T) {
	to, at := hasher().ID("default", ann()), hour(3)
	mail := &eventv1.Identifier{Kind: "email", Value: "ann@shop.example"}
	e := happened("no", eventv1.Kind_KIND_CONSENT, 2, mail)
	e.Consent = &eventv1.Consent{State: eventv1.ConsentState_CONSENT_STATE_WITHDRAWN, Channel: "email", Topic: "news"}
	c, err := profile.Receive(profile.DefaultRules(hasher()), profile.Arrival{
		Event: e, ReceivedAt: at, StoredAt: at, Sequence: 9, Index: 2, Row: &profilev1.IdentifierRow{Kind: "email", ProfileId: to},
	}, profile.Moment{Now: hour(4)})
	if err != nil {
		t.Fatal(err)
	}
	letter := c.Letters[0].Letter.GetForwarded()
	p := &profilev1.Profile{Tenant: "default", Id: to}
	if c, err = profile.Forwarded(profile.DefaultRules(hasher()), p, letter, profile.Moment{Now: hour(9)}); err != nil {
		t.Fatal(err)
	}
	want := &profilev1.Arrived{
		ReceivedAt: timestamppb.New(at), StoredAt: timestamppb.New(at), Under: hasher().ID("default", mail), Sequence: 9, Index: 2,
	}
	check(t, "arrived", c.Profile.GetLeaves()[0].GetConsents()[0].GetArrived(), want)
}

func TestWhatClaimsToBeFromTheFutureDoesNotFreezeWhatIsKnown(t *testing.T) {
	about := func(id string, at int, name, zone, mail string) *eventv1.Event {
		return identify(id, at, word("name", name), word("timezone", zone), word("email", mail))
	}
	p, _ := received(t,
		about("from 2031", 50000, "Anna", "Asia/Tokyo", "old@x.example"), // arrives at 1
		about("today", 2, "Ann", "Europe/Rome", "new@x.example"),
	)
	check(t, "name", value(p, "name"), "Ann")
	check(t, "zone", profile.Zone(p).GetName(), "Europe/Rome")
	check(t, "address", profile.Endpoints(p)[0].GetAddress(), "new@x.example")
	check(t, "last seen", p.GetLeaves()[0].GetLastSeen(), stamp(2))

	p, _ = received(t, about("from 2031", 50000, "Anna", "Asia/Tokyo", "old@x.example"))
	leaf := p.GetLeaves()[0]
	check(t, "what counts and what was claimed", leaf.GetTraits()[1], &profilev1.Trait{
		Name: "name", Value: event.Text("Anna"), ObservedAt: stamp(1), ClaimedAt: stamp(50000), Source: "from 2031",
	})
	check(t, "the claim about the zone", leaf.GetZone().GetClaimedAt(), stamp(50000))
	check(t, "the claim about the address", leaf.GetEndpoints()[0].GetClaimedAt(), stamp(50000))
}

func TestAClockOfIngestThatIsAheadFreezesNothing(t *testing.T) {
	c, err := profile.Receive(profile.DefaultRules(hasher()), profile.Arrival{
		Event: identify("i", 900, word("city", "Bonn")), ReceivedAt: hour(900),
	}, profile.Moment{Now: hour(1)})
	if err != nil {
		t.Fatal(err)
	}
	trait := c.Profile.GetLeaves()[0].GetTraits()[0]
	check(t, "observed", trait.GetObservedAt(), stamp(1))
	if trait.GetClaimedAt() != nil {
		t.Errorf("claimed at %v: the publisher claimed nothing", trait.GetClaimedAt().AsTime().Format(time.RFC3339))
	}
}

func TestAWithdrawalCountsForEverythingThatItsNamesCouldMean(t *testing.T) {
	rules := profile.DefaultRules(hasher()).Naming(consent.NewNames([]string{"email", "sms"}, []string{"news", "offers"}))
	for _, tc := range []struct{ channel, topic, stopped string }{
		{"email", "news", "email/news"},
		{"E-Mail", "News", "email/news"},
		{"Emial", "news", "email/news sms/news"},
		{"email", "newz", "email/news email/offers"},
		{"Emial", "newz", "email/news email/offers sms/news sms/offers"},
	} {
		yes := consentEvent("yes", 1, eventv1.ConsentState_CONSENT_STATE_GIVEN)
		yes.Consent.Channel, yes.Consent.Topic = "*", "*"
		no := consentEvent("no", 2, eventv1.ConsentState_CONSENT_STATE_WITHDRAWN)
		no.Consent.Channel, no.Consent.Topic = tc.channel, tc.topic
		p, _ := applyAll(t, rules, yes, no)
		var stopped []string
		for _, channel := range []string{"email", "sms"} {
			for _, topic := range []string{"news", "offers"} {
				if s, _ := consent.Evaluate(profile.Consents(p), channel, topic, hour(3)); s == consent.Withdrawn {
					stopped = append(stopped, channel+"/"+topic)
				}
			}
		}
		check(t, tc.channel+"/"+tc.topic, strings.Join(stopped, " "), tc.stopped)
	}
}

func TestWhatWasSaidIsKeptBesideWhatCounts(t *testing.T) {
	rules := profile.DefaultRules(hasher()).Naming(consent.NewNames([]string{"email"}, []string{"news"}))
	no := consentEvent("no", 1, eventv1.ConsentState_CONSENT_STATE_WITHDRAWN)
	no.Consent.Channel, no.Consent.Topic = "Emial", "News"
	p, _ := applyAll(t, rules, no)
	r := profile.Consents(p)[0]
	check(t, "counts for", r.GetConsent().GetChannel()+"/"+r.GetConsent().GetTopic(), "*/news")
	check(t, "said for", r.GetSaidChannel()+"/"+r.GetSaidTopic(), "Emial/News")
}
