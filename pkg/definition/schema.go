package definition

import (
	"encoding/json"
	"slices"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/reflect/protoreflect"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
)

// JSONSchema returns the schema of one document as JSON Schema draft-07, for editors. It is made from the
// messages and their rules, and accepts at least what Load accepts. Equal programs give equal bytes.
func JSONSchema() []byte {
	s := schema{definitions: object{}}
	var kinds []any
	for _, kind := range Kinds() {
		kinds = append(kinds, s.document(kind))
	}
	root := object{
		"$schema":     "http://json-schema.org/draft-07/schema#",
		"title":       "Refrain definition",
		"definitions": s.definitions,
		"type":        "object",
		"required":    []string{"apiVersion", "kind", "metadata", "spec"},
		"properties": object{
			"apiVersion": object{"const": APIVersion},
			"kind":       object{"enum": Kinds()},
		},
		"oneOf": kinds,
	}
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("marshal JSON Schema: " + err.Error()) // only maps, lists and text are in it
	}
	return append(data, '\n')
}

type object = map[string]any

type schema struct{ definitions object }

func (s *schema) document(kind string) object {
	metadata := (&definitionv1.Metadata{}).ProtoReflect().Descriptor()
	return object{
		"title":                kind,
		"additionalProperties": false,
		"properties": object{
			"apiVersion": true,
			"kind":       object{"const": kind},
			"metadata":   s.message(metadata),
			"spec":       s.message(specField(kind).Message()),
		},
	}
}

// message returns a reference to a message's schema, which is made at its first use.
func (s *schema) message(desc protoreflect.MessageDescriptor) object {
	name := string(desc.Name())
	ref := object{"$ref": "#/definitions/" + name}
	if _, made := s.definitions[name]; made {
		return ref
	}
	body := object{"type": "object", "additionalProperties": false}
	s.definitions[name] = body
	properties, required := object{}, []string{}
	for i := range desc.Fields().Len() {
		f := desc.Fields().Get(i)
		rules, err := protovalidate.ResolveFieldRules(f)
		if err != nil {
			rules = nil
		}
		properties[string(f.Name())] = s.field(f, rules)
		if isRequired(f, rules) {
			required = append(required, string(f.Name()))
		}
	}
	body["properties"] = properties
	if len(required) > 0 {
		body["required"] = required
	}
	if short := shortForm(desc); short != nil {
		s.definitions[name] = object{"anyOf": []any{s.field(short, nil), body}}
	}
	return ref
}

func (s *schema) field(f protoreflect.FieldDescriptor, rules *validate.FieldRules) object {
	switch {
	case f.IsMap():
		return object{"type": "object", "additionalProperties": scalar(f.MapValue(), nil)}
	case f.IsList():
		out := object{"type": "array"}
		if f.Message() != nil {
			out["items"] = s.message(f.Message())
		} else {
			out["items"] = scalar(f, rules.GetRepeated().GetItems())
		}
		if n := rules.GetRepeated().GetMinItems(); n > 0 {
			out["minItems"] = n
		}
		return out
	case f.Message() != nil:
		return s.message(f.Message())
	}
	return scalar(f, rules)
}

func scalar(f protoreflect.FieldDescriptor, rules *validate.FieldRules) object {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.DoubleKind:
		out := object{"type": "number"}
		if rules.GetDouble().HasGte() {
			out["minimum"] = rules.GetDouble().GetGte()
		}
		return out
	case protoreflect.Int32Kind:
		return object{"type": "integer"}
	case protoreflect.Uint32Kind:
		out := object{"type": "integer", "minimum": 0}
		if rules.GetUint32().HasGt() {
			out["minimum"] = rules.GetUint32().GetGt() + 1
		}
		return out
	default:
		return text(f, rules.GetString())
	}
}

func text(f protoreflect.FieldDescriptor, rules *validate.StringRules) object {
	if isExpression(f) {
		return object{"type": []string{"string", "number", "boolean"}}
	}
	out := object{"type": "string"}
	if in := nonEmpty(rules.GetIn()); len(in) > 0 {
		out["enum"] = in
	}
	if rules.GetMinLen() > 0 {
		out["minLength"] = rules.GetMinLen()
	}
	if rules.GetMaxLen() > 0 {
		out["maxLength"] = rules.GetMaxLen()
	}
	if rules.GetPattern() != "" {
		out["pattern"] = rules.GetPattern()
	}
	return out
}

// isRequired says whether a field that is left out breaks its own rule.
func isRequired(f protoreflect.FieldDescriptor, rules *validate.FieldRules) bool {
	if rules == nil || f.HasOptionalKeyword() {
		return false
	}
	str := rules.GetString()
	return rules.GetRequired() || rules.GetRepeated().GetMinItems() > 0 || rules.GetUint32().HasGt() ||
		str.GetMinLen() > 0 || str.GetPattern() != "" || (len(str.GetIn()) > 0 && !slices.Contains(str.GetIn(), ""))
}
