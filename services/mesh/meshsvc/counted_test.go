package meshsvc

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
)

// A computed trait that is added later says from when it counts; those that were there before count as long as before.
func TestAComputedTraitSaysSinceWhenItCounts(t *testing.T) {
	r := start(t, words{})
	r.customer("ann")
	r.order("ann", "o-1")
	r.eventually("the first order counts", func() bool { return trait(r.profile(user("ann")), "orders") == "1" })
	dir := workspace(t, t.TempDir(), words{})
	const more = "apiVersion: refrain/v1\nkind: Trait\nmetadata: {name: spent}\nspec: {type: double, sum: {event: order_placed, value: event.total}}\n"
	if err := os.WriteFile(filepath.Join(dir, "more.yaml"), []byte(more), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Apply(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	var spent, orders *profilev1.Trait
	next := 1
	r.eventually("the new trait counts", func() bool { // from when the partition has heard of it
		next++
		r.order("ann", fmt.Sprint("o-", next))
		p := r.profile(user("ann"))
		orders, spent = traitOf(p, "orders"), traitOf(p, "spent")
		return spent != nil
	})
	if got, all := spent.GetValue().GetNumber(), orders.GetValue().GetInteger(); got < 12.5 || got > 12.5*float64(all-1) {
		t.Errorf("%g was spent in %d orders of 12.5: the first order is not in it", got, all)
	}
	before, since := orders.GetCountedSince().AsTime(), spent.GetCountedSince().AsTime()
	if orders.GetCountedSince() == nil || !since.After(before) || since.After(spent.GetObservedAt().AsTime()) {
		t.Errorf("orders count since %s and what was spent since %s, with an order at %s", before, since, spent.GetObservedAt().AsTime())
	}
	if name := traitOf(r.profile(user("ann")), "name"); name.GetCountedSince() != nil {
		t.Errorf("a trait that is published counts: %v", name)
	}
}

func traitOf(p *profilev1.Profile, name string) *profilev1.Trait {
	for _, leaf := range p.GetLeaves() {
		for _, tr := range leaf.GetTraits() {
			if tr.GetName() == name {
				return tr
			}
		}
	}
	return nil
}
