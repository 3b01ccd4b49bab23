package definition

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// decoder turns the nodes of one document into messages, following their descriptors.
type decoder struct {
	loader *loader
	file   string
	res    *resource
	// failed holds the paths at which something was wrong, so that rules do not complain again.
	failed []string
}

func (d *decoder) fail(n *yaml.Node, at, what, why string) {
	d.failed = append(d.failed, at)
	d.failAt(place{line: n.Line, col: n.Column}, at, what, why)
}

func (d *decoder) failAt(p place, at, what, why string) {
	d.res.broken = true
	d.loader.add(Diagnostic{
		File: d.file, Line: p.line, Col: p.col, What: what, Why: why,
		Kind: d.res.kind, Name: d.res.message.GetMetadata().GetName(), Path: at,
	})
}

// wrongType says that something else should stand at n.
func (d *decoder) wrongType(n *yaml.Node, at, wanted, hint string) {
	found := nodeKind(n)
	if n.ShortTag() == "!!float" && wanted == "a whole number" {
		found = "fraction"
	}
	d.fail(n, at, fmt.Sprintf("%s%s is wanted, not %s", prefix(at), wanted, article(found)), hint)
}

func article(noun string) string {
	switch noun {
	case "text", "true or false":
		return noun
	case "empty value":
		return "an " + noun
	}
	return "a " + noun
}

func (d *decoder) message(n *yaml.Node, at string, m protoreflect.Message) {
	desc := m.Descriptor()
	if n.Kind != yaml.MappingNode {
		if field := shortForm(desc); field != nil && n.Kind == yaml.ScalarNode && !isNull(n) {
			d.field(n, at, m, field)
			return
		}
		d.wrongType(n, at, "a mapping", "its fields are "+strings.Join(fieldNames(desc), ", "))
		return
	}
	values := d.mapping(n, at, fieldNames(desc))
	chosen := map[protoreflect.Name]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i].Value
		field := desc.Fields().ByName(protoreflect.Name(name))
		if field == nil || values[name] != n.Content[i+1] {
			continue
		}
		if oneof := field.ContainingOneof(); oneof != nil && !oneof.IsSynthetic() {
			if other := chosen[oneof.Name()]; other != "" {
				d.fail(n.Content[i], join(at, name), fmt.Sprintf("%s: %s is there already", join(at, name), other), "only one of the two")
				continue
			}
			chosen[oneof.Name()] = name
		}
		d.field(values[name], join(at, name), m, field)
	}
}

// shortForm returns the field that a message's plain value stands for: per: P7D is per: {rolling: P7D}.
func shortForm(desc protoreflect.MessageDescriptor) protoreflect.FieldDescriptor {
	if desc.Name() == "Window" {
		return desc.Fields().ByName("rolling")
	}
	return nil
}

func fieldNames(desc protoreflect.MessageDescriptor) []string {
	out := make([]string, desc.Fields().Len())
	for i := range out {
		out[i] = string(desc.Fields().Get(i).Name())
	}
	return out
}

func (d *decoder) field(n *yaml.Node, at string, m protoreflect.Message, f protoreflect.FieldDescriptor) {
	switch {
	case isNull(n):
		d.fail(n, at, at+": empty", "give it a value or leave it out")
	case f.IsMap():
		d.mapField(n, at, m, f)
	case f.IsList():
		d.list(n, at, m.Mutable(f).List(), f)
	case f.Message() != nil:
		d.message(n, at, m.Mutable(f).Message())
	default:
		if v, ok := d.scalar(n, at, f); ok {
			m.Set(f, v)
		}
	}
}

func (d *decoder) mapField(n *yaml.Node, at string, m protoreflect.Message, f protoreflect.FieldDescriptor) {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, at, "a mapping", "of names to values")
		return
	}
	values := d.mapping(n, at, nil)
	out := m.Mutable(f).Map()
	for name, value := range values {
		if v, ok := d.scalar(value, join(at, name), f.MapValue()); ok {
			out.Set(protoreflect.ValueOfString(name).MapKey(), v)
		}
	}
}

