package shop

import (
	"reflect"
	"slices"
	"testing"
)

// Every workspace that a run may use compiles and has rules of its own.
func TestEveryWorkspaceCompiles(t *testing.T) {
	b, err := NewBundles()
	if err != nil {
		t.Fatal(err)
	}
	var all []*bundle
	for n, made := range slices.Concat(b.made[:], b.other[:]) {
		one, err := made()
		if err != nil {
			t.Errorf("workspace %d: %v", n, err)
			continue
		}
		for m, other := range all {
			if reflect.DeepEqual(one.rules, other.rules) {
				t.Errorf("workspaces %d and %d have the same rules", m, n)
			}
		}
		all = append(all, one)
	}
}

// The second tenant has workspaces of its own, and what is left of one when its definitions are removed is its workspace.
func TestTheSecondTenantsWorkspaces(t *testing.T) {
	b, err := NewBundles()
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(20) {
		all, err := b.second(seed)
		if err != nil {
			t.Fatal(err)
		}
		for n, one := range all {
			if one.tenant != secondTenant || one.rules.Tenant != secondTenant {
				t.Errorf("seed %d: workspace %d is of %s, its rules of %s", seed, n, one.tenant, one.rules.Tenant)
			}
			if bare := n == len(all)-1; bare != (len(one.rules.Policies) == 0) {
				t.Errorf("seed %d: workspace %d of %d has %d policies", seed, n, len(all), len(one.rules.Policies))
			}
		}
		if left := all[len(all)-1].rules.Zone; left != all[len(all)-2].rules.Zone {
			t.Errorf("seed %d: what is left has the zone %s, want %s", seed, left, all[len(all)-2].rules.Zone)
		}
	}
}
