package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

// Store is where bundles are: their bytes in the store of objects, under the hash of their content, and what is
// known of each revision beside the log.
type Store struct {
	KV      log.KV
	Objects log.Objects
}

// StoreOf is the Store of a site.
func StoreOf(s log.Site) Store { return Store{KV: s.KV(), Objects: s.Objects()} }

// currentKey is where it stands what applies.
const currentKey = "catalog/current"

// bundlePrefix is what the keys of revisions, and of the ids of sets, begin with, objectPrefix the names of bundles and
// sets, setPrefix the ids of sets.
const (
	bundlePrefix = "bundle/"
	objectPrefix = "bundles/"
	setPrefix    = "set-"
)

// MaxBundle is the greatest size of a bundle in bytes.
const MaxBundle = 16 << 20

// Bundle is what one tenant applies.
type Bundle struct {
	// Tenant whose definitions they are.
	Tenant string
	// Revision is its identity.
	Revision string
	Data     []byte
	// Computed are the traits that are computed from events, by name: what differs if they are computed in another way.
	Computed map[string]string
}

// entry is what is known of a bundle, or of a set.
type entry struct {
	// Tenant whose bundle it is; "" of a set.
	Tenant string `json:"tenant,omitempty"`
	// Object that holds the bundle: its hash, and how often it was stored again after it had been removed.
	Object string `json:"object"`
	Again  int    `json:"again,omitempty"`
	// Computed are the bundle's.
	Computed map[string]string `json:"computed,omitempty"`
	// Idle is since when it was seen out of force; zero while it is not known to be.
	Idle time.Time `json:"idle,omitzero"`
	// Leaving says that it is about to be removed, and Removed that it is.
	Leaving bool `json:"leaving,omitempty"`
	Removed bool `json:"removed,omitempty"`

	at uint64 // the revision of the key
}

// pointer is what applies.
type pointer struct {
	// ID of the set.
	ID string `json:"id"`
	// Order counts what was activated, from 1.
	Order uint64 `json:"order"`
	// Tenants and the revisions of their bundles: the content of the set.
	Tenants map[string]string `json:"tenants"`

	at uint64 // the revision of the key
}

// read decodes the value of a key; nothing is changed, and ok is false, if there is none.
func read(ctx context.Context, kv log.KV, key string, into any) (at uint64, ok bool, err error) {
	value, at, err := kv.Get(ctx, key)
	if errors.Is(err, log.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("read %s: %w", key, err)
	}
	if err := json.Unmarshal(value, into); err != nil {
		return 0, false, fault.New(fault.Internal, "read %s: %w", key, err)
	}
	return at, true, nil
}

