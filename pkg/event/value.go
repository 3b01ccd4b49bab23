package event

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

// Text returns a text value.
func Text(s string) *eventv1.Value { return &eventv1.Value{Kind: &eventv1.Value_Text{Text: s}} }

// Integer returns a whole number.
func Integer(n int64) *eventv1.Value { return &eventv1.Value{Kind: &eventv1.Value_Integer{Integer: n}} }

// Number returns a number that need not be whole.
func Number(n float64) *eventv1.Value { return &eventv1.Value{Kind: &eventv1.Value_Number{Number: n}} }

// Flag returns a truth value.
func Flag(b bool) *eventv1.Value { return &eventv1.Value{Kind: &eventv1.Value_Flag{Flag: b}} }

// FromAny turns a JSON-like Go value into a Value: nil (null), strings, booleans, every integer and
// float type, json.Number, []any, []string and map[string]any (members sorted by name). Whole numbers
// that fit stay integers; a json.Number with a fraction or an exponent does not. NaN, infinities and
// other types are errors.
func FromAny(v any) (*eventv1.Value, error) {
	switch x := v.(type) {
	case nil:
		return &eventv1.Value{}, nil
	case *eventv1.Value:
		return x, nil
	case string:
		return Text(x), nil
	case bool:
		return Flag(x), nil
	case []any:
		return fromList(x)
	case []string:
		list := &eventv1.List{Values: make([]*eventv1.Value, len(x))}
		for i, s := range x {
			list.Values[i] = Text(s)
		}
		return &eventv1.Value{Kind: &eventv1.Value_List{List: list}}, nil
	case map[string]any:
		properties, err := Properties(x)
		if err != nil {
			return nil, err
		}
		return &eventv1.Value{Kind: &eventv1.Value_Object{Object: &eventv1.Object{Properties: properties}}}, nil
	}
	return fromNumber(v)
}

// fromNumber is the numeric half of FromAny.
func fromNumber(v any) (*eventv1.Value, error) {
	switch x := v.(type) {
	case int:
		return Integer(int64(x)), nil
	case int32:
		return Integer(int64(x)), nil
	case int64:
		return Integer(x), nil
	case uint32:
		return Integer(int64(x)), nil
	case uint64:
		if x > math.MaxInt64 {
			return Number(float64(x)), nil
		}
		return Integer(int64(x)), nil
	case float32:
		return fromFloat(float64(x))
	case float64:
		return fromFloat(x)
	case json.Number:
		return fromJSONNumber(x)
	}
	return nil, fmt.Errorf("a %T is not a value", v)
}

func fromList(list []any) (*eventv1.Value, error) {
	out := &eventv1.List{Values: make([]*eventv1.Value, len(list))}
	for i, item := range list {
		v, err := FromAny(item)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		out.Values[i] = v
	}
	return &eventv1.Value{Kind: &eventv1.Value_List{List: out}}, nil
}

func fromFloat(f float64) (*eventv1.Value, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("the number %v is not finite", f)
	}
	return Number(f), nil
}

func fromJSONNumber(n json.Number) (*eventv1.Value, error) {
	if i, err := n.Int64(); err == nil {
		return Integer(i), nil
	}
	f, err := n.Float64()
	if err != nil {
		return nil, fmt.Errorf("the number %.40s is out of range", n.String())
	}
	return fromFloat(f)
}

// Properties turns a map into properties, sorted by name. The error names the first member that has no
// representation.
func Properties(m map[string]any) ([]*eventv1.Property, error) {
	if len(m) == 0 {
		return nil, nil
	}
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	out := make([]*eventv1.Property, len(names))
	for i, name := range names {
		v, err := FromAny(m[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[i] = &eventv1.Property{Name: name, Value: v}
	}
	return out, nil
}

// ToAny is the inverse of FromAny: nil, string, int64, float64, bool, []any or map[string]any.
func ToAny(v *eventv1.Value) any {
	switch k := v.GetKind().(type) {
	case *eventv1.Value_Text:
		return k.Text
	case *eventv1.Value_Integer:
		return k.Integer
	case *eventv1.Value_Number:
		return k.Number
	case *eventv1.Value_Flag:
		return k.Flag
	case *eventv1.Value_List:
		out := make([]any, len(k.List.GetValues()))
		for i, item := range k.List.GetValues() {
			out[i] = ToAny(item)
		}
		return out
	case *eventv1.Value_Object:
		return ToMap(k.Object.GetProperties())
	}
	return nil
}

// ToMap turns properties into a map; of two with one name the last wins.
func ToMap(properties []*eventv1.Property) map[string]any {
	out := make(map[string]any, len(properties))
	for _, p := range properties {
		out[p.GetName()] = ToAny(p.GetValue())
	}
	return out
}

// Property returns the value of the last property called name; nil if there is none.
func Property(list []*eventv1.Property, name string) *eventv1.Value {
	for _, p := range slices.Backward(list) {
		if p.GetName() == name {
			return p.GetValue()
		}
	}
	return nil
}

// TextOf returns a property's text without surrounding space; empty if it is missing or no text.
func TextOf(list []*eventv1.Property, name string) string {
	return strings.TrimSpace(Property(list, name).GetText())
}

// IdentifierText is what a value says as an identifier: a text without surrounding space, or a number's digits, so
// that 12345, 12345.0 and "12345" are one. Empty for anything else.
func IdentifierText(v *eventv1.Value) string {
	switch k := v.GetKind().(type) {
	case *eventv1.Value_Text:
		return strings.TrimSpace(k.Text)
	case *eventv1.Value_Integer:
		return strconv.FormatInt(k.Integer, 10)
	case *eventv1.Value_Number:
		return strconv.FormatFloat(k.Number, 'f', -1, 64)
	}
	return ""
}

// NumberText is a JSON number as an identifier is written: a number without a fraction has none, whatever the way it
// is written. Digits are never lost.
func NumberText(n json.Number) string {
	text := n.String()
	if i, err := n.Int64(); err == nil {
		return strconv.FormatInt(i, 10)
	}
	if strings.ContainsAny(text, "eE") {
		if f, err := n.Float64(); err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return strconv.FormatInt(int64(f), 10)
		}
		return text
	}
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// IsNull says whether v is null: unset, or without a kind.
func IsNull(v *eventv1.Value) bool { return v.GetKind() == nil }
