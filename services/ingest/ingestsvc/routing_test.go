package ingestsvc

import (
	"testing"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

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
