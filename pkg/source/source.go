// Package source keeps catalogs: bundles of definitions in the KV store, under their revision, and what
// was compiled from them in memory.
//
// A bundle is stored once and never changes. Activating one moves the pointer "catalog/current" and tells
// every partition in its control lane, so that each stage knows from which position on it applies. Who
// meets a revision it does not know loads it before going on; what was loaded is kept, because records
// and enrollments may refer to it.
package source

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

// currentKey is where the revision stands that was activated last.
const currentKey = "catalog/current"

// bundlePrefix is what the keys of bundles begin with.
const bundlePrefix = "bundle/"

// MaxBundle is the greatest size of a bundle in bytes; it is what one message of the broker can carry.
const MaxBundle = 1<<20 - 4096

// Catalogs holds the compiled catalogs of one process. It is safe for concurrent use.
type Catalogs[C any] struct {
	kv     log.KV
	clock  clock.Clock
	decode func([]byte) (C, error)

	mu      sync.RWMutex
	loaded  map[string]C
	order   []string
	loading map[string]chan struct{}
}

// New returns Catalogs that load bundles from kv, wait on c, and compile them with decode, which must not
// change its argument.
func New[C any](kv log.KV, c clock.Clock, decode func([]byte) (C, error)) *Catalogs[C] {
	return &Catalogs[C]{kv: kv, clock: c, decode: decode, loaded: map[string]C{}, loading: map[string]chan struct{}{}}
}

// Prepare loads and keeps the catalog of a revision; with "", the revision before any was applied, there
// is nothing to do. Concurrent calls for one revision load it once. An error names the revision and
// changes nothing: NotFound if there is no such bundle, Invalid if it does not compile.
func (c *Catalogs[C]) Prepare(ctx context.Context, revision string) error {
	for {
		done, wait := c.begin(revision)
		if done {
			return nil
		}
		if wait == nil {
			return c.finish(revision, c.load(ctx, revision))
		}
		if _, err := c.clock.Wait(ctx, clock.Forever, wait); err != nil {
			return fmt.Errorf("load catalog %s: %w", revision, err)
		}
	}
}

// begin says whether the revision is there, or returns what to wait for while somebody else loads it.
// With neither, the caller has to load it.
func (c *Catalogs[C]) begin(revision string) (done bool, wait <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.loaded[revision]; ok || revision == "" {
		return true, nil
	}
	if wait, ok := c.loading[revision]; ok {
		return false, wait
	}
	c.loading[revision] = make(chan struct{})
	return false, nil
}

func (c *Catalogs[C]) finish(revision string, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.loading[revision])
	delete(c.loading, revision)
	return err
}

func (c *Catalogs[C]) load(ctx context.Context, revision string) error {
	data, err := Get(ctx, c.kv, revision)
	if err != nil {
		return err
	}
	catalog, err := c.decode(data)
	if err != nil {
		return fault.As(fault.Invalid, fmt.Errorf("compile catalog %s: %w", revision, err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loaded[revision] = catalog
	c.order = append(c.order, revision)
	return nil
}

// At returns the catalog of a revision that was prepared before.
func (c *Catalogs[C]) At(revision string) (C, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	catalog, ok := c.loaded[revision]
	return catalog, ok
}

// All returns every catalog that was prepared, in the order of loading.
func (c *Catalogs[C]) All() []C {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]C, len(c.order))
	for i, revision := range c.order {
		out[i] = c.loaded[revision]
	}
	return out
}

// Current reads which revision was activated last; "" if none was.
func (c *Catalogs[C]) Current(ctx context.Context) (string, error) { return Current(ctx, c.kv) }

// Current reads which revision was activated last; "" if none was.
func Current(ctx context.Context, kv log.KV) (string, error) {
	value, _, err := kv.Get(ctx, currentKey)
	if errors.Is(err, log.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read current revision: %w", err)
	}
	return string(value), nil
}

// Get reads the bundle of a revision; NotFound if there is none.
func Get(ctx context.Context, kv log.KV, revision string) ([]byte, error) {
	data, _, err := kv.Get(ctx, bundlePrefix+revision)
	if errors.Is(err, log.ErrNotFound) {
		return nil, fault.New(fault.NotFound, "load catalog %s: there is no such bundle", revision)
	}
	if err != nil {
		return nil, fmt.Errorf("load catalog %s: %w", revision, err)
	}
	return data, nil
}
