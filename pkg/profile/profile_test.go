package profile_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/consent"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/profile"
)

func hasher() identity.Hasher {
	return identity.NewHasher([]byte("a secret of the tests, 32 bytes..."), 8)
}

func ann() *eventv1.Identifier { return &eventv1.Identifier{Kind: "user_id", Value: "ann"} }

func happened(id string, kind eventv1.Kind, at int, ids ...*eventv1.Identifier) *eventv1.Event {
	if len(ids) == 0 {
		ids = []*eventv1.Identifier{ann()}
	}
	return &eventv1.Event{Id: id, Tenant: "default", Type: "something", Kind: kind, At: stamp(at), Identifiers: ids}
}

func identify(id string, at int, traits ...*eventv1.Property) *eventv1.Event {
	e := happened(id, eventv1.Kind_KIND_IDENTIFY, at)
	e.Traits = traits
	return e
}

func prop(name string, v *eventv1.Value) *eventv1.Property {
	return &eventv1.Property{Name: name, Value: v}
}

func word(name, v string) *eventv1.Property { return prop(name, event.Text(v)) }

func consentEvent(id string, at int, state eventv1.ConsentState) *eventv1.Event {
	e := happened(id, eventv1.Kind_KIND_CONSENT, at)
	e.Consent = &eventv1.Consent{State: state, Channel: "email", Topic: "news"}
	return e
}

func outcome(id string, at int, kind eventv1.OutcomeKind) *eventv1.Event {
	e := happened(id, eventv1.Kind_KIND_OUTCOME, at)
	e.Outcome = &eventv1.Outcome{Kind: kind, Channel: "email", Action: "welcome", SubjectId: "ab"}
	return e
}

// applyAll applies events to a new profile and returns it with all facts.
func applyAll(t interface {
	Helper()
	Fatal(args ...any)
}, r *profile.Rules, events ...*eventv1.Event,
) (*profilev1.Profile, []*profilev1.Fact) {
	t.Helper()
	p := &profilev1.Profile{Tenant: "default", Id: hasher().ID("default", ann())}
	var facts []*profilev1.Fact
	for _, e := range events {
		before, told := p.CloneVT(), e.CloneVT()
		c, err := profile.Apply(r, p, e, profile.Moment{Now: e.GetAt().AsTime()})
		if err != nil {
			t.Fatal(err)
		}
		if !p.EqualVT(before) || !e.EqualVT(told) {
			t.Fatal("Apply changed its arguments")
		}
		p, facts = c.Profile, append(facts, c.Facts...)
	}
	return p, facts
}

func names(facts []*profilev1.Fact) string {
	var out []string
	for _, f := range facts {
		m := f.ProtoReflect()
		out = append(out, string(m.WhichOneof(m.Descriptor().Oneofs().Get(0)).Name()))
	}
	return strings.Join(out, " ")
}

func value(p *profilev1.Profile, name string) any {
	for _, t := range profile.Traits(p) {
		if t.GetName() == name {
			return event.ToAny(t.GetValue())
		}
	}
	return nil
}

