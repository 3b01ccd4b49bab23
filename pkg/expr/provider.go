package expr

import (
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

const (
	eventPrefix = "refrain.event."
	traitsName  = "refrain.traits"
)

// provider tells CEL about the object types made from the schema; everything else is the registry's.
type provider struct {
	*types.Registry
	objects map[string]map[string]*types.FieldType
}

func newProvider(reg *types.Registry, s Schema) *provider {
	p := &provider{Registry: reg, objects: map[string]map[string]*types.FieldType{}}
	for event, props := range s.Events {
		fields := map[string]*types.FieldType{
			fieldID:   builtin(types.StringType, func(in *Input) ref.Val { return types.String(in.EventID) }),
			fieldType: builtin(types.StringType, func(in *Input) ref.Val { return types.String(in.EventType) }),
			fieldAt:   builtin(types.TimestampType, func(in *Input) ref.Val { return timestamp(in.EventAt) }),
		}
		for name, t := range props {
			fields[name] = field(name, t, property)
		}
		p.objects[eventPrefix+event] = fields
	}
	fields := map[string]*types.FieldType{}
	for name, t := range s.Traits {
		fields[name] = field(name, t, trait)
	}
	p.objects[traitsName] = fields
	return p
}

// FindStructType implements types.Provider.
func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if _, ok := p.objects[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Registry.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	if fields, ok := p.objects[name]; ok {
		return slices.Sorted(maps.Keys(fields)), true
	}
	return p.Registry.FindStructFieldNames(name)
}

// FindStructFieldType implements types.Provider.
func (p *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if fields, ok := p.objects[name]; ok {
		f, found := fields[field]
		return f, found
	}
	return p.Registry.FindStructFieldType(name, field)
}

// NewValue implements types.Provider; nothing can be made of our object types.
func (p *provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if _, ok := p.objects[name]; ok {
		return types.NewErr("%s cannot be made", strings.TrimPrefix(name, "refrain."))
	}
	return p.Registry.NewValue(name, fields)
}

// field reads a declared property or trait.
func field(name string, t Type, find func(in *Input, name string) *eventv1.Value) *types.FieldType {
	get := func(target any) ref.Val {
		in, ok := target.(*Input)
		if !ok {
			return nil
		}
		return declared(find(in, name), t)
	}
	return &types.FieldType{
		Type:  celType(t),
		IsSet: func(target any) bool { return get(target) != nil },
		GetFrom: func(target any) (any, error) {
			if v := get(target); v != nil {
				return v, nil
			}
			return zero(t), nil
		},
	}
}

func builtin(t *types.Type, get func(in *Input) ref.Val) *types.FieldType {
	return &types.FieldType{
		Type:  t,
		IsSet: func(any) bool { return true },
		GetFrom: func(target any) (any, error) {
			in, ok := target.(*Input)
			if !ok {
				return types.NullValue, nil
			}
			return get(in), nil
		},
	}
}

func celType(t Type) *types.Type {
	switch t {
	case String:
		return types.StringType
	case Int:
		return types.IntType
	case Double:
		return types.DoubleType
	case Bool:
		return types.BoolType
	case Timestamp:
		return types.TimestampType
	case Strings:
		return types.NewListType(types.StringType)
	case Any:
		return types.DynType
	}
	return types.DynType
}
