package decisionsvc

import (
	"context"
	"fmt"
	"time"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/contact"
	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/journey"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/source"
)

// adapterNone is the adapter of a channel that is only filled on request.
const adapterNone = "none"

// entry is one catalog as this service sees it; it is made once, when the bundle is loaded.
type entry struct {
	rules    *Rules
	kinds    *event.Kinds
	journeys map[string]*journey.Definition
}

// book is the Book over the bundles that are stored.
type book struct {
	catalogs *source.Catalogs[*entry]
	blank    *Rules
}

func newBook(deps run.Deps, cache *catalog.Cache) *book {
	return &book{
		catalogs: source.New(deps.Bundles, deps.Clock, func(bundle []byte) (*entry, error) {
			c, err := cache.Decode(bundle)
			if err != nil {
				return nil, fmt.Errorf("decode catalog: %w", err)
			}
			return newEntry(c), nil
		}),
		blank: &Rules{},
	}
}

func newEntry(c *catalog.Catalog) *entry {
	e := &entry{kinds: c.Kinds, journeys: map[string]*journey.Definition{}, rules: &Rules{
		Rules: decide.Rules{
			Revision: c.Revision, Actions: c.Actions, Placements: c.Placements, Journeys: c.Journeys, Pull: map[string]bool{},
			MaxEnrollments: int(c.Workspace.GetMaxEnrollments()),
		},
		EventNames: map[string]string{}, Freshness: map[string]time.Duration{}, Policies: c.Policies,
		Reach: map[string]contact.Reach{}, Addresses: c.Addresses(),
		DefaultZone: c.Workspace.GetDefaultZone(),
	}}
	for published, declared := range c.Events {
		e.rules.EventNames[published] = declared.Name
		e.rules.Freshness[declared.Name] = declared.Freshness
	}
	for name, channel := range c.Channels {
		e.channel(name, channel)
	}
	for _, d := range c.Journeys {
		e.journeys[d.Hash] = d
	}
	return e
}

func (e *entry) channel(name string, c *definitionv1.Channel) {
	if c.GetAdapter() == adapterNone {
		e.rules.Pull[name] = true
	}
	if c.GetEndpoint() != "" {
		e.rules.Reach[name] = contact.ReachOf(c, e.kinds)
	}
}

// At implements Book.
func (b *book) At(revision, tenant string) (*Rules, bool) {
	held, ok := b.catalogs.At(revision, tenant)
	if held.Revision == "" {
		return b.blank, ok
	}
	return held.Catalog.rules, ok
}

// Kinds implements Book. Which catalog was loaded last says nothing: it may be an old one that an enrollment is
// pinned to.
func (b *book) Kinds(tenant string) *event.Kinds {
	widest := event.DefaultKinds()
	for _, e := range b.catalogs.All(tenant) {
		if len(e.kinds.Names()) >= len(widest.Names()) {
			widest = e.kinds
		}
	}
	return widest
}

// Journey implements Book.
func (b *book) Journey(revision, tenant, hash string) (*journey.Definition, bool) {
	held, _ := b.catalogs.At(revision, tenant)
	if held.Revision == "" {
		return nil, false
	}
	d, ok := held.Catalog.journeys[hash]
	return d, ok
}

// Prepare implements Book and stage.Preparer.
func (b *book) Prepare(ctx context.Context, revision string) error {
	if err := b.catalogs.Prepare(ctx, revision); err != nil {
		return fmt.Errorf("prepare catalog %s: %w", revision, err)
	}
	return nil
}