func check(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestPublishedTraitsGoByEventTime(t *testing.T) {
	p, _ := applyAll(t, profile.DefaultRules(hasher()),
		identify("a", 5, word("city", "Bonn"), word("name", "Ann")),
		identify("late", 2, word("city", "Rome"), word("pet", "cat")),
		identify("b", 6, prop("name", &eventv1.Value{})),
		identify("same time", 6, word("city", "Kiel")), identify("same time, stored later", 6, word("city", "Graz")),
	)
	check(t, "city", value(p, "city"), "Graz")
	check(t, "pet", value(p, "pet"), "cat")
	check(t, "hidden by null", value(p, "name"), nil)
	check(t, "first seen", p.GetLeaves()[0].GetFirstSeen(), stamp(2))
	check(t, "last seen", p.GetLeaves()[0].GetLastSeen(), stamp(6))
	check(t, "version", p.GetVersion(), uint64(5))
}

func TestDeclaredTraitsKeepTheirTypeAndComputedOnesCannotBePublished(t *testing.T) {
	compile := func(name string, spec *definitionv1.TraitDef) *profile.TraitRule {
		r, problems := profile.CompileTrait(name, spec, testEnv(t))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return r
	}
	rules := profile.NewRules(hasher(), event.DefaultKinds(), nil, []*profile.TraitRule{
		compile("age", &definitionv1.TraitDef{Type: "int"}),
		compile("orders", aggregate(profile.Count, "int", &definitionv1.Aggregate{Event: "order_placed"})),
	})
	bought := happened("o", eventv1.Kind_KIND_TRACK, 1)
	bought.Type = "order_placed"
	p, _ := applyAll(t, rules, bought, identify("i", 2, prop("age", event.Number(41)), prop("orders", event.Integer(99))), identify("j", 3, word("age", "old")))
	check(t, "age", value(p, "age"), int64(41))
	check(t, "orders", value(p, "orders"), int64(1))
}

func TestTraitsStayBounded(t *testing.T) {
	var events []*eventv1.Event
	for n := range 5 {
		var props []*eventv1.Property
		for i := range 100 {
			props = append(props, word(fmt.Sprintf("t%d-%d", n, i), strings.Repeat("x", 50)))
		}
		events = append(events, identify(fmt.Sprint(n), n, props...))
	}
	events = append(events, identify("big", 9, word("t0-0", strings.Repeat("y", profile.MaxTraitBytes))))
	r := profile.DefaultRules(hasher())
	p, _ := applyAll(t, r, events...)
	if n := len(p.GetLeaves()[0].GetTraits()); n != profile.MaxTraits {
		t.Errorf("%d traits, want %d", n, profile.MaxTraits)
	}
	check(t, "kept", value(p, "t0-0"), strings.Repeat("x", 50))
	c, err := profile.Apply(r, p, identify("one more", 10, word("zzz", "x")), profile.Moment{Now: hour(10)})
	if err != nil {
		t.Fatal(err)
	}
	check(t, "said so", c.Timeline[len(c.Timeline)-1].GetWhat(), "traits_refused")
}

func TestConsentRaceAtEqualTimesIsAWithdrawal(t *testing.T) {
	yes, no := eventv1.ConsentState_CONSENT_STATE_GIVEN, eventv1.ConsentState_CONSENT_STATE_WITHDRAWN
	r := profile.DefaultRules(hasher()).Naming(consent.NewNames([]string{"email"}, []string{"news"}))
	for _, order := range [][]eventv1.ConsentState{{yes, no}, {no, yes}} {
		p, facts := applyAll(t, r, consentEvent("a", 1, order[0]), consentEvent("b", 1, order[1]))
		if s, _ := consent.Evaluate(profile.Consents(p), "email", "news", hour(2)); s != consent.Withdrawn {
			t.Errorf("%v: %v, want withdrawn", order, s)
		}
		if order[0] == no {
			check(t, "the loser changes nothing", names(facts), "identifier_linked consent_changed basis_changed event_applied event_applied")
		}
	}
	p, _ := applyAll(t, r, consentEvent("new", 5, yes), consentEvent("late", 1, no))
	if s, _ := consent.Evaluate(profile.Consents(p), "email", "news", hour(9)); s != consent.Given {
		t.Errorf("a late withdrawal that is older: %v, want given", s)
	}
}

func TestEndpointsAreTheLatestAndRememberBlocks(t *testing.T) {
	complained, bounced := eventv1.OutcomeKind_OUTCOME_KIND_COMPLAINED, eventv1.OutcomeKind_OUTCOME_KIND_BOUNCED
	mail := func(id string, at int, address string) *eventv1.Event {
		return identify(id, at, word("email", address))
	}
	tests := []struct {
		name   string
		events []*eventv1.Event
		want   string
		code   reasonv1.Code
	}{
		{"latest by event time", []*eventv1.Event{mail("b", 2, "B@x.example"), mail("a", 1, "a@x.example")}, "b@x.example", 0},
		{"heard of again", []*eventv1.Event{mail("a", 1, "a@x.example"), mail("b", 2, "b@x.example"), mail("c", 3, "a@x.example")}, "a@x.example", 0},
		{"no address", []*eventv1.Event{mail("a", 1, "a@x.example"), mail("b", 2, "nonsense")}, "a@x.example", 0},
		{"bounced", []*eventv1.Event{mail("a", 1, "a@x.example"), outcome("o", 2, bounced)}, "a@x.example", reasonv1.Code_CODE_SUPPRESSED_HARD_BOUNCE},
		{"a new address is open", []*eventv1.Event{mail("a", 1, "a@x.example"), outcome("o", 2, bounced), mail("b", 3, "b@x.example")}, "b@x.example", 0},
		{"the blocked one stays blocked", []*eventv1.Event{mail("a", 1, "a@x.example"), outcome("o", 2, bounced), mail("b", 3, "b@x.example"), mail("c", 4, "a@x.example")}, "a@x.example", reasonv1.Code_CODE_SUPPRESSED_HARD_BOUNCE},
		{"a bounce of the address before", []*eventv1.Event{mail("b", 3, "b@x.example"), outcome("o", 2, bounced)}, "b@x.example", 0},
		{"a complaint is about the person", []*eventv1.Event{mail("b", 3, "b@x.example"), outcome("o", 2, complained)}, "b@x.example", reasonv1.Code_CODE_SUPPRESSED_COMPLAINT},
		{"a complaint outweighs a bounce", []*eventv1.Event{mail("a", 1, "a@x.example"), outcome("o", 2, bounced), outcome("q", 3, complained), outcome("r", 4, bounced)}, "a@x.example", reasonv1.Code_CODE_SUPPRESSED_COMPLAINT},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			p, _ := applyAll(t, profile.DefaultRules(hasher()), tc.events...)
			got := profile.Endpoints(p)
			if len(got) != 1 || got[0].GetAddress() != tc.want || got[0].GetDoNotContact().GetCode() != tc.code {
				t.Errorf("Endpoints = %v, want %s with %v", got, tc.want, tc.code)
			}
		})
	}
}

