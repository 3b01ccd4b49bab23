package state

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A sorted set gives what a sorted map's keys give, also across the borders of its chunks.
func TestSortedIsASortedSet(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := sorted[int]{compare: cmp.Compare[int]}
		model := map[int]bool{}
		insert := func(v int) { s.insert(v); model[v] = true }
		for i := range rapid.IntRange(0, 3000).Draw(rt, "many") {
			insert(i * 7919 % 5003)
		}
		for range rapid.IntRange(0, 200).Draw(rt, "changes") {
			v := rapid.IntRange(-1, 5004).Draw(rt, "value")
			if rapid.Bool().Draw(rt, "insert") {
				insert(v)
			} else {
				for w := v; w < v+rapid.SampledFrom([]int{1, 600}).Draw(rt, "run"); w++ {
					s.remove(w)
					delete(model, w)
				}
			}
		}
		after := rapid.IntRange(-2, 5005).Draw(rt, "from")
		var got, want []int
		s.from(after, func(v int) bool { got = append(got, v); return true })
		for v := range model {
			if v >= after {
				want = append(want, v)
			}
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			rt.Fatalf("from %d: got %d values, want %d", after, len(got), len(want))
		}
	})
}
