package cli

import (
	"encoding/hex"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

// plain turns a message into maps and lists as a person would write them: names as in the contract, ids
// in hex, times in RFC 3339, enums by their short names, property lists as objects. Fields that are not
// set are left out.
func plain(m proto.Message) any {
	switch m := m.(type) {
	case *timestamppb.Timestamp:
		return m.AsTime().Format(time.RFC3339Nano)
	case *eventv1.Value:
		return finite(event.ToAny(m))
	}
	out := map[string]any{}
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		out[string(f.Name())] = plainField(f, v)
		return true
	})
	return out
}

func plainField(f protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch {
	case f.IsMap():
		out := map[string]any{}
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			out[k.String()] = plainValue(f.MapValue(), v)
			return true
		})
		return out
	case f.IsList():
		if f.Message() != nil && f.Message().FullName() == "refrain.event.v1.Property" {
			return plainProperties(v.List())
		}
		out := make([]any, v.List().Len())
		for i := range out {
			out[i] = plainValue(f, v.List().Get(i))
		}
		return out
	}
	return plainValue(f, v)
}

func plainProperties(l protoreflect.List) any {
	properties := make([]*eventv1.Property, 0, l.Len())
	for i := range l.Len() {
		if p, ok := l.Get(i).Message().Interface().(*eventv1.Property); ok {
			properties = append(properties, p)
		}
	}
	return finite(event.ToMap(properties))
}

func plainValue(f protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return plain(v.Message().Interface())
	case protoreflect.BytesKind:
		return hex.EncodeToString(v.Bytes())
	case protoreflect.EnumKind:
		return enumName(f.Enum(), v.Enum())
	default:
		return finite(v.Interface())
	}
}

// finite returns a value with the numbers that JSON cannot write as their names, as protobuf's JSON has them.
func finite(v any) any {
	switch x := v.(type) {
	case float32:
		return finite(float64(x))
	case float64:
		switch {
		case math.IsNaN(x):
			return "NaN"
		case math.IsInf(x, 1):
			return "Infinity"
		case math.IsInf(x, -1):
			return "-Infinity"
		}
	case []any:
		for i := range x {
			x[i] = finite(x[i])
		}
	case map[string]any:
		for name := range x {
			x[name] = finite(x[name])
		}
	}
	return v
}

// enumName is the value's name without the prefix that its type gives it, such as CAP_REACHED.
func enumName(desc protoreflect.EnumDescriptor, n protoreflect.EnumNumber) any {
	value := desc.Values().ByNumber(n)
	if value == nil {
		return int32(n)
	}
	return strings.TrimPrefix(string(value.Name()), enumPrefix(desc))
}

func enumPrefix(desc protoreflect.EnumDescriptor) string {
	zero := string(desc.Values().Get(0).Name())
	return strings.TrimSuffix(zero, "UNSPECIFIED")
}

// short is the short name of an enum value, for tables.
func short(e protoreflect.Enum) string {
	if s, ok := enumName(e.Descriptor(), e.Number()).(string); ok {
		return s
	}
	return "?"
}