func TestAComplaintEndsEveryPermissionOnTheChannel(t *testing.T) {
	p, facts := applyAll(t, profile.DefaultRules(hasher()), consentEvent("c", 1, eventv1.ConsentState_CONSENT_STATE_GIVEN), outcome("o", 2, eventv1.OutcomeKind_OUTCOME_KIND_COMPLAINED))
	for _, topic := range []string{"news", "offers"} {
		if s, _ := consent.Evaluate(profile.Consents(p), "email", topic, hour(3)); s != consent.Withdrawn {
			t.Errorf("%s: %v, want withdrawn", topic, s)
		}
	}
	check(t, "facts", names(facts), "identifier_linked consent_changed basis_changed event_applied consent_changed outcome_recorded basis_changed event_applied")
}

func TestZoneFromATraitBeatsTheDevices(t *testing.T) {
	seen := func(id string, at int, zone string) *eventv1.Event {
		e := happened(id, eventv1.Kind_KIND_PAGE, at)
		e.Context = &eventv1.Context{TimeZone: zone}
		return e
	}
	r := profile.DefaultRules(hasher())
	p, _ := applyAll(t, r, seen("a", 1, "Asia/Tokyo"), seen("b", 3, "Europe/Rome"), seen("late", 2, "America/Lima"), seen("bad", 4, "Mars/Base"))
	check(t, "device", profile.Zone(p), &profilev1.Zone{Name: "Europe/Rome", Provenance: "context", ObservedAt: stamp(3)})
	p, facts := applyAll(t, r, identify("i", 1, word("timezone", "Europe/Paris")), seen("b", 3, "Europe/Rome"), identify("j", 2, word("time_zone", "Europe/Paris")))
	check(t, "trait", profile.Zone(p), &profilev1.Zone{Name: "Europe/Paris", Provenance: "trait", ObservedAt: stamp(2)})
	check(t, "the basis changed once", strings.Count(names(facts), "basis_changed"), 1)
}

func TestIdentitiesAreBoundedAndUniqueKindsAreUnique(t *testing.T) {
	var events []*eventv1.Event
	for n := range profile.MaxIdentities + 5 {
		events = append(events, happened(fmt.Sprint(n), eventv1.Kind_KIND_TRACK, n, ann(), &eventv1.Identifier{Kind: "anonymous_id", Value: fmt.Sprint(n)}))
	}
	p, facts := applyAll(t, profile.DefaultRules(hasher()), events...)
	check(t, "identities", len(p.GetLeaves()[0].GetIdentities()), profile.MaxIdentities)
	check(t, "conflicts", strings.Count(names(facts), "identity_conflict"), 6)
	_, facts = applyAll(t, profile.DefaultRules(hasher()), happened("x", eventv1.Kind_KIND_TRACK, 1, ann(), &eventv1.Identifier{Kind: "user_id", Value: "bob"}))
	check(t, "two user ids", names(facts), "identifier_linked identity_conflict event_applied")
}

