package source_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/source"
)

func putOf(t *testing.T, s source.Store, tenant, revision string) {
	t.Helper()
	if err := source.Put(t.Context(), s, source.Bundle{Tenant: tenant, Revision: revision, Data: []byte(revision)}); err != nil {
		t.Fatal(err)
	}
}

// What a tenant applies leaves all others what they have, in every order, and every id goes on to stand for what it stood for.
func TestATenantsApplyLeavesTheOthersTheirs(t *testing.T) {
	m := site(t)
	s := source.StoreOf(m)
	for tenant, revisions := range map[string][]string{"a": {"a1", "a2"}, "b": {"b1"}, "c": {"c1"}} {
		for _, r := range revisions {
			putOf(t, s, tenant, r)
		}
	}
	steps := []struct {
		apply string
		want  map[string]string
	}{
		{"a1", map[string]string{"a": "a1"}},
		{"b1", map[string]string{"a": "a1", "b": "b1"}},
		{"c1", map[string]string{"a": "a1", "b": "b1", "c": "c1"}},
		{"a2", map[string]string{"a": "a2", "b": "b1", "c": "c1"}},
		{"a2", map[string]string{"a": "a2", "b": "b1", "c": "c1"}},
		{"a1", map[string]string{"a": "a1", "b": "b1", "c": "c1"}},
	}
	c := source.New(s, clock.Wall{}, text)
	ids := make([]string, len(steps))
	for n, step := range steps {
		if err := source.Activate(t.Context(), s, m, partitions, step.apply, instant); err != nil {
			t.Fatal(err)
		}
		now, err := source.Current(t.Context(), m.KV())
		if err != nil || !maps.Equal(now.Tenants, step.want) {
			t.Fatalf("after %s: got %v, %v; want %v", step.apply, now.Tenants, err, step.want)
		}
		ids[n] = now.ID
		if err := c.Prepare(t.Context(), now.ID); err != nil {
			t.Fatal(err)
		}
	}
	if ids[0] != "a1" || ids[3] != ids[4] || ids[2] != ids[5] || ids[2] == ids[3] {
		t.Errorf("got ids %v; a single bundle is its own set, and a set is named by its content", ids)
	}
	for n, step := range steps {
		for _, tenant := range []string{"a", "b", "c", "d"} {
			got, ok := c.At(ids[n], tenant)
			if !ok || got.Revision != step.want[tenant] || got.Catalog != step.want[tenant] {
				t.Errorf("under %s tenant %s has %+v, %v; want %q", ids[n], tenant, got, ok, step.want[tenant])
			}
		}
	}
	if got := c.All("a"); !slices.Equal(slices.Sorted(slices.Values(got)), []string{"a1", "a2"}) {
		t.Errorf("of tenant a are kept %v", got)
	}
	for p := range partitions {
		if got := told(t, m, p); !slices.Equal(slices.Compact(got), slices.Compact(slices.Clone(ids))) {
			t.Errorf("partition %d heard %v; want %v", p, got, ids)
		}
	}
}

// A bundle that is asked for by itself is its tenant's only, also where another set has it.
func TestABundleIsItsTenantsOnly(t *testing.T) {
	m := site(t)
	s := source.StoreOf(m)
	putOf(t, s, "a", "a1")
	c := source.New(s, clock.Wall{}, text)
	if err := c.Prepare(t.Context(), "a1"); err != nil {
		t.Fatal(err)
	}
	if got, ok := c.At("a1", "a"); !ok || got.Catalog != "a1" {
		t.Errorf("its tenant has %+v, %v", got, ok)
	}
	if got, ok := c.At("a1", "b"); !ok || got.Revision != "" || got.Catalog != "" {
		t.Errorf("another tenant has %+v, %v; want none", got, ok)
	}
	if err := source.Put(t.Context(), s, source.Bundle{Tenant: "b", Revision: "a1", Data: []byte("a1")}); fault.Of(err) != fault.Conflict {
		t.Errorf("the same revision of another tenant: got %v; want Conflict", err)
	}
	if err := source.Put(t.Context(), s, source.Bundle{Revision: "a3", Data: []byte("a3")}); fault.Of(err) != fault.Invalid {
		t.Errorf("of no tenant: got %v; want Invalid", err)
	}
}

