package source_test

import (
	"maps"
	"testing"
	"time"

	"refrain.dev/pkg/source"
)

// A computed trait counts since it has been computed as it is now: through what is activated again and other changes,
// but not over a gap.
func TestSinceWhenAComputedTraitCounts(t *testing.T) {
	m := site(t)
	s := source.StoreOf(m)
	bundles := map[string]map[string]string{
		"r1": {"orders": "count"},
		"r2": {"orders": "count", "spent": "sum"},
		"r3": {"orders": "count of paid", "spent": "sum"},
		"r4": {"spent": "sum"},
	}
	for revision, computed := range bundles {
		b := source.Bundle{Tenant: "a", Revision: revision, Data: []byte(revision), Computed: computed}
		if err := source.Put(t.Context(), s, b); err != nil {
			t.Fatal(err)
		}
	}
	putOf(t, s, "b", "b1")
	hour := func(n int) time.Time { return instant.Add(time.Duration(n) * time.Hour).UTC() }
	for n, step := range []struct {
		apply string
		want  map[string]time.Time
	}{
		{"r1", map[string]time.Time{"orders": hour(0)}},
		{"r2", map[string]time.Time{"orders": hour(0), "spent": hour(1)}},
		{"r2", map[string]time.Time{"orders": hour(0), "spent": hour(1)}},
		{"b1", map[string]time.Time{"orders": hour(0), "spent": hour(1)}},
		{"r3", map[string]time.Time{"orders": hour(4), "spent": hour(1)}},
		{"r4", map[string]time.Time{"spent": hour(1)}},
		{"r1", map[string]time.Time{"orders": hour(6)}},
		{"r2", map[string]time.Time{"orders": hour(6), "spent": hour(7)}},
	} {
		if err := source.Activate(t.Context(), s, m, partitions, step.apply, hour(n)); err != nil {
			t.Fatal(err)
		}
		got, err := source.CountedSince(t.Context(), m.KV(), "a")
		if err != nil || !maps.EqualFunc(got, step.want, time.Time.Equal) {
			t.Errorf("after %s at hour %d: got %v, %v; want %v", step.apply, n, got, err, step.want)
		}
	}
	if got, err := source.CountedSince(t.Context(), m.KV(), "b"); err != nil || len(got) != 0 {
		t.Errorf("another tenant has %v, %v", got, err)
	}
}