// write stores a value under a key that is at a revision.
func write(ctx context.Context, kv log.KV, key string, v any, at uint64) error {
	value, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	if err := kv.Update(ctx, key, value, at); err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

// entry reads what is known of a revision; ok is false if it is not there.
func (s Store) entry(ctx context.Context, revision string) (e entry, ok bool, err error) {
	e.at, ok, err = read(ctx, s.KV, bundlePrefix+revision, &e)
	return e, ok, err
}

// use says that a bundle is needed again. One that is leaving is not: it is to be stored again.
func (s Store) use(ctx context.Context, revision string) error {
	for {
		e, ok, err := s.entry(ctx, revision)
		if err != nil || !ok || e.Idle.IsZero() && !e.Leaving {
			return err
		}
		e.Idle, e.Leaving, e.Removed = time.Time{}, false, false
		err = write(ctx, s.KV, bundlePrefix+revision, e, e.at)
		if err == nil || !conflict(err) && !errors.Is(err, log.ErrUnknown) || ctx.Err() != nil {
			return err
		}
	}
}

// current reads what is current; its Order is 0 if nothing is.
func current(ctx context.Context, kv log.KV) (p pointer, err error) {
	p.at, _, err = read(ctx, kv, currentKey, &p)
	return p, err
}

// conflict says whether somebody else was faster.
func conflict(err error) bool {
	_, ok := errors.AsType[*log.ConflictError](err)
	return ok
}

// Put stores a bundle under its revision. Storing the same bundle again does nothing; other bytes, or another tenant's,
// under a revision that is taken are Conflict, and a bundle over MaxBundle, without a revision or of no tenant is Invalid.
func Put(ctx context.Context, s Store, b Bundle) error {
	if !regexp.MustCompile(`^[0-9a-zA-Z._-]{1,64}$`).MatchString(b.Revision) || strings.HasPrefix(b.Revision, setPrefix) {
		return fault.New(fault.Invalid, "store bundle: %q is no revision", b.Revision)
	}
	if b.Tenant == "" {
		return fault.New(fault.Invalid, "store bundle %s: it names no tenant", b.Revision)
	}
	return s.put(ctx, b)
}

// put stores a bundle, or a set, which is of no tenant.
func (s Store) put(ctx context.Context, b Bundle) error {
	revision, bundle := b.Revision, b.Data
	if len(bundle) > MaxBundle {
		return fault.New(fault.Invalid, "store bundle %s: it has %d bytes, and %d are allowed; template files count, so make these smaller",
			revision, len(bundle), MaxBundle)
	}
	sum := sha256.Sum256(bundle)
	object := objectPrefix + hex.EncodeToString(sum[:])
	for {
		e, ok, err := s.entry(ctx, revision)
		switch {
		case err != nil:
			return fmt.Errorf("store bundle %s: %w", revision, err)
		case ok && (e.Tenant != b.Tenant || !strings.HasPrefix(e.Object, object)):
			return fault.New(fault.Conflict, "store bundle %s: there is another bundle of this revision", revision)
		case ok && e.Idle.IsZero():
			return nil
		}
		next := entry{Tenant: b.Tenant, Object: e.Object, Again: e.Again, Computed: b.Computed}
		switch {
		case !ok:
			next.Object = object
		case e.Leaving: // it may be removed at any moment: the name that it has is not used again
			next.Again++
			next.Object = fmt.Sprintf("%s.%d", object, next.Again)
		}
		if next.Object != e.Object {
			if err := s.Objects.Put(ctx, next.Object, bundle); err != nil {
				return fmt.Errorf("store bundle %s: %w", revision, err)
			}
		}
		err = write(ctx, s.KV, bundlePrefix+revision, next, e.at)
		if err == nil && e.Leaving {
			_ = s.Objects.Delete(ctx, e.Object) // who was removing it may have died; nothing leads there any more
		}
		if err != nil && !conflict(err) && !errors.Is(err, log.ErrUnknown) {
			return fmt.Errorf("store bundle %s: %w", revision, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("store bundle %s: %w", revision, errors.Join(err, ctx.Err()))
		}
	}
}

// Get reads the bundle of a revision; NotFound if there is none.
func Get(ctx context.Context, s Store, revision string) ([]byte, error) {
	e, ok, err := s.entry(ctx, revision)
	if err != nil {
		return nil, fmt.Errorf("load catalog %s: %w", revision, err)
	}
	if !ok || e.Removed {
		return nil, fault.New(fault.NotFound, "load catalog %s: there is no such bundle", revision)
	}
	data, err := s.Objects.Get(ctx, e.Object)
	switch {
	case errors.Is(err, log.ErrNotFound):
		return nil, fault.New(fault.NotFound, "load catalog %s: its bundle %s is missing", revision, e.Object)
	case err != nil:
		return nil, fmt.Errorf("load catalog %s: %w", revision, err)
	}
	if sum := sha256.Sum256(data); !strings.HasPrefix(e.Object, objectPrefix+hex.EncodeToString(sum[:])) {
		return nil, fault.As(fault.Unavailable, fmt.Errorf("load catalog %s: %w", revision, log.ErrCorrupted))
	}
	return data, nil
}
