package state

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

// The keys of every stored state contain these tags: whoever changes the table loses all of them.
func TestHashTagsNeverChange(t *testing.T) {
	tags := hashTags()
	if got, want := strings.Join(tags[:8], " "), "460 716 3120 356 640 536 200 176"; got != want {
		t.Errorf("the first tags are %s, want %s", got, want)
	}
	sum := sha256.Sum256([]byte(strings.Join(tags, " ")))
	if got, want := hex.EncodeToString(sum[:8]), "12f0487148991f4b"; got != want {
		t.Errorf("the table's hash is %s, want %s", got, want)
	}
}

func TestSlotIsRedisCRC16(t *testing.T) {
	if got, want := slot("123456789"), 0x31C3%slots; got != want {
		t.Errorf("slot = %d, want %d", got, want)
	}
}

// Partitions spread evenly over nodes that hold equal ranges of slots.
func TestHashTagsSpreadEvenly(t *testing.T) {
	tags := hashTags()
	if unique := slices.Compact(slices.Sorted(slices.Values(tags))); len(unique) != MaxPartitions {
		t.Fatalf("%d different tags, want %d", len(unique), MaxPartitions)
	}
	for _, partitions := range []int{8, 16, 64, 256, 1024} {
		for _, nodes := range []int{1, 2, 3, 4, 5, 6, 8, 20} {
			if nodes > partitions {
				continue
			}
			count := make([]int, nodes)
			for _, tag := range tags[:partitions] {
				count[slot(tag)*nodes/slots]++
			}
			if low, high := slices.Min(count), slices.Max(count); high-low > 2 || low == 0 {
				t.Errorf("%d partitions on %d nodes: from %d to %d, want at most 2 apart", partitions, nodes, low, high)
			}
		}
	}
}
