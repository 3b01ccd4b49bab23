// Package source keeps catalogs: bundles of definitions in the store of objects, what is known of their revisions
// beside the log, and what was compiled from them in memory.
//
// A bundle is stored once and never changes. Activating one moves the pointer "catalog/current", which gives it
// the next place in an order, and tells every partition in its control lane, so that each stage knows from which
// position on it applies. Who meets a revision it does not know loads it before going on.
package source

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

// MaxLoaded is how many compiled catalogs a process keeps. Of more, those that nobody asked for the longest go; who
// needs one again has it loaded again.
const MaxLoaded = 64

// Catalogs holds the compiled catalogs of one process. It is safe for concurrent use.
type Catalogs[C any] struct {
	store  Store
	clock  clock.Clock
	decode func([]byte) (C, error)

	mu      sync.RWMutex
	loaded  map[string]C
	order   []string // the one that was asked for last at the end
	loading map[string]chan struct{}
}

// New returns Catalogs that load bundles from store, wait on c, and compile them with decode, which must not
// change its argument.
func New[C any](store Store, c clock.Clock, decode func([]byte) (C, error)) *Catalogs[C] {
	return &Catalogs[C]{store: store, clock: c, decode: decode, loaded: map[string]C{}, loading: map[string]chan struct{}{}}
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
		c.touch(revision)
		return true, nil
	}
	if wait, ok := c.loading[revision]; ok {
		return false, wait
	}
	c.loading[revision] = make(chan struct{})
	return false, nil
}

// touch brings a revision to the end of the order.
func (c *Catalogs[C]) touch(revision string) {
	if n := slices.Index(c.order, revision); n >= 0 {
		c.order = append(slices.Delete(c.order, n, n+1), revision)
	}
}

func (c *Catalogs[C]) finish(revision string, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.loading[revision])
	delete(c.loading, revision)
	return err
}

func (c *Catalogs[C]) load(ctx context.Context, revision string) error {
	data, err := Get(ctx, c.store, revision)
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
	if len(c.order) > MaxLoaded {
		delete(c.loaded, c.order[0])
		c.order = c.order[1:]
	}
	return nil
}

// At returns the catalog of a revision that was prepared before.
func (c *Catalogs[C]) At(revision string) (C, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	catalog, ok := c.loaded[revision]
	return catalog, ok
}

// All returns every catalog that is kept, the one that was prepared last at the end.
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
func (c *Catalogs[C]) Current(ctx context.Context) (string, error) { return Current(ctx, c.store.KV) }

// Current reads which revision was activated last; "" if none was.
func Current(ctx context.Context, kv log.KV) (string, error) {
	p, err := current(ctx, kv)
	if err != nil {
		return "", fmt.Errorf("read current revision: %w", err)
	}
	return p.Revision, nil
}
