package definition

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
)

// APIVersion is what every document must name.
const APIVersion = "refrain/v1"

// Kinds lists the kinds of resources as they are written, in the order of the schema.
func Kinds() []string {
	fields := specs().Fields()
	out := make([]string, fields.Len())
	for i := range out {
		out[i] = kindName(fields.Get(i))
	}
	return out
}

// KindOf is the kind of a resource, empty if it has no spec.
func KindOf(r *definitionv1.Resource) string {
	if f := r.ProtoReflect().WhichOneof(specs()); f != nil {
		return kindName(f)
	}
	return ""
}

func specs() protoreflect.OneofDescriptor {
	return (&definitionv1.Resource{}).ProtoReflect().Descriptor().Oneofs().ByName("spec")
}

func specField(kind string) protoreflect.FieldDescriptor {
	fields := specs().Fields()
	for i := range fields.Len() {
		if kindName(fields.Get(i)) == kind {
			return fields.Get(i)
		}
	}
	return nil
}

// kindName turns contact_policy into ContactPolicy.
func kindName(f protoreflect.FieldDescriptor) string {
	var b strings.Builder
	for part := range strings.SplitSeq(string(f.Name()), "_") {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}
