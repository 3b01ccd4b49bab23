package shop

import (
	"reflect"
	"testing"
)

// Every workspace that a run may use compiles and has rules of its own.
func TestEveryWorkspaceCompiles(t *testing.T) {
	b, err := NewBundles()
	if err != nil {
		t.Fatal(err)
	}
	var all []*bundle
	for n, made := range b.made {
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
