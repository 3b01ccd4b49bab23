package profilesvc

import (
	"context"
	"fmt"
	"time"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/source"
)

// rulebook turns catalogs into the rules that the stage decides by, once per bundle.
type rulebook struct {
	*source.Catalogs[*profile.Rules]

	kv log.KV
	// none are the rules of tenants without a catalog.
	none *profile.Rules
}

var (
	_ Rulebook     = (*rulebook)(nil)
	_ CurrentRules = (*rulebook)(nil)
	_ Counting     = (*rulebook)(nil)
)

func newRulebook(deps run.Deps, cache *catalog.Cache, h identity.Hasher) *rulebook {
	decode := func(bundle []byte) (*profile.Rules, error) {
		c, err := cache.Decode(bundle)
		if err != nil {
			return nil, fmt.Errorf("decode catalog: %w", err)
		}
		return rulesOf(h, c), nil
	}
	return &rulebook{Catalogs: source.New(deps.Bundles, deps.Clock, decode), kv: deps.KV, none: profile.DefaultRules(h)}
}

// rulesOf takes what profiles need from a catalog.
func rulesOf(h identity.Hasher, c *catalog.Catalog) *profile.Rules {
	types := make(map[string]profile.EventType, len(c.Events))
	for published, e := range c.Events {
		types[published] = profile.EventType{Name: e.Name, Freshness: e.Freshness, Properties: typesOf(e.Spec)}
	}
	rules := profile.NewRules(h, c.Kinds, types, c.Traits).Reaching(c.Addresses()).Naming(c.Names())
	if zone, err := time.LoadLocation(c.Workspace.GetDefaultZone()); err == nil {
		rules = rules.In(zone)
	}
	return rules
}

// typesOf are the declared properties of an event; none of a dynamic one.
func typesOf(spec *definitionv1.EventType) map[string]expr.Type {
	types := make(map[string]expr.Type, len(spec.GetProperties()))
	for name, text := range spec.GetProperties() {
		if t, ok := expr.ParseType(text); ok {
			types[name] = t
		}
	}
	return types
}

// At implements Rulebook.
func (b *rulebook) At(revision, tenant string) (*profile.Rules, bool) {
	held, ok := b.Catalogs.At(revision, tenant)
	return b.rules(held), ok
}

// CountedSince implements Counting.
func (b *rulebook) CountedSince(ctx context.Context, tenant string) (map[string]time.Time, error) {
	since, err := source.CountedSince(ctx, b.kv, tenant)
	if err != nil {
		return nil, fault.As(fault.Unavailable, err)
	}
	return since, nil
}

func (b *rulebook) rules(held source.Held[*profile.Rules]) *profile.Rules {
	if held.Revision == "" {
		return b.none
	}
	return held.Catalog
}

// Current implements CurrentRules.
func (b *rulebook) Current(ctx context.Context, tenant string) (*profile.Rules, error) {
	held, err := b.InForce(ctx, tenant)
	if err != nil {
		return nil, fault.As(fault.Unavailable, err)
	}
	return b.rules(held), nil
}
