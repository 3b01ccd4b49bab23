package membership

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// Weight is how strongly a partition of a service tends to a replica: the first eight bytes, big-endian, of
// SHA-256 over "<service>/<partition>/<replica>". All replicas must agree on it, also while versions are
// mixed, so it never changes.
func Weight(service string, partition int, replica string) uint64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d/%s", service, partition, replica))
	return binary.BigEndian.Uint64(sum[:8])
}

// candidate is a member that partitions may be assigned to.
type candidate struct {
	name string
	// holds are the partitions that it acquired a short time ago and keeps for now.
	holds []int
	// weights are its Weight for each partition, if they are known already.
	weights []uint64
}

func (c *candidate) weight(service string, partition int) uint64 {
	if c.weights != nil {
		return c.weights[partition]
	}
	return Weight(service, partition, c.name)
}

func weightsOf(service string, partitions int, replica string) []uint64 {
	out := make([]uint64, partitions)
	for p := range out {
		out[p] = Weight(service, p, replica)
	}
	return out
}

// assign says which candidate owns each partition, "" if there is none: of those that hold it, else of all,
// the one with the greatest weight, and the first by name of equals. So when a candidate comes, only
// partitions that nobody holds move, all of them to it; when one goes, only its own do.
func assign(service string, partitions int, candidates []candidate) []string {
	owners := make([]string, partitions)
	for p := range owners {
		best, held := uint64(0), false
		for _, c := range candidates {
			w, holds := c.weight(service, p), slices.Contains(c.holds, p)
			switch {
			case holds && !held:
				owners[p], best, held = c.name, w, true
			case held && !holds:
			case owners[p] == "" || w > best || w == best && c.name < owners[p]:
				owners[p], best = c.name, w
			}
		}
	}
	return owners
}
