// Package stagetest holds what the tests of all stages share: states whose lists are full, and the limits of the runtime
// around a fold.
package stagetest

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Lists names every list and map that a state can hold, at any depth: "leaves.traits". A message that holds itself is
// gone into once.
func Lists(m proto.Message) []string {
	var out []string
	walk(m.ProtoReflect().Descriptor(), "", nil, func(path string) { out = append(out, path) })
	return out
}

func walk(d protoreflect.MessageDescriptor, prefix string, inside []protoreflect.FullName, list func(path string)) {
	if slices.Contains(inside, d.FullName()) {
		return
	}
	inside = append(slices.Clip(inside), d.FullName())
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		path := prefix + string(f.Name())
		if f.Cardinality() == protoreflect.Repeated {
			list(path)
		}
		if f.Kind() == protoreflect.MessageKind && !f.IsMap() {
			walk(f.Message(), path+".", inside, list)
		}
	}
}

// Fill adds elements, no two alike, to the list at a path of m, inside the first element of each list on the way, until
// the list has n or m has most bytes. mend may make an element one that the stage could have written.
func Fill(m proto.Message, path []string, n, most int, mend func(element proto.Message)) {
	list := at(m.ProtoReflect(), path, mend)
	size := proto.Size(m)
	for i := list.Len(); i < n; i++ {
		v := list.NewElement()
		if e, ok := v.Interface().(protoreflect.Message); ok {
			set(e, i, 0)
			mend(e.Interface())
			v = protoreflect.ValueOfMessage(e)
			size += proto.Size(e.Interface()) + overhead
		} else {
			v = scalar(v, i)
			size += len(v.String()) + overhead
		}
		if size > most {
			return
		}
		list.Append(v)
	}
}

// overhead is what an element takes beside what it is, in all that holds it.
const overhead = 4

// Len is how many elements the list at a path has.
func Len(m proto.Message, path []string) int {
	return at(m.ProtoReflect(), path, func(proto.Message) {}).Len()
}

func at(m protoreflect.Message, path []string, mend func(proto.Message)) protoreflect.List {
	f := m.Descriptor().Fields().ByName(protoreflect.Name(path[0]))
	if f.Cardinality() != protoreflect.Repeated {
		return at(m.Mutable(f).Message(), path[1:], mend)
	}
	list := m.Mutable(f).List()
	if len(path) == 1 {
		return list
	}
	if list.Len() == 0 {
		e := list.AppendMutable().Message()
		set(e, 0, 0)
		mend(e.Interface())
	}
	return at(list.Get(0).Message(), path[1:], mend)
}

// set gives every field of a message that is no list a value, down to a depth.
func set(m protoreflect.Message, n, depth int) {
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		switch {
		case f.Cardinality() == protoreflect.Repeated, f.ContainingOneof() != nil && m.WhichOneof(f.ContainingOneof()) != nil:
		case f.Kind() == protoreflect.MessageKind && depth < 2:
			set(m.Mutable(f).Message(), n, depth+1)
		case f.Kind() != protoreflect.MessageKind:
			m.Set(f, scalar(m.NewField(f), n))
		}
	}
}

// scalar is the nth value of the kind of v.
func scalar(v protoreflect.Value, n int) protoreflect.Value {
	switch v.Interface().(type) {
	case string:
		return protoreflect.ValueOfString(fmt.Sprintf("value-%08d", n))
	case []byte:
		return protoreflect.ValueOfBytes(fmt.Appendf(nil, "id-%013d", n))
	case int32:
		return protoreflect.ValueOfInt32(int32(n)) //nolint:gosec // few
	case int64:
		return protoreflect.ValueOfInt64(int64(n))
	case uint32:
		return protoreflect.ValueOfUint32(uint32(n)) //nolint:gosec // few
	case uint64:
		return protoreflect.ValueOfUint64(uint64(n)) //nolint:gosec // few
	case protoreflect.EnumNumber:
		return protoreflect.ValueOfEnum(1)
	}
	return v
}
