package profile_test

import (
	"testing"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/profile"
)

func endpoint(p *profilev1.Profile, channel string) *profilev1.Endpoint {
	for _, ep := range profile.Endpoints(p) {
		if ep.GetChannel() == channel {
			return ep
		}
	}
	return nil
}

func TestAnAddressIsComparedInOneFormAndWrittenToAsPublished(t *testing.T) {
	rules := profile.DefaultRules(hasher())
	p, facts := applyAll(t, rules, identify("a", 1, word("email", "Ann@MÜNCHEN.example")))
	ep := endpoint(p, "email")
	check(t, "address", ep.GetAddress(), "ann@xn--mnchen-3ya.example")
	check(t, "written", ep.GetWritten(), "Ann@xn--mnchen-3ya.example")
	check(t, "identities", len(p.GetLeaves()[0].GetIdentities()), 2)
	check(t, "facts", names(facts), "identifier_linked identifier_linked basis_changed event_applied")

	again, facts := applyAll(t, rules,
		identify("a", 1, word("email", "Ann@MÜNCHEN.example")),
		happened("b", eventv1.Kind_KIND_TRACK, 2, ann(), &eventv1.Identifier{Kind: "email", Value: "ann@xn--mnchen-3ya.example", Written: "ANN@xn--mnchen-3ya.example"}),
		happened("late", eventv1.Kind_KIND_TRACK, 0, ann(), &eventv1.Identifier{Kind: "email", Value: "ann@xn--mnchen-3ya.example"}))
	check(t, "one identity", again.GetLeaves()[0].GetIdentities()[1].GetIdentifier(), &eventv1.Identifier{Kind: "email", Value: "ann@xn--mnchen-3ya.example"})
	check(t, "identities", len(again.GetLeaves()[0].GetIdentities()), 2)
	check(t, "one endpoint", len(again.GetLeaves()[0].GetEndpoints()), 1)
	check(t, "the latest way to write it", endpoint(again, "email").GetWritten(), "ANN@xn--mnchen-3ya.example")
	check(t, "facts", names(facts), "identifier_linked identifier_linked basis_changed event_applied basis_changed event_applied event_applied")
}

func TestANumericPhoneIsAPhone(t *testing.T) {
	rules := profile.NewRules(hasher(), event.DefaultKinds().In("GB"), nil, nil)
	for _, v := range []*eventv1.Value{event.Integer(442079460000), event.Number(442079460000), event.Text("442079460000")} {
		p, _ := applyAll(t, rules, identify("a", 1, prop("phone", v)))
		check(t, "phone", endpoint(p, "sms").GetAddress(), "+442079460000")
	}
}

// A number of which nobody knows the country is kept as it came and is no address; that is the reason for not contacting
// there, until a number with its country comes or it is taken away. An address that cannot be one is of that kind, too.
func TestAnAddressThatCannotBeOneIsKeptAndIsTheReason(t *testing.T) {
	for _, c := range []struct{ kind, channel, raw, good, evidence string }{
		{"phone", "sms", "030 123456", "+49 30 123456", "the customer's phone came as …56, which is not a phone number with its country code"},
		{"email", "email", "ann at shop", "ann@shop.example", "the customer's email came as …op, which is not an e-mail address"},
	} {
		raw := identify("a", 1, word(c.kind, c.raw))
		p, _ := applyAll(t, profile.DefaultRules(hasher()), raw)
		check(t, "endpoints", len(p.GetLeaves()[0].GetEndpoints()), 0)
		check(t, "identities", len(p.GetLeaves()[0].GetIdentities()), 1)
		check(t, "kept", p.GetLeaves()[0].GetQuarantine()[0].GetRaw().GetText(), c.raw)
		missing := profile.Basis(p, nil).GetMissing()
		check(t, "kind", missing[0].GetKind(), c.kind)
		check(t, "code", missing[0].GetReason().GetCode(), reasonv1.Code_CODE_INVALID_ENDPOINT)
		check(t, "evidence", missing[0].GetReason().GetEvidence()[0], c.evidence)

		p, _ = applyAll(t, profile.DefaultRules(hasher()), raw, identify("b", 2, word(c.kind, c.good)))
		check(t, "endpoint", endpoint(p, c.channel) != nil, true)
		p, _ = applyAll(t, profile.DefaultRules(hasher()), raw, identify("b", 2, word(c.kind, "")))
		check(t, "missing when it is taken away", len(profile.Basis(p, nil).GetMissing()), 0)
	}
}
