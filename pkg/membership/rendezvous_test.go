package membership

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// The weights are part of the protocol between replicas: computed once with sha256sum.
func TestWeightsNeverChange(t *testing.T) {
	for _, v := range []struct {
		service   string
		partition int
		replica   string
		want      uint64
	}{
		{"suppression", 0, "host-a", 0xac27b29994313943},
		{"suppression", 1, "host-a", 0xc3f0009e449fa78a},
		{"suppression", 0, "host-b", 0xa806e9cc891dfa01},
		{"dispatch", 1023, "refrain-dispatch-7f6d.example", 0x2ead2c747697b3b8},
	} {
		if got := Weight(v.service, v.partition, v.replica); got != v.want {
			t.Errorf("Weight(%q, %d, %q) = %#x, want %#x", v.service, v.partition, v.replica, got, v.want)
		}
	}
	got := assign("suppression", 16, named("host-a", "host-b", "host-c"))
	want := []string{"host-a", "host-a", "host-c", "host-b", "host-b", "host-c", "host-b", "host-c", "host-a", "host-c", "host-c", "host-b", "host-b", "host-c", "host-a", "host-c"}
	if !slices.Equal(got, want) {
		t.Errorf("partitions are assigned to\n%q, want\n%q", got, want)
	}
}

func named(names ...string) []candidate {
	var out []candidate
	for _, n := range names {
		out = append(out, candidate{name: n})
	}
	return out
}

// A newcomer takes about its share, and only what it takes moves; who goes leaves only its own to others.
func TestFewPartitionsMove(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // choices of a test
	const partitions = 1024
	for range 50 {
		var members []candidate
		for n := range 1 + r.IntN(8) {
			members = append(members, candidate{name: fmt.Sprintf("replica-%d-%d", n, r.IntN(1000))})
		}
		newcomer := fmt.Sprintf("newcomer-%d", r.IntN(1000))
		with := append(slices.Clone(members), candidate{name: newcomer})
		r.Shuffle(len(with), func(i, j int) { with[i], with[j] = with[j], with[i] })
		before, after := assign("s", partitions, members), assign("s", partitions, with)
		moved := 0
		for p := range partitions {
			if before[p] != after[p] {
				moved++
				if after[p] != newcomer {
					t.Fatalf("partition %d moved from %s to %s, and neither came nor went", p, before[p], after[p])
				}
			}
		}
		share := partitions / len(with)
		if moved < share/2 || moved > share*3/2 {
			t.Errorf("%d partitions moved to the last of %d members; its share is %d", moved, len(with), share)
		}
	}
}

func TestHeldPartitionsStay(t *testing.T) {
	before := assign("s", 64, named("a", "b"))
	var holds []int
	for p, owner := range before {
		if owner == "a" && p < 40 {
			holds = append(holds, p)
		}
	}
	after := assign("s", 64, []candidate{{name: "a", holds: holds}, {name: "b"}, {name: "c"}})
	free := assign("s", 64, named("a", "b", "c"))
	kept := 0
	for p := range after {
		switch {
		case slices.Contains(holds, p) && after[p] != "a":
			t.Errorf("partition %d is held by a and given to %s", p, after[p])
		case !slices.Contains(holds, p) && after[p] != free[p]:
			t.Errorf("partition %d is held by nobody and given to %s, want %s", p, after[p], free[p])
		case after[p] != free[p]:
			kept++
		}
	}
	if kept == 0 {
		t.Error("the holds changed nothing: the test has no teeth")
	}
	both := assign("s", 64, []candidate{{name: "a", holds: holds}, {name: "b", holds: holds}, {name: "c"}})
	for _, p := range holds {
		if want := before[p]; both[p] != want {
			t.Errorf("partition %d is held by a and b and given to %s, want %s, the heavier", p, both[p], want)
		}
	}
}

func TestNobodyOwnsWithoutMembers(t *testing.T) {
	if got := assign("s", 2, nil); !slices.Equal(got, []string{"", ""}) {
		t.Errorf("got %q", got)
	}
}

func TestRangesAreWrittenAsInSettings(t *testing.T) {
	for want, list := range map[string][]int{"": nil, "3": {3}, "0-3,7": {0, 1, 2, 3, 7}, "1,3-4": {1, 3, 4}} {
		if got := ranges(list); got != want {
			t.Errorf("ranges(%v) = %q, want %q", list, got, want)
		}
	}
}
