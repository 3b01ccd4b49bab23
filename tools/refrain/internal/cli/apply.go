package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/source"
)

// applied is what apply did.
type applied struct {
	Tenant   string   `json:"tenant"`
	Revision string   `json:"revision"`
	Before   string   `json:"before,omitempty"`
	Changes  []change `json:"changes"`
	// DryRun says that nothing was applied.
	DryRun bool `json:"dry_run,omitempty"`
}

type change struct {
	// Change is added, changed or removed.
	Change string `json:"change"`
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	// Effect is what follows for customers who are there already; empty if nothing does.
	Effect string `json:"effect,omitempty"`
}

func (a *app) applyCommand() *cobra.Command {
	at, dry := "", false
	cmd := &cobra.Command{
		Use:   "apply DIR",
		Short: "Make a directory of definitions the ones that apply",
		Long: `apply checks a directory of definitions as validate does, stores it as one bundle under one revision,
and tells every partition that it applies from now on. The Workspace in it names its tenant: the definitions of
other tenants stay as they are. If anything is wrong nothing changes, and all errors
are printed. What changes is printed with what follows for customers who are there already: a new computed trait
starts empty, running enrollments stay on the journey they entered. --dry-run prints that and applies nothing. Applying the same directory again is harmless, and repairs an apply that was interrupted. A directory that
defines nothing is refused where the tenant has definitions: 'refrain remove' takes them away.`,
		Example: `  refrain apply examples/retail
  refrain apply examples/retail --dry-run
  refrain apply examples/retail --nats nats://127.0.0.1:4222`,
		Args: args(1, 1, "one directory"),
		RunE: func(cmd *cobra.Command, dir []string) error {
			c, err := check(dir[0])
			if err != nil {
				return err
			}
			if c.broken() {
				if err := a.print(c, c.table()); err != nil {
					return err
				}
				return negative("")
			}
			if tenant := catalog.TenantOf(c.bundle); a.tenant != "" && a.tenant != tenant {
				return usage("the workspace is of tenant %s, and --tenant (REFRAIN_TENANT) says %s: the workspace names its tenant", tenant, a.tenant)
			}
			for _, d := range c.list {
				a.sayf("%s", clean(d.String()))
			}
			return a.withSite(cmd.Context(), func(site log.Site, gen log.Generation) error {
				if dry {
					return a.preview(cmd.Context(), site, c.bundle)
				}
				return a.apply(cmd.Context(), site, gen, c.bundle, at)
			})
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "the instant it applies from, in RFC 3339; default: the mesh's clock, or this machine's")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "show what would change, and apply nothing")
	return cmd
}

// preview shows what apply would do. It writes nothing.
func (a *app) preview(ctx context.Context, site log.Site, b *definitionv1.Bundle) error {
	before, old, err := currentBundle(ctx, source.StoreOf(site), catalog.TenantOf(b))
	if err != nil {
		return err
	}
	if err := follow(before, old, b); err != nil {
		return err
	}
	return a.previewed(b, before, old)
}

// previewed prints what would change.
func (a *app) previewed(b *definitionv1.Bundle, before string, old *definitionv1.Bundle) error {
	out := applied{Tenant: catalog.TenantOf(b), Revision: b.GetRevision(), Before: before, Changes: changes(old, b), DryRun: true}
	t := out.table()
	switch before {
	case out.Revision:
		t.linef("%s applies already; nothing would change", out.name())
	case "":
		t.linef("%s would be the first; nothing is applied", out.name())
	default:
		t.linef("%s would follow %s; nothing is applied", out.name(), before)
	}
	return a.print(out, t)
}

// name is the revision, with the tenant if it is not the default one.
func (out applied) name() string {
	if out.Tenant == catalog.DefaultTenant {
		return "revision " + out.Revision
	}
	return "revision " + out.Revision + " of tenant " + out.Tenant
}

func (a *app) apply(ctx context.Context, site log.Site, gen log.Generation, b *definitionv1.Bundle, at string) error {
	before, old, err := currentBundle(ctx, source.StoreOf(site), catalog.TenantOf(b))
	if err != nil {
		return err
	}
	if err := follow(before, old, b); err != nil {
		return err
	}
	if err := a.activate(ctx, site, gen, b, at); err != nil {
		return err
	}
	out := applied{Tenant: catalog.TenantOf(b), Revision: b.GetRevision(), Before: before, Changes: changes(old, b)}
	t := out.table()
	switch before {
	case out.Revision:
		t.linef("%s applies already; all partitions were told again", out.name())
	case "":
		t.linef("%s applies now; it is the first", out.name())
	default:
		t.linef("%s applies now; before it was %s", out.name(), before)
	}
	return a.print(out, t)
}

