package catalog

import (
	"crypto/sha256"
	"sync"
)

// maxCached is how many catalogs a Cache keeps.
const maxCached = 64

// Cache compiles each bundle once, for services that share a process; it keeps a bounded number. A nil Cache compiles
// every time. It is safe for concurrent use.
type Cache struct {
	mu       sync.Mutex
	compiled map[[sha256.Size]byte]*Catalog
}

// Decode is the package's Decode. Catalogs are immutable, so all callers get the same one.
func (c *Cache) Decode(bundle []byte) (*Catalog, error) {
	if c == nil {
		return Decode(bundle)
	}
	key := sha256.Sum256(bundle)
	c.mu.Lock()
	defer c.mu.Unlock()
	if found := c.compiled[key]; found != nil {
		return found, nil
	}
	made, err := Decode(bundle)
	if err != nil {
		return nil, err
	}
	if c.compiled == nil {
		c.compiled = map[[sha256.Size]byte]*Catalog{}
	}
	for old := range c.compiled { // any: whoever needs it again compiles it again
		if len(c.compiled) < maxCached {
			break
		}
		delete(c.compiled, old)
	}
	c.compiled[key] = made
	return made, nil
}