func TestLeavesMergeOnRead(t *testing.T) {
	trait := func(name, source string, v *eventv1.Value, at int, n uint64) *profilev1.Trait {
		return &profilev1.Trait{Name: name, Source: source, Value: v, ObservedAt: stamp(at), Count: n}
	}
	given := &profilev1.ConsentRecord{At: stamp(5), Consent: &eventv1.Consent{State: eventv1.ConsentState_CONSENT_STATE_GIVEN, Channel: "email", Topic: "*"}}
	gone := &profilev1.ConsentRecord{At: stamp(1), Consent: &eventv1.Consent{State: eventv1.ConsentState_CONSENT_STATE_WITHDRAWN, Channel: "email", Topic: "*"}}
	p := &profilev1.Profile{Leaves: []*profilev1.Leaf{
		{
			Traits: []*profilev1.Trait{
				trait("city", "e1", event.Text("Bonn"), 3, 0), trait("first", "Trait/first.first", event.Text("b"), 2, 1),
				trait("n", "Trait/n.count", event.Integer(2), 2, 2), trait("sum", "Trait/sum.sum", event.Number(1.5), 2, 2),
			},
			Consents:  []*profilev1.ConsentRecord{given},
			Endpoints: []*profilev1.Endpoint{{Channel: "email", Address: "a@x.example", Since: stamp(4)}},
			Zone:      &profilev1.Zone{Name: "Asia/Tokyo", Provenance: "context", ObservedAt: stamp(9)},
		},
		{
			Traits: []*profilev1.Trait{
				trait("city", "e2", event.Text("Rome"), 5, 0), trait("first", "Trait/first.first", event.Text("a"), 1, 1),
				trait("n", "Trait/n.count", event.Integer(3), 4, 3), trait("sum", "Trait/sum.sum", event.Number(2), 1, 1),
			},
			Consents: []*profilev1.ConsentRecord{gone},
			Endpoints: []*profilev1.Endpoint{
				{Channel: "email", Address: "a@x.example", Since: stamp(1), DoNotContact: &reasonv1.Reason{Code: reasonv1.Code_CODE_SUPPRESSED_HARD_BOUNCE}},
				{Channel: "sms", Address: "+491", Since: stamp(1)},
			},
			Zone: &profilev1.Zone{Name: "Europe/Rome", Provenance: "trait", ObservedAt: stamp(1)},
		},
	}}
	check(t, "city", value(p, "city"), "Rome")
	check(t, "first", value(p, "first"), "a")
	check(t, "count", value(p, "n"), int64(5))
	check(t, "sum", value(p, "sum"), 3.5)
	b := profile.Basis(p, nil)
	check(t, "consents", b.GetConsents(), []*profilev1.ConsentRecord{gone})
	check(t, "zone", b.GetZone().GetName(), "Europe/Rome")
	check(t, "endpoints", len(b.GetEndpoints()), 2)
	check(t, "blocked in any leaf", b.GetEndpoints()[0].GetDoNotContact().GetCode(), reasonv1.Code_CODE_SUPPRESSED_HARD_BOUNCE)
	check(t, "open", b.GetClosed(), nilReason())
}

// The address of a rep is a trait: contact depends on it, and it is no address of the customer's.
func TestAnAddressAmongTheTraitsIsPartOfTheBasis(t *testing.T) {
	r := profile.DefaultRules(hasher()).Reaching([]string{"rep_email"})
	changed := func(facts []*profilev1.Fact) bool {
		return slices.ContainsFunc(facts, func(f *profilev1.Fact) bool { return f.GetBasisChanged() != nil })
	}
	p, facts := applyAll(t, r, identify("a", 1, word("rep_email", "rep@shop.example"), word("city", "Rome")))
	check(t, "learned", changed(facts), true)
	want := []*profilev1.Endpoint{{Trait: "rep_email", Address: "rep@shop.example", Since: stamp(1)}}
	check(t, "address", profile.Basis(p, []string{"rep_email"}).GetEndpoints(), want)
	check(t, "not asked for", len(profile.Basis(p, nil).GetEndpoints()), 0)
	for _, next := range []struct {
		name  string
		value *eventv1.Value
		basis bool
	}{
		{"the same again", event.Text("rep@shop.example"), false},
		{"another rep", event.Text("two@shop.example"), true},
		{"no rep", nil, true},
	} {
		c, err := profile.Apply(r, p, identify(next.name, 2, prop("rep_email", next.value)), profile.Moment{})
		if err != nil {
			t.Fatal(err)
		}
		check(t, next.name, changed(c.Facts), next.basis)
	}
}

func nilReason() *reasonv1.Reason { return nil }

