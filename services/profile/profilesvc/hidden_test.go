package profilesvc

import (
	"strings"
	"testing"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/event"
)

// Identifiers are answered unless the operator says otherwise; then nothing that names the customer is.
func TestIdentifiersAreHiddenIfTheOperatorSaysSo(t *testing.T) {
	if !Default().ShowIdentifiers {
		t.Error("identifiers are hidden by default")
	}
	p := &profilev1.Profile{Leaves: []*profilev1.Leaf{{
		Identities: []*profilev1.Identity{{Identifier: &eventv1.Identifier{Kind: "email", Value: "ada@shop.example", Written: "Ada@shop.example"}}},
		Endpoints:  []*profilev1.Endpoint{{Channel: "email", Address: "ada@shop.example", Written: "Ada@shop.example"}},
		Traits:     []*profilev1.Trait{{Name: "email", Value: event.Text("Ada@shop.example")}, {Name: "orders", Value: event.Integer(3)}},
		Quarantine: []*profilev1.Quarantined{{Name: "email", Raw: event.Text("ada@")}},
	}}}
	got := hidden(p)
	if text := strings.ToLower(got.String()); strings.Contains(text, "ada@") {
		t.Errorf("got %s", text)
	}
	leaf := got.GetLeaves()[0]
	if leaf.GetIdentities()[0].GetIdentifier().GetKind() != "email" || leaf.GetEndpoints()[0].GetChannel() != "email" || len(leaf.GetTraits()) != 1 {
		t.Errorf("got %v; want what names nobody", leaf)
	}
	if p.GetLeaves()[0].GetEndpoints()[0].GetAddress() == "" {
		t.Error("the state was changed")
	}
}
