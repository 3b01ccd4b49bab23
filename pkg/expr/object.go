package expr

import (
	"fmt"
	"reflect"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

// The fields that every event has besides its properties; a property of the same name hides them.
const (
	fieldID   = "id"
	fieldType = "type"
	fieldAt   = "at"
)

// activation resolves the two variables of an expression.
type activation struct {
	in *Input
	// dynamic says that event is an object, not a declared type.
	dynamic bool
}

// ResolveName implements cel.Activation.
func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case "event":
		if a.dynamic {
			return object{properties: a.in.Properties, event: a.in}, true
		}
		return typed{a.in}, true
	case "traits":
		return typed{a.in}, true
	}
	return nil, false
}

// Parent implements cel.Activation.
func (a *activation) Parent() cel.Activation { return nil }

// typed is event or traits as an object of a declared type; its fields are read through the provider.
type typed struct{ in *Input }

// ConvertToNative implements ref.Val.
func (t typed) ConvertToNative(d reflect.Type) (any, error) {
	return nil, fmt.Errorf("an event cannot become %v", d)
}

// ConvertToType implements ref.Val.
func (t typed) ConvertToType(ref.Type) ref.Val { return types.NewErr("an event cannot be converted") }

// Equal implements ref.Val.
func (t typed) Equal(ref.Val) ref.Val { return types.False }

// Type implements ref.Val.
func (t typed) Type() ref.Type { return types.NewObjectType("refrain.event") }

// Value implements ref.Val.
func (t typed) Value() any { return t.in }

// object is an object whose members are not declared: a member that is missing reads as null.
type object struct {
	properties []*eventv1.Property
	// event is set if the object is the event itself.
	event *Input
}

// find returns a member, nil if there is none.
func (o object) find(key ref.Val) ref.Val {
	name, ok := key.(types.String)
	if !ok {
		return nil
	}
	if v := lookup(o.properties, string(name)); v != nil || o.event == nil {
		return v
	}
	switch name {
	case fieldID:
		return types.String(o.event.EventID)
	case fieldType:
		return types.String(o.event.EventType)
	case fieldAt:
		return timestamp(o.event.EventAt)
	}
	return nil
}

// Get implements traits.Indexer.
func (o object) Get(key ref.Val) ref.Val {
	if v := o.find(key); v != nil {
		return v
	}
	return types.NullValue
}

// IsSet implements traits.FieldTester.
func (o object) IsSet(key ref.Val) ref.Val { return types.Bool(o.find(key) != nil) }

// Contains implements traits.Container.
func (o object) Contains(key ref.Val) ref.Val { return o.IsSet(key) }

// Size implements traits.Sizer.
func (o object) Size() ref.Val { return types.Int(len(o.properties)) }

// ConvertToNative implements ref.Val.
func (o object) ConvertToNative(d reflect.Type) (any, error) {
	return nil, fmt.Errorf("an object cannot become %v", d)
}

// ConvertToType implements ref.Val.
func (o object) ConvertToType(ref.Type) ref.Val { return types.NewErr("an object cannot be converted") }

// Equal implements ref.Val.
func (o object) Equal(other ref.Val) ref.Val {
	b, ok := other.(object)
	if !ok || o.event != nil || b.event != nil {
		return types.False
	}
	left, right := &eventv1.Object{Properties: o.properties}, &eventv1.Object{Properties: b.properties}
	return types.Bool(left.EqualVT(right))
}

// Type implements ref.Val.
func (o object) Type() ref.Type {
	return types.NewObjectType("refrain.object", traits.ContainerType|traits.IndexerType|traits.SizerType|traits.FieldTesterType)
}

// Value implements ref.Val.
func (o object) Value() any { return o.properties }