func TestOnlyGapsAboutPermissionCloseContact(t *testing.T) {
	r := profile.DefaultRules(hasher())
	p, _ := applyAll(t, r, happened("a", eventv1.Kind_KIND_TRACK, 1))
	c := profile.Miss(r, p, profile.Missed{DeadLetter: "dl-1"}, false)
	check(t, "open", profile.Closed(c.Profile), nilReason())
	c = profile.Miss(r, c.Profile, profile.Missed{DeadLetter: "dl-2"}, true)
	check(t, "closed", profile.Closed(c.Profile).GetEvidence(), []string{"dead letter dl-2"})
	check(t, "facts", names(c.Facts), "basis_changed")
	if again := profile.Miss(r, c.Profile, profile.Missed{DeadLetter: "dl-2"}, true); again.Profile != nil {
		t.Error("the same gap was noted twice")
	}
}

// Gaps are bounded, and whatever is lost about permission has closed contact. Once they cannot all be named it stays closed.
func TestGapsAreBoundedAndCloseContactAllTheSame(t *testing.T) {
	r := profile.DefaultRules(hasher())
	p, _ := applyAll(t, r, happened("a", eventv1.Kind_KIND_TRACK, 1))
	letter := func(n int) string { return fmt.Sprintf("%032x", n) }
	for n := range 2 * profile.MaxClosing {
		for _, closes := range []bool{false, true} {
			up := profile.Missed{DeadLetter: letter(2*n + map[bool]int{true: 1}[closes])}
			if c := profile.Miss(r, p, up, closes); c.Profile != nil {
				p = c.Profile
			}
		}
	}
	if n := p.SizeVT(); n > 32<<10 {
		t.Errorf("a profile with all its gaps has %d bytes, want at most 32 KiB", n)
	}
	var named []string
	for _, g := range p.GetGaps() {
		if g.GetClosesContact() && g.GetDeadLetter() != "" {
			named = append(named, g.GetDeadLetter())
		}
	}
	check(t, "named gaps that close contact", len(named), profile.MaxClosing)
	for _, g := range named {
		c, err := profile.CloseGap(r, p, &profilev1.GapClosed{DeadLetter: g}, profile.Moment{})
		if err != nil {
			t.Fatal(err)
		}
		p = c.Profile
	}
	if profile.Closed(p) == nil {
		t.Error("contact is open while dead letters about permission are left that nothing names")
	}
}

// A dead letter that came back in vain is another dead letter: its gap goes on under that name, and only under it.
func TestADeadLetterThatComesBackInVainHasOneGap(t *testing.T) {
	r := profile.DefaultRules(hasher())
	p, _ := applyAll(t, r, happened("a", eventv1.Kind_KIND_TRACK, 1))
	p = profile.Miss(r, p, profile.Missed{DeadLetter: "dl-1"}, true).Profile
	p = profile.Miss(r, p, profile.Missed{DeadLetter: "dl-2", Before: "dl-1"}, true).Profile
	check(t, "closed", profile.Closed(p).GetEvidence(), []string{"dead letter dl-2"})
	c, err := profile.Apply(r, p, happened("b", eventv1.Kind_KIND_TRACK, 2), profile.Moment{Now: hour(2), DeadLetter: "dl-2"})
	if err != nil {
		t.Fatal(err)
	}
	check(t, "open", profile.Closed(c.Profile), nilReason())
}

// Who does not learn that a profile was closed for it takes that one's addresses, which it claims, for a stranger's.
func TestALostAnswerClosesContact(t *testing.T) {
	r := profile.DefaultRules(hasher())
	p, _ := applyAll(t, r, identify("a", 1, word("email", "ann@x.example")))
	other := hasher().ID("default", &eventv1.Identifier{Kind: "email", Value: "ann@x.example"})
	mail, err := profile.Open(hasher(), &profilev1.Letter{Letter: &profilev1.Letter_Linked{Linked: &profilev1.Linked{
		Tenant: "default", To: p.GetId(), ProfileId: other, Cause: "a",
	}}})
	if err != nil {
		t.Fatal(err)
	}
	c := profile.MissLetter(r, mail, p, profile.Missed{DeadLetter: "dl-1"})
	check(t, "closed", profile.Closed(c.Profile).GetEvidence(), []string{"dead letter dl-1"})
}

