package ledger

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/source"
)

// What one tenant applies leaves the others what they have.
func TestAnApplyIsOfOneTenant(t *testing.T) {
	both := map[string]string{"default": "r1", "bank": "b1"}
	for name, tt := range map[string]struct {
		next map[string]string
		want []Rule
	}{
		"another tenant comes":         {both, nil},
		"the other one loses its own":  {map[string]string{"bank": "b1"}, []Rule{TenantDefinitions}},
		"the other one gets something": {map[string]string{"default": "r2", "bank": "b1"}, []Rule{TenantDefinitions}},
	} {
		t.Run(name, func(t *testing.T) {
			w := goodWorld(t)
			for p := range worldPartitions {
				w.put("evt.control", p, &stagev1.Arrival{Item: &stagev1.Arrival_Catalog{Catalog: &stagev1.CatalogApplied{Revision: SetID(tt.next), Order: 2}}})
			}
			h := w.history()
			h.Settled = false
			h.Sets = map[string]map[string]string{"r1": {"default": "r1"}, SetID(tt.next): tt.next}
			h.Definitions["r1"] = worldDefinitions()
			if got := rulesOf(Verify(h).Violations); !slices.Equal(got, tt.want) {
				t.Errorf("broken are %v, want %v", got, tt.want)
			}
		})
	}
}

// A customer is judged by what its own tenant has, and approved for nothing while that is nothing.
func TestAVerdictRestsOnTheTenantsDefinitions(t *testing.T) {
	rests := func(bundle string) func(w *world) {
		return func(w *world) {
			v := verdict(contactv1.VerdictKind_VERDICT_KIND_SUPPRESSED, "p1", "hello", nil, w.now)
			v.GetVerdictGiven().Reasons = []*reasonv1.Reason{{Code: reasonv1.Code_CODE_CAP_REACHED, Revision: bundle}}
			w.decide(suppression, 0, is{key: ann, state: []byte("basis"), facts: []encoder{v}})
		}
	}
	for name, tt := range map[string]struct {
		also func(w *world)
		sets map[string]map[string]string
		want bool
	}{
		"its own bundle":          {rests("r1"), map[string]map[string]string{"r1": {"default": "r1"}}, false},
		"another tenant's bundle": {rests("b1"), map[string]map[string]string{"r1": {"default": "r1"}, "b1": {"bank": "b1"}}, true},
		"none":                    {nil, map[string]map[string]string{"r1": {"bank": "r1"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var also []func(w *world)
			if tt.also != nil {
				also = append(also, tt.also)
			}
			h := goodWorld(t, also...).history()
			h.Sets, h.Definitions["r1"] = tt.sets, worldDefinitions()
			if got := slices.Contains(rulesOf(Verify(h).Violations), TenantDefinitions); got != tt.want {
				t.Errorf("it rests on another tenant's: %v, want %v: %v", got, tt.want, Verify(h).Violations)
			}
		})
	}
}

// An opt-out at an address is one of its tenant's customer: another tenant goes on to write there.
func TestAnOptOutAtAnAddressIsOfOneTenant(t *testing.T) {
	for tenant, want := range map[string]bool{"default": true, "bank": false} {
		w := goodWorld(t)
		w.sent = append(w.sent, Sent{
			ID: "o1", Tenant: tenant, Identifiers: []string{"email:ann@shop.example"}, Acknowledged: noon.Add(-time.Hour),
			OptOut: &OptOut{Channel: "*", Topic: "*"},
		})
		for n := range w.received {
			w.received[n].Address = "Ann@shop.example"
		}
		h := w.history()
		h.AllSent = false
		if got := Verify(h).Broken[ContactOptOut] > 0; got != want {
			t.Errorf("an opt-out from %s: broken is %v, want %v", tenant, got, want)
		}
	}
}

// What revisions stand for is read from where a mesh keeps it: what was removed is not known, and what is stored under
// another's revision is an error.
func TestReadSets(t *testing.T) {
	m, _, err := log.ProvisionMemory(t.Context(), log.Generation{Number: 1, Partitions: worldPartitions, Streams: 1, Replicas: 1, Secret: []byte(strings.Repeat("s", 32))})
	if err != nil {
		t.Fatal(err)
	}
	s := source.StoreOf(m)
	for _, b := range []source.Bundle{{Tenant: "default", Revision: "r1"}, {Tenant: "bank", Revision: "b1"}, {Tenant: "bank", Revision: "b2"}} {
		b.Data = []byte(b.Revision)
		if err := source.Put(t.Context(), s, b); err != nil {
			t.Fatal(err)
		}
		if err := source.Activate(t.Context(), s, m, worldPartitions, b.Revision, noon); err != nil {
			t.Fatal(err)
		}
	}
	archive := NewArchive(m, log.Generation{Number: 1, Partitions: worldPartitions, Streams: 1})
	h, err := archive.Load(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	both := func(bank string) map[string]string { return map[string]string{"default": "r1", "bank": bank} }
	want := map[string]map[string]string{"r1": {"default": "r1"}, SetID(both("b1")): both("b1"), SetID(both("b2")): both("b2")}
	got, err := ReadSets(t.Context(), h, m.KV(), m.Objects())
	if err != nil || !maps.EqualFunc(got, want, maps.Equal) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if err := m.KV().Put(t.Context(), "bundle/r1", []byte(`{"tenant":"default","object":"x","removed":true}`)); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadSets(t.Context(), h, m.KV(), m.Objects()); err != nil || got["r1"] != nil || len(got) != 2 {
		t.Errorf("after one was removed: got %v, %v", got, err)
	}
	object, _, err := m.KV().Get(t.Context(), "bundle/"+SetID(both("b2")))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.KV().Put(t.Context(), "bundle/"+SetID(both("b1")), object); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadSets(t.Context(), h, m.KV(), m.Objects()); err == nil {
		t.Errorf("with another set under its revision: got %v, and no error", got)
	}
}
