// Package source keeps catalogs: bundles of definitions in the store of objects, what is known of their revisions
// beside the log, and what was compiled from them in memory.
//
// A bundle is one tenant's, is stored once and never changes. What applies is a set: of every tenant the bundle that was
// activated last. Activating a bundle moves the pointer "catalog/current" to a set that differs in this tenant's bundle
// only, which gives the set the next place in an order, and tells every partition in its control lane, so that each
// stage knows from which position on it applies. Records name the set. Its id is the hash of its content; the set of a
// single bundle has the bundle's revision as its id. Who meets an id that it does not know loads what it stands for
// before going on.
package source

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

// MaxLoaded is how many sets, and bundles asked for by themselves, a process keeps compiled; a bundle of several of them
// is kept once. Of more, those that nobody asked for the longest go; who needs one again has it loaded again.
const MaxLoaded = 64

// MaxTenants is how many tenants may have definitions.
const MaxTenants = 1000

// Catalogs holds the compiled catalogs of one process. It is safe for concurrent use.
type Catalogs[C any] struct {
	store  Store
	clock  clock.Clock
	decode func([]byte) (C, error)

	mu      sync.RWMutex
	loaded  map[string]map[string]Held[C] // by id, then by tenant
	order   []string                      // the one that was asked for last at the end
	loading map[string]chan struct{}
}

// Held is a tenant's catalog.
type Held[C any] struct {
	// Revision of the bundle that it was compiled from; "" if the tenant has none, and the Catalog is the zero value.
	Revision string
	Catalog  C
}

// New returns Catalogs that load bundles from store, wait on c, and compile them with decode, which must not
// change its argument.
func New[C any](store Store, c clock.Clock, decode func([]byte) (C, error)) *Catalogs[C] {
	return &Catalogs[C]{store: store, clock: c, decode: decode, loaded: map[string]map[string]Held[C]{}, loading: map[string]chan struct{}{}}
}

// Prepare loads and keeps what an id stands for: the catalogs of a set, or the one of a bundle. With "", before
// anything was applied, there is nothing to do. Concurrent calls for one id load it once. An error names the id and
// changes nothing: NotFound if something of it is not there, Invalid if a bundle does not compile.
func (c *Catalogs[C]) Prepare(ctx context.Context, id string) error {
	for {
		done, wait := c.begin(id)
		if done {
			return nil
		}
		if wait == nil {
			return c.finish(id, c.load(ctx, id))
		}
		if _, err := c.clock.Wait(ctx, clock.Forever, wait); err != nil {
			return fmt.Errorf("load catalog %s: %w", id, err)
		}
	}
}

// begin says whether an id is there, or returns what to wait for while another caller loads it. With neither, the
// caller has to load it.
func (c *Catalogs[C]) begin(id string) (done bool, wait <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.loaded[id]; ok || id == "" {
		c.touch(id)
		return true, nil
	}
	if wait, ok := c.loading[id]; ok {
		return false, wait
	}
	c.loading[id] = make(chan struct{})
	return false, nil
}

// touch brings an id to the end of the order.
func (c *Catalogs[C]) touch(id string) {
	if n := slices.Index(c.order, id); n >= 0 {
		c.order = append(slices.Delete(c.order, n, n+1), id)
	}
}

func (c *Catalogs[C]) finish(id string, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.loading[id])
	delete(c.loading, id)
	return err
}

// load reads what an id stands for, and compiles what is not compiled yet.
func (c *Catalogs[C]) load(ctx context.Context, id string) error {
	members, err := c.store.members(ctx, id)
	if err != nil {
		return err
	}
	held := make(map[string]Held[C], len(members))
	for _, tenant := range slices.Sorted(maps.Keys(members)) {
		revision := members[tenant]
		h, ok := c.compiled(tenant, revision)
		if !ok {
			if h, err = c.compile(ctx, revision); err != nil {
				return fmt.Errorf("load catalog %s: tenant %s: %w", id, tenant, err)
			}
		}
		held[tenant] = h
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loaded[id] = held
	c.order = append(c.order, id)
	if len(c.order) > MaxLoaded {
		delete(c.loaded, c.order[0])
		c.order = c.order[1:]
	}
	return nil
}

// compiled finds a bundle among what is kept.
func (c *Catalogs[C]) compiled(tenant, revision string) (Held[C], bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, held := range c.loaded {
		if h := held[tenant]; h.Revision == revision {
			return h, true
		}
	}
	return Held[C]{}, false
}

func (c *Catalogs[C]) compile(ctx context.Context, revision string) (Held[C], error) {
	data, err := Get(ctx, c.store, revision)
	if err != nil {
		return Held[C]{}, err
	}
	catalog, err := c.decode(data)
	if err != nil {
		return Held[C]{}, fault.As(fault.Invalid, fmt.Errorf("compile catalog %s: %w", revision, err))
	}
	return Held[C]{Revision: revision, Catalog: catalog}, nil
}

// At returns a tenant's catalog in a set, or the one of a bundle if that is the tenant's; of revision "" if there is
// none of this tenant. It is false if the id was not prepared before; "" always is.
func (c *Catalogs[C]) At(id, tenant string) (Held[C], bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	held, ok := c.loaded[id]
	return held[tenant], ok || id == ""
}

// All returns every catalog of a tenant that is kept, each once, the one that was prepared last at the end.
func (c *Catalogs[C]) All(tenant string) []C {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var revisions []string
	var out []C
	for _, id := range slices.Backward(c.order) {
		if h := c.loaded[id][tenant]; h.Revision != "" && !slices.Contains(revisions, h.Revision) {
			revisions, out = append(revisions, h.Revision), append(out, h.Catalog)
		}
	}
	slices.Reverse(out)
	return out
}

// Current reads the id of the set that applies; "" if nothing was activated.
func (c *Catalogs[C]) Current(ctx context.Context) (string, error) {
	now, err := Current(ctx, c.store.KV)
	return now.ID, err
}

// InForce reads what applies, prepares it and returns a tenant's catalog in it.
func (c *Catalogs[C]) InForce(ctx context.Context, tenant string) (Held[C], error) {
	id, err := c.Current(ctx)
	if err != nil {
		return Held[C]{}, err
	}
	if err := c.Prepare(ctx, id); err != nil {
		return Held[C]{}, err
	}
	h, ok := c.At(id, tenant)
	if !ok {
		return Held[C]{}, fault.New(fault.Unavailable, "catalog %s is not loaded", id)
	}
	return h, nil
}

// Applied is what applies.
type Applied struct {
	// ID of the set; "" if nothing was activated.
	ID string
	// Order is its place among all that were activated, from 1; 0 if nothing was.
	Order uint64
	// Tenants have definitions: the revisions of their bundles.
	Tenants map[string]string
}

// Current reads what applies.
func Current(ctx context.Context, kv log.KV) (Applied, error) {
	p, err := current(ctx, kv)
	if err != nil {
		return Applied{}, fmt.Errorf("read what applies: %w", err)
	}
	return Applied{ID: p.ID, Order: p.Order, Tenants: p.Tenants}, nil
}
