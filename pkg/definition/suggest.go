package definition

import (
	"slices"
	"strings"
)

// didYouMean suggests the nearest of the known words, if one is near, and otherwise lists them.
func didYouMean(word string, known []string) string {
	if best := Nearest(word, known); best != "" {
		return "did you mean " + best + "?"
	}
	if len(known) == 0 {
		return "nothing may stand here"
	}
	return "one of " + strings.Join(slices.Sorted(slices.Values(known)), ", ")
}

// Nearest returns the known word that is most like word, empty if none is like it.
func Nearest(word string, known []string) string {
	best, distance := "", (len(word)+1)/3+1
	for _, k := range known {
		if d := edits(strings.ToLower(word), strings.ToLower(k)); d < distance {
			best, distance = k, d
		}
	}
	return best
}

// edits is the number of letters to insert, remove, replace or swap with the next to get from a to b.
func edits(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b)) // too long for a slip of the hand
	}
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, last[j]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
