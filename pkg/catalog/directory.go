package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/definition"
)

// Read loads and compiles a directory of definitions: the way in for the CLI, the mesh and CI alike. The
// bundle is never nil; it may be applied only if no diagnostic is an error, and then the catalog is its.
func Read(fsys fs.FS) (*definitionv1.Bundle, *Catalog, []definition.Diagnostic) {
	source, list := definition.Load(fsys)
	bundle := source.Bundle()
	compiled, more := Compile(bundle)
	list = definition.Sort(append(list, source.Place(more)...))
	if definition.HasErrors(list) {
		compiled = nil
	}
	return bundle, compiled, list
}

// TenantOf is whose definitions a bundle has: the one that its Workspace names.
func TenantOf(b *definitionv1.Bundle) string {
	for _, r := range b.GetResources() {
		if tenant := r.GetWorkspace().GetTenant(); tenant != "" {
			return tenant
		}
	}
	return DefaultTenant
}

// Computed are the traits of a bundle that are computed from events, by name, each with a hash of how: it differs if
// they are computed in another way.
func Computed(b *definitionv1.Bundle) map[string]string {
	out := map[string]string{}
	for _, r := range b.GetResources() {
		if r.GetTrait().GetCompute() == nil {
			continue
		}
		how := r.GetTrait().CloneVT()
		how.Type = ""
		alone := &definitionv1.Bundle{Resources: []*definitionv1.Resource{{Spec: &definitionv1.Resource_Trait{Trait: how}}}}
		sum := sha256.Sum256(definition.Marshal(alone))
		out[r.GetMetadata().GetName()] = hex.EncodeToString(sum[:8])
	}
	return out
}

// Bare is a bundle that takes all definitions of one away but what stays for a generation: the workspace and its
// identifier kinds. Its revision is its own.
func Bare(b *definitionv1.Bundle) *definitionv1.Bundle {
	bare := &definitionv1.Bundle{}
	for _, r := range b.GetResources() {
		if r.GetWorkspace() != nil || r.GetIdentifier() != nil {
			bare.Resources = append(bare.Resources, r.CloneVT())
		}
	}
	bare.Revision = definition.Revision(bare)
	return bare
}

// blank says whether nothing is defined but the workspace and identifier kinds.
func (c *Catalog) blank() bool {
	return len(c.Events)+len(c.Traits)+len(c.Placements)+len(c.Journeys)+len(c.Policies)+len(c.Actions)+len(c.Topics)+len(c.Channels) == 0
}

// Follow says why next may not be applied after old, of the same tenant; nil if it may. What decides where an event is stored
// is fixed for a generation: the identifier kinds, their order and their normalisers may not change, and
// new kinds are weaker than all others. Otherwise a retried event could arrive in another place, where it
// is not recognised. The catalog before the first is Empty or nil, and anything may follow it. One that defines nothing
// follows only one that defines nothing either: a directory that was emptied by mistake takes nothing away. Bare does.
func Follow(old, next *Catalog) error {
	if old == nil || old.Revision == "" {
		return nil
	}
	var errs []error
	before, after := old.Kinds.Names(), next.Kinds.Names()
	for _, name := range before {
		was, _ := old.Kinds.Kind(name)
		is, ok := next.Kinds.Kind(name)
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("the Identifier %s is gone; keep it: events are stored by it", name))
		case is.Normaliser != was.Normaliser:
			errs = append(errs, fmt.Errorf("the Identifier %s: normaliser is %s and was %s; it is fixed for a generation", name, is.Normaliser, was.Normaliser))
		case is.Class != was.Class:
			errs = append(errs, fmt.Errorf("the Identifier %s: class is %s and was %s; it is fixed for a generation", name, is.Class, was.Class))
		}
	}
	if len(after) >= len(before) && len(errs) == 0 && !slices.Equal(after[:len(before)], before) {
		errs = append(errs, fmt.Errorf("the order of identifier kinds is %v and was %v: it is fixed for a generation; give new kinds a greater priority than all others; one without a priority is weaker than those with one, and two of them go by name", after, before))
	}
	if next.blank() && !old.blank() {
		errs = append(errs, fmt.Errorf("it defines nothing, and all definitions of tenant %s would be gone; if that is meant: refrain remove %[1]s", next.Tenant))
	}
	return errors.Join(errs...)
}
