package catalog

import (
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

// Follow says why next may not be applied after old; nil if it may. What decides where an event is stored
// is fixed for a generation: the identifier kinds, their order and their normalisers may not change, and
// new kinds are weaker than all others. Otherwise a retried event could arrive in another place, where it
// is not recognised. The catalog before the first is Empty or nil, and anything may follow it.
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
	return errors.Join(errs...)
}
