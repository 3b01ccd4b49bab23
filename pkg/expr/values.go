package expr

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
)

// property returns the value of an event's property, nil if there is none.
func property(in *Input, name string) *eventv1.Value { return find(in.Properties, name) }

// trait returns the value of a trait, nil if there is none.
func trait(in *Input, name string) *eventv1.Value {
	i, ok := slices.BinarySearchFunc(in.Traits, name, func(t *profilev1.Trait, name string) int {
		return strings.Compare(t.GetName(), name)
	})
	if !ok {
		return nil
	}
	return in.Traits[i].GetValue()
}

func lookup(list []*eventv1.Property, name string) ref.Val { return fromValue(find(list, name)) }

func find(list []*eventv1.Property, name string) *eventv1.Value {
	for _, p := range slices.Backward(list) {
		if p.GetName() == name {
			return p.GetValue()
		}
	}
	return nil
}

// declared returns what a value is as one of a type, nil if it is not one.
func declared(v *eventv1.Value, t Type) ref.Val {
	fitting := Fit(v, t, nil)
	if fitting == nil || t != Timestamp {
		return fromValue(fitting)
	}
	at, err := time.Parse(time.RFC3339, fitting.GetText())
	if err != nil {
		return nil
	}
	return timestamp(at)
}

// fromValue adapts a value without copying what is inside; nil for null.
func fromValue(v *eventv1.Value) ref.Val {
	switch k := v.GetKind().(type) {
	case *eventv1.Value_Text:
		return types.String(k.Text)
	case *eventv1.Value_Integer:
		return types.Int(k.Integer)
	case *eventv1.Value_Number:
		return types.Double(k.Number)
	case *eventv1.Value_Flag:
		return types.Bool(k.Flag)
	case *eventv1.Value_List:
		return fromList(k.List)
	case *eventv1.Value_Object:
		return object{properties: k.Object.GetProperties()}
	}
	return nil
}

func fromList(l *eventv1.List) ref.Val {
	out := make([]ref.Val, len(l.GetValues()))
	for i, v := range l.GetValues() {
		if out[i] = fromValue(v); out[i] == nil {
			out[i] = types.NullValue
		}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, out)
}

func zero(t Type) ref.Val {
	switch t {
	case String:
		return types.String("")
	case Int:
		return types.Int(0)
	case Double:
		return types.Double(0)
	case Bool:
		return types.False
	case Timestamp:
		return timestamp(time.Unix(0, 0))
	case Strings:
		return types.NewRefValList(types.DefaultTypeAdapter, nil)
	case Any:
		return types.NullValue
	}
	return types.NullValue
}

func timestamp(t time.Time) ref.Val {
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	return types.Timestamp{Time: t.UTC()}
}

// toValue turns a result into a value: an instant becomes RFC 3339 text.
func toValue(v ref.Val) (*eventv1.Value, error) {
	switch v := v.(type) {
	case types.String:
		return &eventv1.Value{Kind: &eventv1.Value_Text{Text: string(v)}}, nil
	case types.Int:
		return &eventv1.Value{Kind: &eventv1.Value_Integer{Integer: int64(v)}}, nil
	case types.Uint:
		if uint64(v) > math.MaxInt64 {
			return nil, fmt.Errorf("the number %d is too large", uint64(v))
		}
		return &eventv1.Value{Kind: &eventv1.Value_Integer{Integer: int64(v)}}, nil //nolint:gosec // checked above
	case types.Double:
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return nil, errNotFinite
		}
		return &eventv1.Value{Kind: &eventv1.Value_Number{Number: float64(v)}}, nil
	case types.Bool:
		return &eventv1.Value{Kind: &eventv1.Value_Flag{Flag: bool(v)}}, nil
	case types.Timestamp:
		return &eventv1.Value{Kind: &eventv1.Value_Text{Text: v.UTC().Format(time.RFC3339Nano)}}, nil
	case types.Null:
		return &eventv1.Value{}, nil
	case object:
		return &eventv1.Value{Kind: &eventv1.Value_Object{Object: (&eventv1.Object{Properties: v.properties}).CloneVT()}}, nil
	case traits.Lister:
		return toList(v)
	}
	return nil, fmt.Errorf("the result is a %s, which is no value of a property", v.Type().TypeName())
}

var errNotFinite = errors.New("the result is not a finite number")

func toList(l traits.Lister) (*eventv1.Value, error) {
	list := &eventv1.List{}
	n, _ := l.Size().(types.Int)
	for i := range n {
		v, err := toValue(l.Get(i))
		if err != nil {
			return nil, err
		}
		list.Values = append(list.Values, v)
	}
	return &eventv1.Value{Kind: &eventv1.Value_List{List: list}}, nil
}
