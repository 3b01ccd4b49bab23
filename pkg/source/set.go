package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"refrain.dev/pkg/fault"
)

// with is what applies after now when a tenant's bundle is activated.
func (p pointer) with(tenant, revision string) pointer {
	next := pointer{ID: revision, Order: p.Order + 1, Tenants: map[string]string{}}
	maps.Copy(next.Tenants, p.Tenants)
	next.Tenants[tenant] = revision
	if len(next.Tenants) > 1 {
		sum := sha256.Sum256(next.content())
		next.ID = setPrefix + hex.EncodeToString(sum[:16])
	}
	return next
}

// content is what is stored of a set: its tenants in order, with their revisions.
func (p pointer) content() []byte {
	data, _ := json.Marshal(p.Tenants) //nolint:errchkjson // a map of strings always encodes, in the order of its keys
	return data
}

// has says whether a bundle, or a set, is in force.
func (p pointer) has(id string) bool {
	return id == p.ID || slices.Contains(slices.Collect(maps.Values(p.Tenants)), id)
}

// putSet stores a set; the one of a single bundle is the bundle.
func (s Store) putSet(ctx context.Context, p pointer) error {
	if len(p.Tenants) < 2 {
		return nil
	}
	return s.put(ctx, Bundle{Revision: p.ID, Data: p.content()})
}

// members are what an id stands for: the revisions of the bundles of a set by tenant, or the one bundle.
func (s Store) members(ctx context.Context, id string) (map[string]string, error) {
	e, ok, err := s.entry(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("load catalog %s: %w", id, err)
	}
	if ok && e.Tenant != "" {
		return map[string]string{e.Tenant: id}, nil
	}
	data, err := Get(ctx, s, id)
	if err != nil {
		return nil, err
	}
	members := map[string]string{}
	if err := json.Unmarshal(data, &members); err != nil {
		return nil, fault.New(fault.Internal, "load catalog %s: decode the set: %w", id, err)
	}
	return members, nil
}
