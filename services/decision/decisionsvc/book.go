package decisionsvc

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/journey"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/source"
)

// bundlePrefix is what the keys of bundles begin with; package source has the rest.
const bundlePrefix = "bundle/"

// adapterNone is the adapter of a channel that is only filled on request.
const adapterNone = "none"

// entry is one catalog as this service sees it; it is made once, when the bundle is loaded.
type entry struct {
	rules    *Rules
	kinds    *event.Kinds
	journeys map[string]*journey.Definition
}

// book is the Book over the bundles in the KV store.
type book struct {
	catalogs *source.Catalogs[*entry]
	blank    *Rules
	kv       log.KV
	clock    clock.Clock
	logger   *slog.Logger

	loading clock.Lock
	whole   bool // guarded by loading
}

func newBook(deps run.Deps, cache *catalog.Cache) *book {
	return &book{
		kv: deps.KV, clock: deps.Clock, logger: deps.Logger, loading: clock.NewLock(),
		catalogs: source.New(deps.KV, deps.Clock, func(bundle []byte) (*entry, error) {
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
		Tenant: c.Tenant,
		Rules: decide.Rules{
			Revision: c.Revision, Actions: c.Actions, Placements: c.Placements, Journeys: c.Journeys, Pull: map[string]bool{},
		},
		EventNames: map[string]string{}, Policies: c.Policies, Endpoints: map[string]string{},
		DefaultZone: c.Workspace.GetDefaultZone(),
	}}
	for published, declared := range c.Events {
		e.rules.EventNames[published] = declared.Name
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
		e.rules.Endpoints[name] = c.GetEndpoint()
	}
}

// At implements Book.
func (b *book) At(revision string) (*Rules, bool) {
	if revision == "" {
		return b.blank, true
	}
	e, ok := b.catalogs.At(revision)
	if !ok {
		return nil, false
	}
	return e.rules, true
}

// Kinds implements Book.
func (b *book) Kinds() *event.Kinds {
	all := b.catalogs.All()
	if len(all) == 0 {
		return event.DefaultKinds()
	}
	return all[len(all)-1].kinds
}

// Journey implements Book: enrollments stay on the content they were entered under. Where several catalogs
// have it, the asked one is taken, else the one with the smallest revision.
func (b *book) Journey(revision, hash string) (*journey.Definition, bool) {
	if e, ok := b.catalogs.At(revision); ok {
		if d, ok := e.journeys[hash]; ok {
			return d, true
		}
	}
	var found *journey.Definition
	var from string
	for _, e := range b.catalogs.All() {
		if d, ok := e.journeys[hash]; ok && (found == nil || e.rules.Revision < from) {
			found, from = d, e.rules.Revision
		}
	}
	return found, found != nil
}

// Prepare implements Book and stage.Preparer. The first call also loads every bundle there is, because
// enrollments may be pinned to any of them; one that does not compile any more is left out and logged.
func (b *book) Prepare(ctx context.Context, revision string) error {
	if err := b.prepareAll(ctx); err != nil {
		return fmt.Errorf("prepare catalogs: %w", err)
	}
	if err := b.catalogs.Prepare(ctx, revision); err != nil {
		return fmt.Errorf("prepare catalog %s: %w", revision, err)
	}
	return nil
}

func (b *book) prepareAll(ctx context.Context) error {
	release, err := b.loading.Take(ctx, b.clock)
	if err != nil {
		return fmt.Errorf("wait for the bundles: %w", err)
	}
	defer release()
	if b.whole {
		return nil
	}
	keys, err := b.kv.Keys(ctx, bundlePrefix)
	if err != nil {
		return fmt.Errorf("list bundles: %w", err)
	}
	for _, key := range keys {
		err := b.catalogs.Prepare(ctx, strings.TrimPrefix(key, bundlePrefix))
		switch {
		case err == nil:
		case fault.Of(err) == fault.Invalid:
			b.logger.Warn("bundle does not compile any more", "key", key, "error", err)
		default:
			return err
		}
	}
	b.whole = true
	return nil
}