func TestLettersThatSayNothingAreRefused(t *testing.T) {
	for name, l := range map[string]*profilev1.Letter{
		"empty":                     {},
		"forwarded to nobody":       {Letter: &profilev1.Letter_Forwarded{Forwarded: &profilev1.ForwardedEvent{ProfileId: []byte{1}}}},
		"claim of nobody":           {Letter: &profilev1.Letter_Claim{Claim: &profilev1.ClaimIdentifier{Tenant: "default"}}},
		"gap of nobody":             {Letter: &profilev1.Letter_Gap{Gap: &profilev1.GapNoted{Tenant: "default"}}},
		"closed gap of nobody":      {Letter: &profilev1.Letter_Closed{Closed: &profilev1.GapClosed{To: make([]byte, 16)}}},
		"conflict of nobody":        {Letter: &profilev1.Letter_Conflict{Conflict: &profilev1.IdentityConflict{Tenant: "default"}}},
		"answer without an address": {Letter: &profilev1.Letter_Linked{Linked: &profilev1.Linked{Cause: "e1"}}},
	} {
		if _, err := profile.Open(hasher(), l); fault.Of(err) != fault.Invalid {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}

func TestExpressionsWithoutAResultGiveTheEventUp(t *testing.T) {
	rule, problems := profile.CompileTrait("t", aggregate(profile.Sum, "double", &definitionv1.Aggregate{Event: "something", Value: "1 / event.n"}), testEnv(t))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	e := happened("a", eventv1.Kind_KIND_TRACK, 1)
	e.Properties = []*eventv1.Property{prop("n", event.Integer(0))}
	r := profile.NewRules(hasher(), event.DefaultKinds(), nil, []*profile.TraitRule{rule})
	p := &profilev1.Profile{Tenant: "default", Id: hasher().ID("default", ann())}
	if _, err := profile.Apply(r, p, e, profile.Moment{Now: hour(1)}); fault.Of(err) != fault.Invalid {
		t.Errorf("Apply = %v, want invalid", err)
	}
}

// What is known does not depend on the order in which events of different times arrive.
func TestOrderOfArrivalDoesNotMatter(t *testing.T) {
	rule := func(name string, spec *definitionv1.TraitDef, env *expr.Env) *profile.TraitRule {
		r, problems := profile.CompileTrait(name, spec, env)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return r
	}
	env := testEnv(t)
	of := func(v string) *definitionv1.Aggregate {
		return &definitionv1.Aggregate{Event: "order_placed", Value: v}
	}
	rules := profile.NewRules(hasher(), event.DefaultKinds(), nil, []*profile.TraitRule{
		rule("first", aggregate(profile.First, "int", of("event.items")), env), rule("items", aggregate(profile.Sum, "int", of("event.items")), env),
		rule("last", aggregate(profile.Last, "int", of("event.items")), env), rule("n", aggregate(profile.Count, "int", of("")), env),
	})
	draw := func(t *rapid.T, at int) *eventv1.Event {
		id := fmt.Sprint("e", at)
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 5:
			return identify(id, at, prop("email", nil))
		case 0:
			return identify(id, at, word("city", id), word("email", rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "mail")+"@x.example"))
		case 1:
			return consentEvent(id, at, eventv1.ConsentState(rapid.IntRange(1, 2).Draw(t, "state")))
		case 2:
			e := happened(id, eventv1.Kind_KIND_PAGE, at)
			e.Context = &eventv1.Context{TimeZone: rapid.SampledFrom([]string{"Asia/Tokyo", "Europe/Rome"}).Draw(t, "zone")}
			return e
		}
		e := order(id, at, 1, int64(at))
		e.Identifiers = []*eventv1.Identifier{ann()}
		return e
	}
	rapid.Check(t, func(t *rapid.T) {
		var events []*eventv1.Event
		for n := range rapid.IntRange(1, 12).Draw(t, "n") {
			events = append(events, draw(t, n))
		}
		a, _ := applyAll(t, rules, events...)
		b, _ := applyAll(t, rules, rapid.Permutation(events).Draw(t, "order")...)
		for _, p := range []*profilev1.Profile{a, b} {
			// Which event linked the first identity is the one that came first.
			p.Leaves[0].Identities = nil
		}
		if diff := cmp.Diff(a, b, protocmp.Transform()); diff != "" {
			t.Fatalf("(-by time +as drawn):\n%s", diff)
		}
	})
}

func TestSeenDays(t *testing.T) {
	at := timestamppb.New(start).AsTime()
	check(t, "days", fmt.Sprint(profile.SeenDays(at)), "[20260301 20260228 20260227 20260226]")
	check(t, "set", profile.SeenSet("default/i/00", profile.DayOf(at)), "default/i/00/seen/20260301")
}
