package cli

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/source"
)

func (a *app) removeCommand() *cobra.Command {
	at, dry := "", false
	cmd := &cobra.Command{
		Use:   "remove TENANT",
		Short: "Take a tenant's definitions away",
		Long: `remove takes all definitions of one tenant away but its workspace and its identifier kinds, which say where its
customers' events are stored. Customers, their histories and their permissions stay, running enrollments go on to
their end, and other tenants are not touched. What is removed is printed; --dry-run prints that and removes nothing.
'refrain apply' brings definitions back.`,
		Example: `  refrain remove acme --dry-run
  refrain remove acme`,
		Args: args(1, 1, "one tenant"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.withSite(cmd.Context(), func(site log.Site, gen log.Generation) error {
				return a.remove(cmd.Context(), site, gen, removal{given[0], at, dry})
			})
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "the instant from which they are gone, in RFC 3339; default: the mesh's clock, or this machine's")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "show what would be removed, and remove nothing")
	return cmd
}

// removal is whose definitions go, from when on, and whether really.
type removal struct {
	tenant, at string
	dry        bool
}

func (a *app) remove(ctx context.Context, site log.Site, gen log.Generation, r removal) error {
	before, old, err := currentBundle(ctx, source.StoreOf(site), r.tenant)
	if err != nil {
		return err
	}
	if before == "" {
		return noDefinitions(ctx, site, r.tenant)
	}
	bare := catalog.Bare(old)
	if r.dry {
		return a.previewed(bare, before, old)
	}
	if err := a.activate(ctx, site, gen, bare, r.at); err != nil {
		return err
	}
	out := applied{Tenant: r.tenant, Revision: bare.GetRevision(), Before: before, Changes: changes(old, bare)}
	t := out.table()
	if before == out.Revision {
		t.linef("tenant %s has no definitions any more; all partitions were told again", r.tenant)
	} else {
		t.linef("tenant %s has no definitions now; before it was revision %s", r.tenant, before)
	}
	return a.print(out, t)
}

// noDefinitions says that a tenant has none, and which ones have.
func noDefinitions(ctx context.Context, site log.Site, tenant string) error {
	now, err := source.Current(ctx, site.KV())
	if err != nil {
		return err
	}
	if len(now.Tenants) == 0 {
		return negative("no definitions apply yet: run 'refrain apply DIR'")
	}
	return negative("no definitions of tenant %s apply; there are some of %s", tenant, strings.Join(slices.Sorted(maps.Keys(now.Tenants)), ", "))
}
