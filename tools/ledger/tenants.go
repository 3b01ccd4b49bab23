package ledger

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"

	"refrain.dev/pkg/log"
)

// setPrefix is what the revisions begin with that stand for bundles of several tenants.
const setPrefix = "set-"

// SetID is the revision of records that stands for bundles of several tenants, or for the one bundle of the only tenant.
// It is a hash of the tenants and the revisions of their bundles.
func SetID(bundles map[string]string) string {
	if len(bundles) == 1 {
		for _, revision := range bundles {
			return revision
		}
	}
	text, _ := json.Marshal(bundles) //nolint:errchkjson // a map of strings always encodes, in the order of its keys
	sum := sha256.Sum256(text)
	return setPrefix + hex.EncodeToString(sum[:16])
}

// KV and Objects are where a mesh keeps what was applied.
type (
	// KV is what is read of it beside the log.
	KV interface {
		Get(ctx context.Context, key string) ([]byte, uint64, error)
	}
	// Objects hold bundles and sets.
	Objects interface {
		Get(ctx context.Context, name string) ([]byte, error)
	}
)

// ReadSets reads what the revisions stand for that a history's partitions were told, as far as it is still kept.
func ReadSets(ctx context.Context, h *History, kv KV, objects Objects) (map[string]map[string]string, error) {
	c := newChecker(h)
	c.readLanes()
	sets := map[string]map[string]string{}
	for _, a := range c.applied() {
		set, err := readSet(ctx, kv, objects, a.revision)
		switch {
		case errors.Is(err, log.ErrNotFound):
		case err != nil:
			return nil, fmt.Errorf("read what revision %s stands for: %w", a.revision, err)
		case set != nil:
			sets[a.revision] = set
		}
	}
	return sets, nil
}

// readSet reads what one revision stands for; nil if that is removed.
func readSet(ctx context.Context, kv KV, objects Objects, revision string) (map[string]string, error) {
	text, _, err := kv.Get(ctx, "bundle/"+revision)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller says what was read
	}
	var known struct {
		Tenant, Object string
		Removed        bool
	}
	if err := json.Unmarshal(text, &known); err != nil || known.Removed {
		return nil, err
	}
	if known.Tenant != "" {
		return map[string]string{known.Tenant: revision}, nil
	}
	if text, err = objects.Get(ctx, known.Object); err != nil {
		return nil, err //nolint:wrapcheck // the caller says what was read
	}
	set := map[string]string{}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	if id := SetID(set); id != revision {
		return nil, fmt.Errorf("what is stored is %s", id)
	}
	return set, nil
}

// checkTenants checks that whatever was applied changed what one tenant has, and left all others what they had.
func (c *checker) checkTenants() {
	var before *appliedCatalog
	for _, now := range c.applied() {
		if c.h.Sets == nil && !strings.HasPrefix(now.revision, setPrefix) {
			continue // only one tenant has definitions
		}
		set, known := c.h.Sets[now.revision]
		if !known {
			c.skipf("tenants: it is not known what revision %s stands for", now.revision)
			continue
		}
		if before != nil {
			c.checkChange(*before, now, set)
		}
		before = &now
	}
}

// applied are all catalogs that any lane brings, in the order in which they were applied.
func (c *checker) applied() []appliedCatalog {
	all := map[appliedCatalog]bool{}
	for p := range c.h.Partitions {
		maps.Copy(all, c.lanes[log.Subject(log.Lane(log.LaneControl), p)].catalogs)
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b appliedCatalog) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.revision, b.revision))
	})
}

// checkChange checks that no more tenants have other definitions than were applied between two catalogs, and that none
// has lost them: whose definitions are removed keeps its workspace.
func (c *checker) checkChange(before, now appliedCatalog, set map[string]string) {
	subject := log.Lane(log.LaneControl)
	had, changed := c.h.Sets[before.revision], uint64(0)
	for _, tenant := range sorted(had) {
		switch {
		case set[tenant] == "":
			c.breaksf(TenantDefinitions, subject, tenant, "it had definitions in %s, and has none in %s", before.revision, now.revision)
		case set[tenant] != had[tenant]:
			changed++
		}
	}
	for _, tenant := range sorted(set) {
		if had[tenant] == "" {
			changed++
		}
	}
	if most := now.order - before.order; changed > most {
		c.breaksf(TenantDefinitions, subject, now.revision, "%d tenants got other definitions, and %d applied any", changed, most)
	}
}

// restsOn notes that what is decided about a customer has a reason in a bundle: it must be one of its own tenant.
func (x *reading) restsOn(bundle []byte) {
	if x.h.Sets == nil || len(bundle) == 0 {
		return
	}
	own := x.owner().tenant()
	for _, set := range x.h.Sets {
		for tenant, revision := range set {
			if revision == string(bundle) && tenant != own {
				x.breaksf(TenantDefinitions, x.chain.subject, x.cell.key, "a reason in record %d is one of bundle %s, which is tenant %s's", x.record.sequence, bundle, tenant)
				return
			}
		}
	}
}

// allowed notes that a customer may be contacted: its tenant must have definitions that say so.
func (x *reading) allowed(kind contactv1.VerdictKind, proposal []byte) {
	set, known := x.h.Sets[string(x.record.revision)]
	if known && kind == contactv1.VerdictKind_VERDICT_KIND_APPROVED && set[x.owner().tenant()] == "" {
		x.breaksf(TenantDefinitions, x.chain.subject, x.cell.key, "%s was approved in record %d, and the tenant has no definitions", proposal, x.record.sequence)
	}
}
