package ingestsvc

import (
	"testing"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

// One id of two customers is two events: what is stored of one says nothing of the other. Of tenants the same.
func TestRecentTellsCustomersApart(t *testing.T) {
	of := func(tenant, customer string) submission {
		return submission{items: []*item{{event: &eventv1.Event{Id: "1", Tenant: tenant}, customer: []byte(customer)}}}
	}
	var r recent
	r.note(of("default", "ann"), []result{{position: &eventv1.Position{Sequence: 7}}})
	for _, tt := range []struct {
		tenant, customer string
		want             uint64
	}{{"default", "ann", 7}, {"default", "bob", 0}, {"other", "ann", 0}} {
		s := of(tt.tenant, tt.customer)
		r.recall(s)
		if got := s.items[0].stored.GetSequence(); got != tt.want {
			t.Errorf("%s of %s: stored at %d, want %d", tt.customer, tt.tenant, got, tt.want)
		}
	}
}