// All who apply at the same time get what they applied, and every partition ends with all of it.
func TestTenantsThatApplyAtTheSameTime(t *testing.T) {
	m := site(t)
	s := source.StoreOf(m)
	want := map[string]string{"a": "a1", "b": "b1", "c": "c1", "d": "d1"}
	for tenant, r := range want {
		putOf(t, s, tenant, r)
	}
	var wg sync.WaitGroup
	for _, r := range want {
		wg.Go(func() {
			if err := source.Activate(t.Context(), s, m, partitions, r, instant); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	now, err := source.Current(t.Context(), m.KV())
	if err != nil || !maps.Equal(now.Tenants, want) {
		t.Fatalf("got %v, %v; want %v", now.Tenants, err, want)
	}
	for p := range partitions {
		if got := told(t, m, p); got[len(got)-1] != now.ID {
			t.Errorf("partition %d ends with %v; want %s", p, got, now.ID)
		}
	}
}

// As many tenants have definitions as may, and go on to apply; one more is refused with a reason that says the limit, and
// has none.
func TestOneTenantMoreThanMayHaveDefinitions(t *testing.T) {
	m := site(t)
	s := source.StoreOf(m)
	for n := range source.MaxTenants {
		r := fmt.Sprintf("r%04d", n)
		putOf(t, s, "tenant-"+r, r)
		if err := source.Activate(t.Context(), s, m, 1, r, instant); err != nil {
			t.Fatalf("tenant %d of %d: %v", n+1, source.MaxTenants, err)
		}
	}
	putOf(t, s, "one-more", "m1")
	err := source.Activate(t.Context(), s, m, 1, "m1", instant)
	if fault.Of(err) != fault.Invalid || !strings.Contains(err.Error(), fmt.Sprint(source.MaxTenants)) {
		t.Errorf("one more: got %v; want Invalid that says %d", err, source.MaxTenants)
	}
	putOf(t, s, "tenant-r0000", "m2")
	if err := source.Activate(t.Context(), s, m, 1, "m2", instant); err != nil {
		t.Errorf("one of them applies again: %v", err)
	}
	now, err := source.Current(t.Context(), m.KV())
	if err != nil || len(now.Tenants) != source.MaxTenants || now.Tenants["tenant-r0000"] != "m2" || now.Tenants["one-more"] != "" {
		t.Errorf("%d tenants have definitions, the first %q, %v; want %d, m2", len(now.Tenants), now.Tenants["tenant-r0000"], err, source.MaxTenants)
	}
}

// A bundle is compiled once, however many sets it is in.
func TestWhatASetSharesIsCompiledOnce(t *testing.T) {
	m := site(t)
	s := source.StoreOf(m)
	compiled := map[string]int{}
	c := source.New(s, clock.Wall{}, func(data []byte) (string, error) {
		compiled[string(data)]++
		return text(data)
	})
	for _, r := range []string{"a1", "b1", "b2", "b3"} {
		putOf(t, s, r[:1], r)
		if err := source.Activate(t.Context(), s, m, partitions, r, instant); err != nil {
			t.Fatal(err)
		}
		if _, err := c.InForce(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if want := map[string]int{"a1": 1, "b1": 1, "b2": 1, "b3": 1}; !maps.Equal(compiled, want) {
		t.Errorf("compiled %v; want %v", compiled, want)
	}
}

// A tenant's bundle stays while it applies, whoever else applies how much; what it replaced goes, and so do old sets.
func TestACollectorKeepsAllTenantsBundles(t *testing.T) {
	s := newShelf(t)
	store := source.StoreOf(s.m)
	putOf(t, store, "a", "a1")
	s.activate("a1")
	for _, r := range []string{"b1", "b2", "b3"} {
		putOf(t, store, "b", r)
		s.activate(r)
	}
	s.applied(4, "b1")
	if got := s.pass("a1", "b1", "b2", "b3"); !slices.Equal(got, []string{"a1", "b1", "b3"}) {
		t.Errorf("there are %v; want a1 and b3, which apply, and b1, which a state names", got)
	}
	if n := s.objects(); n != 4 {
		t.Errorf("%d objects are left; want three bundles and the set in force", n)
	}
	if _, err := source.New(store, clock.Wall{}, text).InForce(t.Context(), "a"); err != nil {
		t.Errorf("what applies: %v", err)
	}
}