func (d *decoder) list(n *yaml.Node, at string, out protoreflect.List, f protoreflect.FieldDescriptor) {
	if n.Kind != yaml.SequenceNode {
		hint := ""
		if n.Kind == yaml.ScalarNode {
			hint = "write [" + strings.Trim(show(n), `"`) + "]"
		}
		d.wrongType(n, at, "a list", hint)
		return
	}
	for i, c := range n.Content {
		here := at + "[" + strconv.Itoa(i) + "]"
		if f.Message() != nil {
			d.message(c, here, out.AppendMutable().Message())
			continue
		}
		if v, ok := d.scalar(c, here, f); ok {
			out.Append(v)
		}
	}
}

func (d *decoder) scalar(n *yaml.Node, at string, f protoreflect.FieldDescriptor) (protoreflect.Value, bool) {
	tag := n.ShortTag()
	if n.Kind != yaml.ScalarNode || tag == "!!null" {
		d.wrongType(n, at, scalarName(f), scalarHint(f))
		return protoreflect.Value{}, false
	}
	switch f.Kind() {
	case protoreflect.StringKind:
		if tag == "!!str" || isExpression(f) {
			return protoreflect.ValueOfString(n.Value), true
		}
		d.wrongType(n, at, "text", `write "`+strings.Trim(show(n), `"`)+`"`)
	case protoreflect.BoolKind:
		if tag == "!!bool" {
			return protoreflect.ValueOfBool(strings.EqualFold(n.Value, "true")), true
		}
		d.wrongType(n, at, scalarName(f), scalarHint(f))
	case protoreflect.DoubleKind:
		return d.double(n, at, f)
	case protoreflect.Int32Kind, protoreflect.Uint32Kind:
		return d.integer(n, at, f)
	default:
		d.fail(n, at, at+": cannot be written in YAML", "leave it out")
	}
	return protoreflect.Value{}, false
}

func (d *decoder) double(n *yaml.Node, at string, f protoreflect.FieldDescriptor) (protoreflect.Value, bool) {
	var v float64
	if tag := n.ShortTag(); (tag != "!!int" && tag != "!!float") || n.Decode(&v) != nil {
		d.wrongType(n, at, scalarName(f), scalarHint(f))
		return protoreflect.Value{}, false
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		d.fail(n, at, at+": a finite number is wanted", "write digits, such as 0.5")
		return protoreflect.Value{}, false
	}
	return protoreflect.ValueOfFloat64(v), true
}

func (d *decoder) integer(n *yaml.Node, at string, f protoreflect.FieldDescriptor) (protoreflect.Value, bool) {
	if n.ShortTag() != "!!int" {
		d.wrongType(n, at, scalarName(f), scalarHint(f))
		return protoreflect.Value{}, false
	}
	if f.Kind() == protoreflect.Uint32Kind {
		v, err := strconv.ParseUint(n.Value, 0, 32)
		if err != nil {
			d.fail(n, at, at+": "+show(n)+" is out of range", fmt.Sprintf("0 to %d", uint32(math.MaxUint32)))
		}
		return protoreflect.ValueOfUint32(uint32(v)), err == nil //nolint:gosec // parsed with 32 bits
	}
	v, err := strconv.ParseInt(n.Value, 0, 32)
	if err != nil {
		d.fail(n, at, at+": "+show(n)+" is out of range", fmt.Sprintf("%d to %d", math.MinInt32, math.MaxInt32))
	}
	return protoreflect.ValueOfInt32(int32(v)), err == nil //nolint:gosec // parsed with 32 bits
}

func scalarName(f protoreflect.FieldDescriptor) string {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.DoubleKind:
		return "a number"
	case protoreflect.Int32Kind, protoreflect.Uint32Kind:
		return "a whole number"
	default:
		return "text"
	}
}

// scalarHint says what may stand in a field.
func scalarHint(f protoreflect.FieldDescriptor) string {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return "write true or false, without quotes"
	case protoreflect.DoubleKind:
		return "write digits, such as 0.5, without quotes"
	case protoreflect.Int32Kind, protoreflect.Uint32Kind:
		return "write digits, such as 3, without quotes"
	default:
		return `write text, such as "abc"`
	}
}

// isExpression says whether a field holds CEL, where true and 0.5 need no quotes.
func isExpression(f protoreflect.FieldDescriptor) bool {
	if f.ContainingMessage().IsMapEntry() {
		return false
	}
	switch f.Name() {
	case "when", "where", "key", "value", "propensity", "eligibility", "applicability", "suitability":
		return true
	}
	return false
}
