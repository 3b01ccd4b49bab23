package membership

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// The states of a member, as its lease says them.
const (
	stateMember  = "member"
	stateStandby = "standby" // there, to be assigned nothing until it says otherwise
	stateLeaving = "leaving" // still at work on what it owned, to be assigned nothing
	stateLeft    = "left"
)

// lease is the value of a replica's lease.
type lease struct {
	// Incarnation tells the processes apart that have had the same name.
	Incarnation string `json:"incarnation"`
	// Address is where its gRPC server is reached; empty if it has none.
	Address string `json:"address,omitempty"`
	// Since is when the process began, by its own clock. It is for people.
	Since time.Time `json:"since"`
	State string    `json:"state"`
	// Holds are partitions that it acquired a short time ago and keeps for now.
	Holds []int `json:"holds,omitempty"`
}

func (l lease) encode() ([]byte, error) {
	data, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encode lease: %w", err)
	}
	return data, nil
}

// same says whether two leases say the same.
func (l lease) same(o lease) bool {
	return l.Incarnation == o.Incarnation && l.Address == o.Address && l.Since.Equal(o.Since) && l.State == o.State && slices.Equal(l.Holds, o.Holds)
}

// decodeLease reads a lease; false for what nobody of this kind wrote, such as a deleted one.
func decodeLease(data []byte) (lease, bool) {
	var l lease
	if json.Unmarshal(data, &l) != nil || l.Incarnation == "" {
		return lease{}, false
	}
	return l, true
}

// sighting is what is known of another replica.
type sighting struct {
	lease

	revision uint64
	changed  time.Duration // by the own clock, when its lease was last seen to have changed
}

// see takes over what was read of a lease at a time.
func (s sighting) see(l lease, revision uint64, now time.Duration) sighting {
	if s.revision == revision {
		return s
	}
	return sighting{lease: l, revision: revision, changed: now}
}

// thereAt says whether the replica is there, at the time of the last look.
func (s sighting) thereAt(looked, ttl time.Duration) bool {
	return s.revision > 0 && s.State != stateLeft && looked-s.changed < ttl
}
