package suppressionsvc

import (
	"context"
	"fmt"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/source"
)

// catalogs is Catalogs over the bundles in the KV store.
type catalogs struct {
	loaded *source.Catalogs[*Definitions]
	blank  *Definitions
}

func newCatalogs(deps run.Deps, cache *catalog.Cache) *catalogs {
	return &catalogs{blank: &Definitions{}, loaded: source.New(deps.Bundles, deps.Clock, func(bundle []byte) (*Definitions, error) {
		c, err := cache.Decode(bundle)
		if err != nil {
			return nil, fmt.Errorf("decode catalog: %w", err)
		}
		return &Definitions{
			Revision: c.Revision,
			Policies: c.Policies, Actions: c.Actions, Channels: c.Channels, Topics: c.Topics, Kinds: c.Kinds, DefaultZone: c.Workspace.GetDefaultZone(),
		}, nil
	})}
}

// At implements Catalogs.
func (c *catalogs) At(revision, tenant string) (*Definitions, bool) {
	held, ok := c.loaded.At(revision, tenant)
	if held.Revision == "" {
		return c.blank, ok
	}
	return held.Catalog, ok
}

// Prepare implements Catalogs and stage.Preparer.
func (c *catalogs) Prepare(ctx context.Context, revision string) error {
	return c.loaded.Prepare(ctx, revision)
}

// Current implements Catalogs.
func (c *catalogs) Current(ctx context.Context) (string, error) { return c.loaded.Current(ctx) }
