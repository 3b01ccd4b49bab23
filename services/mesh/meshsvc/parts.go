package meshsvc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/embed"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/source"
	"refrain.dev/pkg/state"
)

// openStore opens the hot state: a running Redis, a child process, or memory, which the log rebuilds.
func (m *Mesh) openStore(ctx context.Context) error {
	addr := m.cfg.Redis
	switch addr {
	case RedisMemory:
		m.deps.Store = state.NewMemory()
		m.logger.InfoContext(ctx, "states are kept in memory; the log rebuilds them at every start")
		return nil
	case RedisAuto:
		child, err := startRedis(ctx, embed.RedisConfig{Dir: filepath.Join(m.cfg.Dir, "redis")}, m.logger)
		if errors.Is(err, embed.ErrNoRedis) {
			m.deps.Store = state.NewMemory()
			m.logger.InfoContext(ctx, "no redis-server or valkey-server on the PATH: states are kept in memory; the log rebuilds them at every start")
			return nil
		}
		if err != nil {
			return err
		}
		m.stack.Push("redis server", child.Stop)
		m.parts = append(m.parts, run.Part{Name: "redis server", Component: child})
		addr = child.Addr()
	}
	client := redis.NewUniversalClient(state.RedisOptions(addr))
	m.stack.Push("redis", func(context.Context) error { return client.Close() })
	store := state.NewRedis(client, m.deps.Generation.Number)
	err := store.Assert(ctx)
	switch {
	case errors.Is(err, state.ErrUnasserted):
		m.logger.WarnContext(ctx, "Redis does not tell its maxmemory-policy; make sure that it is noeviction")
	case err != nil:
		return fmt.Errorf("redis at %s: %w", addr, err)
	}
	m.deps.Store = store
	m.logger.InfoContext(ctx, "states are kept in redis", "address", addr)
	return nil
}

// applyWorkspace compiles and applies the workspace directory, if one is given: all of it or nothing.
func (m *Mesh) applyWorkspace(ctx context.Context) error {
	if m.cfg.Workspace == "" {
		return nil
	}
	revision, err := m.Apply(ctx, m.cfg.Workspace)
	if err != nil {
		return err
	}
	m.logger.InfoContext(ctx, "workspace applied", "directory", m.cfg.Workspace, "revision", revision)
	m.health.Set(workspacePart, false)
	m.applied = true
	return nil
}

// workspacePart is what readiness waits for under this name: the workspace of the start.
const workspacePart = "workspace"

// awaitWorkspace tells readiness when every stage of every partition decides under the workspace's revision.
func (m *Mesh) awaitWorkspace(ctx context.Context) {
	if !m.applied {
		return
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !m.everywhere(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	m.health.Set(workspacePart, true)
}

// everywhere says whether all stages that answer queries are at what applies.
func (m *Mesh) everywhere(ctx context.Context) bool {
	now, err := source.Current(ctx, m.deps.KV)
	if err != nil {
		return false
	}
	stages := []string{"profile", "decision", "suppression"}
	for p := range m.deps.Generation.Partitions {
		view, err := m.deps.Store.Read(ctx, p, state.Query{Metas: stages})
		if err != nil {
			return false
		}
		for _, s := range stages {
			// Under the replay clock a new catalog may stand behind events of instants that are not released yet:
			// whoever waits in order to release them would wait for ever, so any catalog will do.
			at := view.Metas[s].Revision
			if at == "" || at != now.ID && m.replay == nil {
				return false
			}
		}
	}
	return true
}

// Apply compiles a directory of definitions and lets it take effect for the tenant that it names. If anything in it is wrong, nothing
// changes and the error lists everything that is.
func (m *Mesh) Apply(ctx context.Context, dir string) (revision string, err error) {
	bundle, next, diags := catalog.Read(os.DirFS(dir))
	if next == nil {
		return "", fmt.Errorf("workspace %s is not applied:\n%s", dir, problems(diags))
	}
	if err := m.follows(ctx, next); err != nil {
		return "", fmt.Errorf("workspace %s is not applied: %w", dir, err)
	}
	b := source.Bundle{
		Tenant: next.Tenant, Revision: bundle.GetRevision(), Data: definition.Marshal(bundle), Computed: catalog.Computed(bundle),
	}
	if err := source.Put(ctx, m.deps.Bundles, b); err != nil {
		return "", err
	}
	return bundle.GetRevision(), source.Activate(ctx, m.deps.Bundles, m.deps.Broker, m.deps.Generation.Partitions, bundle.GetRevision(), m.deps.Clock.Now())
}

// follows refuses what may not change while a mesh lives.
func (m *Mesh) follows(ctx context.Context, next *catalog.Catalog) error {
	now, err := source.Current(ctx, m.deps.KV)
	current := now.Tenants[next.Tenant]
	if err != nil || current == "" {
		return err
	}
	data, err := source.Get(ctx, m.deps.Bundles, current)
	if err != nil {
		return err
	}
	old, err := catalog.Decode(data)
	if err != nil {
		m.logger.WarnContext(ctx, "the catalog in force cannot be read by this build; any may follow it", "revision", current, "error", err)
		return nil
	}
	return catalog.Follow(old, next)
}

func problems(diags []definition.Diagnostic) string {
	var lines []string
	for _, d := range diags {
		if d.Severity == definition.Error {
			lines = append(lines, d.String())
		}
	}
	return strings.Join(lines, "\n")
}
