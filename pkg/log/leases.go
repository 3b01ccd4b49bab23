package log

import (
	"context"
	"strings"
	"time"

	"refrain.dev/pkg/fault"
)

// Lease is an entry of Leases.
type Lease struct {
	// Key that it is held under, as group.name.
	Key string
	// Value as it was stored last.
	Value []byte
	// Revision grows with every hold of the key.
	Revision uint64
}

// Leases is a small store beside the log whose entries go by themselves unless they are held again in time.
// That is by the broker's clock, and only tidies up: who must know whether somebody is there watches the
// revision by a clock of his own. All methods may also return ErrUnknown or a context's error.
type Leases interface {
	// Hold stores value under key for ttl, at least a second, if the key is at revision (0: is not there), and
	// returns its new revision. *ConflictError names the one that it is at. An unknown answer is resolved by
	// reading: a value tells who wrote it.
	Hold(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (uint64, error)
	// All lists what is held in a group, by key. It may lag behind Hold by a moment.
	All(ctx context.Context, group string) ([]Lease, error)
}

const (
	leaseBucket   = "refrain-members"
	leaseStream   = "KV_" + leaseBucket
	leaseSubjects = "$KV." + leaseBucket + "."
	leaseMaxBytes = 16 << 20
	maxLease      = 64 << 10
	minLeaseTTL   = time.Second
)

func checkLease(key string, value []byte, ttl time.Duration) error {
	if err := checkKV(key, value); err != nil {
		return err
	}
	group, name, _ := strings.Cut(key, ".")
	switch {
	case group == "" || name == "":
		return fault.New(fault.Invalid, "key %q: want group.name", key)
	case len(value) > maxLease:
		return fault.New(fault.Invalid, "value of %s has %d bytes, more than %d", key, len(value), maxLease)
	case ttl < minLeaseTTL:
		return fault.New(fault.Invalid, "hold %s for %s: want at least %s", key, ttl, minLeaseTTL)
	}
	return nil
}
