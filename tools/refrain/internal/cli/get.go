package cli

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/source"
)

func (a *app) getCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "get KIND [NAME]",
		Short: "Show the definitions that apply",
		Long: `get lists the definitions of a kind in the revision that applies for a tenant, or shows one as it was written.
Without --tenant the tenant is the only one that has definitions, or the default one.
The kinds are ` + strings.Join(definition.Kinds(), ", ") + `; upper case does not matter,
and the plural will do. "all" lists every kind.`,
		Example: `  refrain get journeys
  refrain get contactpolicy cadence -o json`,
		Args: args(1, 2, "a kind and perhaps a name"),
		RunE: func(cmd *cobra.Command, given []string) error {
			kind, err := kindNamed(given[0])
			if err != nil {
				return err
			}
			return a.withSite(cmd.Context(), func(site log.Site, _ log.Generation) error {
				tenant, err := a.defining(cmd.Context(), site)
				if err != nil {
					return err
				}
				revision, b, err := currentBundle(cmd.Context(), source.StoreOf(site), tenant)
				if err != nil {
					return err
				}
				if revision == "" {
					return noDefinitions(cmd.Context(), site, tenant)
				}
				if len(given) == 2 {
					since, err := source.CountedSince(cmd.Context(), site.KV(), tenant)
					if err != nil {
						return err
					}
					return a.getOne(b, kind, given[1], since)
				}
				return a.getAll(b, kind)
			})
		},
	}
}

// defining is the tenant whose definitions are asked for.
func (a *app) defining(ctx context.Context, site log.Site) (string, error) {
	now, err := source.Current(ctx, site.KV())
	if err != nil || a.tenant != "" {
		return a.tenant, err
	}
	if len(now.Tenants) == 1 {
		return slices.Collect(maps.Keys(now.Tenants))[0], nil
	}
	return catalog.DefaultTenant, nil
}

// kindNamed finds a kind by what people write; "" is all of them.
func kindNamed(word string) (string, error) {
	lower := strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(word))
	if lower == "all" {
		return "", nil
	}
	for _, k := range definition.Kinds() {
		one := strings.ToLower(k)
		if lower == one || lower == one+"s" || strings.HasSuffix(one, "y") && lower == strings.TrimSuffix(one, "y")+"ies" {
			return k, nil
		}
	}
	return "", usage("%q is no kind: use one of %s, or all", word, strings.Join(definition.Kinds(), ", "))
}

func (a *app) getAll(b *definitionv1.Bundle, kind string) error {
	t := table{head: []string{"KIND", "NAME", "POSITION"}}
	list := []any{}
	for _, r := range b.GetResources() {
		if k := definition.KindOf(r); kind == "" || k == kind {
			t.row(k, r.GetMetadata().GetName(), r.GetPosition())
			list = append(list, written(r))
		}
	}
	if len(list) == 0 {
		return negative("revision %s has no %s", b.GetRevision(), kind)
	}
	return a.print(map[string]any{"tenant": catalog.TenantOf(b), "revision": b.GetRevision(), "resources": list}, t)
}

// getOne shows a definition, and since when it counts if it is a computed trait.
func (a *app) getOne(b *definitionv1.Bundle, kind, name string, since map[string]time.Time) error {
	for _, r := range b.GetResources() {
		if r.GetMetadata().GetName() != name || definition.KindOf(r) != kind {
			continue
		}
		text, err := asYAML(written(r))
		if err != nil {
			return err
		}
		t := table{lines: []string{"# " + r.GetPosition() + ", revision " + b.GetRevision()}}
		if at, ok := since[name]; ok && computed(r) {
			t.linef("# computed from what arrived since %s", at.Format(time.RFC3339))
		}
		t.linef("%s", strings.TrimSuffix(string(text), "\n"))
		return a.print(written(r), t)
	}
	return negative("revision %s has no %s %q", b.GetRevision(), kind, name)
}

// written is a resource in the form in which it is written.
func written(r *definitionv1.Resource) any {
	desc := r.ProtoReflect().Descriptor().Oneofs().ByName("spec")
	spec := any(map[string]any{})
	if f := r.ProtoReflect().WhichOneof(desc); f != nil {
		spec = plain(r.ProtoReflect().Get(f).Message().Interface())
	}
	return map[string]any{"apiVersion": definition.APIVersion, "kind": definition.KindOf(r), "metadata": plain(r.GetMetadata()), "spec": spec}
}
