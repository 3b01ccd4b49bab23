package log

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"refrain.dev/pkg/fault"
)

// Object is what is known of a stored object without reading it.
type Object struct {
	// Name that it is stored under.
	Name string
	// Size in bytes.
	Size uint64
	// Stored is when, by the broker's clock.
	Stored time.Time
}

// ErrCorrupted says that an object is not what was stored.
var ErrCorrupted = errors.New("object is not what was stored")

// Objects is a store beside the log for what is too large for it and never changes: snapshots. An object is
// there as a whole or not at all. All methods may also return ErrUnknown or a context's error; every one may
// be repeated.
type Objects interface {
	// Put stores data under a name, in place of what was there. data is not kept.
	Put(ctx context.Context, name string, data []byte) error
	// Get returns an object, ErrNotFound, or ErrCorrupted if it is seen to be damaged. The caller owns the bytes.
	Get(ctx context.Context, name string) ([]byte, error)
	// Delete removes an object. No error if there is none.
	Delete(ctx context.Context, name string) error
	// List returns the objects whose names begin with a prefix, by name.
	List(ctx context.Context, prefix string) ([]Object, error)
	// Sweep removes what uploads left behind that were broken off before a time.
	Sweep(ctx context.Context, before time.Time) error
}

const (
	objectBucket = "refrain-snapshots"
	objectStream = "OBJ_" + objectBucket
	objectChunks = "$O." + objectBucket + ".C."
	objectMetas  = "$O." + objectBucket + ".M."
	// maxObject bounds what is held in memory at once.
	maxObject = 64 << 20
)

var objectName = regexp.MustCompile(`^[-/_.a-zA-Z0-9]+$`)

func checkObject(name string, data []byte) error {
	switch {
	case !objectName.MatchString(name) || strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/"):
		return fault.New(fault.Invalid, "object %q: want letters, digits and - / _ . inside", name)
	case len(data) > maxObject:
		return fault.New(fault.Invalid, "object %s has %d bytes, more than %d", name, len(data), maxObject)
	}
	return nil
}
