package ingestsvc

import (
	"net/http"
	"strings"
	"testing"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/source"
)

func TestDeclaredKindsAreTakenOnceTheyAreApplied(t *testing.T) {
	f := newFixture(t)
	r := newRouting(Default(), f.deps)
	f.door.kinds = r
	body := `{"event":"a","context":{"externalIds":[{"type":"badge","id":"ABC"}]}}`
	if err := r.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, a, _ := f.post("/v1/track", body); len(a.Refused) != 1 || a.Refused[0].Field != "context.externalIds[0]" {
		t.Fatalf("before: %+v", a)
	}
	bundle := &definitionv1.Bundle{Revision: "abc123abc123", Resources: []*definitionv1.Resource{{
		Metadata: &definitionv1.Metadata{Name: "badge"},
		Spec:     &definitionv1.Resource_Identifier{Identifier: &definitionv1.IdentifierKind{Class: "person", Priority: 30, Normaliser: "lower"}},
	}}}
	data, err := bundle.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	if err := source.Put(t.Context(), f.deps.Bundles, source.Bundle{Tenant: "default", Revision: bundle.GetRevision(), Data: data}); err != nil {
		t.Fatal(err)
	}
	if err := source.Activate(t.Context(), f.deps.Bundles, f.deps.Broker, f.deps.Generation.Partitions, bundle.GetRevision(), noon); err != nil {
		t.Fatal(err)
	}
	if err := r.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.post("/v1/track", body)
	if id := f.one("live").GetIdentifiers()[0]; id.GetKind() != "badge" || id.GetValue() != "abc" {
		t.Errorf("stored %v", id)
	}
	if _, ok := r.Kinds("bank").Kind("badge"); ok {
		t.Error("another tenant has the kind too")
	}
}

// A telephone number without country code is of the workspace's region. Before the workspace names one, it is set aside with a
// remark, the event is taken, and the number stays in the traits as it came.
func TestAPhoneWithoutCountryIsOfTheWorkspacesRegion(t *testing.T) {
	f := newFixture(t)
	r := newRouting(Default(), f.deps)
	f.door.kinds = r
	if err := r.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	body := `{"userId":"u1","messageId":"m1","traits":{"phone":"030 123456"}}`
	_, a, _ := f.post("/v1/identify", body)
	if len(a.Refused) != 0 || len(a.Remarks) != 1 || a.Remarks[0].Field != "traits.phone" || !strings.Contains(a.Remarks[0].Why, "without country code") {
		t.Fatalf("before: %+v; want the phone set aside and nothing else", a)
	}
	before := f.one("live")
	if len(before.GetIdentifiers()) != 1 || event.Property(before.GetTraits(), "phone").GetText() != "030 123456" {
		t.Errorf("before: stored %v; want the user and the number as it came", before)
	}
	bundle := &definitionv1.Bundle{Revision: "abc123abc123", Resources: []*definitionv1.Resource{{
		Metadata: &definitionv1.Metadata{Name: "shop"},
		Spec:     &definitionv1.Resource_Workspace{Workspace: &definitionv1.Workspace{Region: "DE"}},
	}}}
	data, err := bundle.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	if err := source.Put(t.Context(), f.deps.Bundles, source.Bundle{Tenant: "default", Revision: bundle.GetRevision(), Data: data}); err != nil {
		t.Fatal(err)
	}
	if err := source.Activate(t.Context(), f.deps.Bundles, f.deps.Broker, f.deps.Generation.Partitions, bundle.GetRevision(), noon); err != nil {
		t.Fatal(err)
	}
	if err := r.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, a, _ = f.post("/v1/identify", strings.ReplaceAll(body, "m1", "m2")); len(a.Refused)+len(a.Remarks) != 0 {
		t.Fatalf("after: %+v; want it taken as it is", a)
	}
	if ids := f.stored("live")[1].GetIdentifiers(); len(ids) != 2 || ids[1].GetValue() != "+4930123456" {
		t.Errorf("after: stored %v; want the number with its country code", ids)
	}
}

// What comes before the definitions were ever read is judged by them all the same, or has to come again: by the default
// kinds it would be refused, or go to another home.
func TestNothingIsJudgedBeforeTheDefinitionsAreRead(t *testing.T) {
	f := newFixture(t)
	bundle := &definitionv1.Bundle{Revision: "abc123abc123", Resources: []*definitionv1.Resource{{
		Metadata: &definitionv1.Metadata{Name: "shop"},
		Spec:     &definitionv1.Resource_Workspace{Workspace: &definitionv1.Workspace{Region: "DE"}},
	}}}
	data, err := bundle.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	if err := source.Put(t.Context(), f.deps.Bundles, source.Bundle{Tenant: "default", Revision: bundle.GetRevision(), Data: data}); err != nil {
		t.Fatal(err)
	}
	if err := source.Activate(t.Context(), f.deps.Bundles, f.deps.Broker, f.deps.Generation.Partitions, bundle.GetRevision(), noon); err != nil {
		t.Fatal(err)
	}
	f.door.kinds = newRouting(Default(), f.deps)
	f.memory.SetFaults(func(op log.Op) log.Fault {
		if op.Name == "kv.get" {
			return log.Fault{Effect: log.LostBefore}
		}
		return log.Fault{}
	})
	body := `{"event":"a","messageId":"m1","context":{"externalIds":[{"type":"phone","id":"030 123456","collection":"users"}]}}`
	if code, a, _ := f.post("/v1/track", body); code != http.StatusServiceUnavailable || len(f.stored("live")) != 0 || len(a.Refused) != 0 {
		t.Fatalf("while they cannot be read: answered %d %+v, stored %v; want 503 and nothing", code, a, f.stored("live"))
	}
	f.memory.SetFaults(nil)
	if code, a, _ := f.post("/v1/track", body); code != http.StatusOK || len(a.Refused) != 0 {
		t.Fatalf("answered %d %+v", code, a)
	}
	if got := f.one("live").GetIdentifiers()[0].GetValue(); got != "+4930123456" {
		t.Errorf("stored about %s, want the number in the workspace's region", got)
	}
}