// activate stores a bundle and lets it apply for its tenant.
func (a *app) activate(ctx context.Context, site log.Site, gen log.Generation, b *definitionv1.Bundle, at string) error {
	now, err := a.applyTime(ctx, at)
	if err != nil {
		return err
	}
	store := source.StoreOf(site)
	if err := source.Put(ctx, store, storedAs(b)); err != nil {
		return err
	}
	return source.Activate(ctx, store, site, gen.Partitions, b.GetRevision(), now)
}

func storedAs(b *definitionv1.Bundle) source.Bundle {
	return source.Bundle{
		Tenant: catalog.TenantOf(b), Revision: b.GetRevision(), Data: definition.Marshal(b), Computed: catalog.Computed(b),
	}
}

// table lists the changes with their effects.
func (out applied) table() table {
	var t table
	for _, c := range out.Changes {
		line := fmt.Sprintf("%-8s %s %s", c.Change, c.Kind, c.Name)
		if c.Effect != "" {
			line += ": " + c.Effect
		}
		t.linef("%s", line)
	}
	return t
}

// follow refuses what may not change while a mesh lives.
func follow(before string, old, next *definitionv1.Bundle) error {
	if before == "" {
		return nil
	}
	was, _ := catalog.Compile(old) // an old bundle that this build no longer understands is no obstacle
	is, _ := catalog.Compile(next)
	if err := catalog.Follow(was, is); err != nil {
		return negative("nothing is applied: %v", err)
	}
	return nil
}

// applyTime is the instant from which the catalog applies. A mesh on the replay clock says it; any other
// has the machine's clock.
func (a *app) applyTime(ctx context.Context, at string) (time.Time, error) {
	if at != "" {
		t, err := time.Parse(time.RFC3339, at)
		if err != nil {
			return t, usage("--at %q is not an instant as in 2026-11-21T08:00:00Z", at)
		}
		return t, nil
	}
	var clock *stagev1.GetClockResponse
	err := a.withGRPC(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		var err error
		clock, err = stagev1.NewClockServiceClient(conn).GetClock(ctx, &stagev1.GetClockRequest{})
		switch status.Code(err) {
		case codes.Unimplemented, codes.Unavailable, codes.DeadlineExceeded:
			return nil // only a mesh on the replay clock has to answer
		default:
			return err
		}
	})
	if err != nil {
		return time.Time{}, err
	}
	if clock.GetMode() == stagev1.ClockMode_CLOCK_MODE_REPLAY && clock.GetNow() != nil {
		return clock.GetNow().AsTime(), nil
	}
	return a.Now(), nil
}

// currentBundle reads the bundle that applies for a tenant; "" and an empty one if none was applied yet.
func currentBundle(ctx context.Context, store source.Store, tenant string) (string, *definitionv1.Bundle, error) {
	b := &definitionv1.Bundle{}
	now, err := source.Current(ctx, store.KV)
	revision := now.Tenants[tenant]
	if err != nil || revision == "" {
		return "", b, err
	}
	data, err := source.Get(ctx, store, revision)
	if err != nil {
		return "", nil, err
	}
	if err := b.UnmarshalVT(data); err != nil {
		return "", nil, fmt.Errorf("read bundle %s: %w", revision, err)
	}
	return revision, b, nil
}

// changes compares two bundles; where a resource stands in its file is no change.
func changes(old, now *definitionv1.Bundle) []change {
	before := map[[2]string]*definitionv1.Resource{}
	for _, r := range old.GetResources() {
		before[[2]string{definition.KindOf(r), r.GetMetadata().GetName()}] = r
	}
	out := []change{}
	for _, r := range now.GetResources() {
		key := [2]string{definition.KindOf(r), r.GetMetadata().GetName()}
		was, ok := before[key]
		delete(before, key)
		switch {
		case !ok:
			out = append(out, change{"added", key[0], key[1], addedEffect(r)})
		case !sameResource(was, r):
			out = append(out, change{"changed", key[0], key[1], changedEffect(was, r)})
		}
	}
	for key, r := range before {
		out = append(out, change{"removed", key[0], key[1], removedEffect(r)})
	}
	slices.SortFunc(out, func(x, y change) int { return strings.Compare(x.Kind+"/"+x.Name, y.Kind+"/"+y.Name) })
	return out
}

func sameResource(x, y *definitionv1.Resource) bool {
	x, y = x.CloneVT(), y.CloneVT()
	x.Position, y.Position = "", ""
	return x.EqualVT(y)
}
