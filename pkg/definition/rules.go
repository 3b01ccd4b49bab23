package definition

import (
	"errors"
	"strconv"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
)

// rules checks the rules that the schema states for the resource's fields.
func (d *decoder) rules() {
	m := d.res.message
	if m == nil {
		return
	}
	d.check("metadata", m.GetMetadata())
	refl := m.ProtoReflect()
	if f := refl.WhichOneof(specs()); f != nil {
		d.check("spec", refl.Get(f).Message().Interface())
	}
}

func (d *decoder) check(root string, m proto.Message) {
	err := protovalidate.Validate(m)
	if err == nil {
		return
	}
	found, ok := errors.AsType[*protovalidate.ValidationError](err)
	if !ok {
		d.failAt(d.res.find(root), root, root+": cannot be checked", err.Error())
		return
	}
	for _, v := range found.Violations {
		at := canonicalPath(join(root, protovalidate.FieldPathString(v.Proto.GetField())))
		if d.complained(at) {
			continue
		}
		what, why := violation(v)
		d.failAt(d.res.find(at), at, at+": "+what, why)
	}
}

// complained says whether something at, around or inside the path was wrong already.
func (d *decoder) complained(at string) bool {
	for _, f := range d.failed {
		if f != "" && (inside(at, f) || inside(f, at)) {
			return true
		}
	}
	return false
}

func inside(inner, outer string) bool {
	rest, ok := strings.CutPrefix(inner, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// violation says in our words which rule was broken.
func violation(v *protovalidate.Violation) (what, why string) {
	value := ""
	if s, ok := v.FieldValue.Interface().(string); v.FieldValue.IsValid() && ok {
		value = s
	}
	switch id := v.Proto.GetRuleId(); {
	case id == "repeated.min_items":
		return "missing", "write at least one"
	case id == "required" || id == "string.min_len":
		return "missing", "it must be there"
	case id == "string.in" && value == "":
		return "missing", "one of " + strings.Join(allowed(v), ", ")
	case id == "string.in":
		return strconv.Quote(value) + " is not allowed", didYouMean(value, allowed(v))
	case id == "string.pattern" && value == "":
		return "missing", "it must be there"
	case id == "string.pattern":
		return strconv.Quote(value) + " is not allowed", "it must match " + v.RuleValue.String()
	}
	return v.Proto.GetMessage(), "write another value"
}

func allowed(v *protovalidate.Violation) []string {
	rules, err := protovalidate.ResolveFieldRules(v.FieldDescriptor)
	if err != nil {
		return nil
	}
	return nonEmpty(rules.GetString().GetIn())
}

func nonEmpty(list []string) []string {
	var out []string
	for _, s := range list {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}
