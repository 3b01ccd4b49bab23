package journey

import (
	"fmt"
	"slices"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/expr"
)

const (
	// MaxContext bounds the properties of an entering event that later steps and templates use, in encoded bytes. An
	// event with more starts nothing and is refused with EVENT_TOO_LARGE.
	MaxContext = 16 << 10
	// MaxExtra bounds the other properties that an enrollment keeps, for what channels pass on: whole properties in
	// their order as long as they fit.
	MaxExtra = 1024
)

// Need adds to what an enrollment keeps of its event: what the templates of the journey's actions read. It belongs to
// compiling; a definition that is in use never changes.
func (d *Definition) Need(r expr.Reads) {
	d.needs.All = d.needs.All || r.All
	for _, name := range r.Properties {
		if !slices.Contains(d.needs.Properties, name) {
			d.needs.Properties = append(d.needs.Properties, name)
		}
	}
}

// keep returns the properties that the enrollment needs and, as far as there is space, the others, in their order. The
// reason says why the event cannot be kept.
func (d *Definition) keep(all []*eventv1.Property, env Env) ([]*eventv1.Property, *reasonv1.Reason) {
	var out []*eventv1.Property
	var largest *eventv1.Property
	needed, extra := 0, 0
	for _, p := range all {
		n := p.SizeVT()
		switch {
		case d.needs.All || slices.Contains(d.needs.Properties, p.GetName()):
			needed += n
			if largest.SizeVT() < n {
				largest = p
			}
		case extra+n <= MaxExtra:
			extra += n
		default:
			continue
		}
		out = append(out, p)
	}
	if needed <= MaxContext {
		return out, nil
	}
	return nil, &reasonv1.Reason{
		Code: reasonv1.Code_CODE_EVENT_TOO_LARGE, Rule: d.rule("entry"), Revision: env.Revision,
		Evidence: []string{
			fmt.Sprintf("what the steps and templates use of the event has %d bytes, of %d", needed, MaxContext),
			fmt.Sprintf("the property %s has %d bytes", largest.GetName(), largest.SizeVT()),
		},
		Remedy: "publish less in the properties that templates use, or have the templates use less",
	}
}
