package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// leaf is one setting: a field without settings of its own.
type leaf struct {
	// name is the YAML path in kebab case: http-read-timeout.
	name  string
	help  string
	value reflect.Value
}

// leavesOf walks a pointer to a struct. Two leaves with one name are an error of the program.
func leavesOf(into any) ([]leaf, error) {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("a %T is not a pointer to a struct", into)
	}
	var leaves []leaf
	walk(v.Elem(), "", &leaves)
	names := map[string]bool{"config": true}
	for _, l := range leaves {
		if names[l.name] {
			return nil, fmt.Errorf("two settings are called %s", l.name)
		}
		names[l.name] = true
	}
	return leaves, nil
}

func walk(v reflect.Value, prefix string, leaves *[]leaf) {
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		if !field.IsExported() {
			continue
		}
		key, inline := yamlKey(field)
		if key == "-" {
			continue
		}
		name := prefix + strings.ReplaceAll(key, "_", "-")
		if inline {
			name = strings.TrimSuffix(prefix, "-")
		}
		if value.Kind() == reflect.Struct && !isText(value) {
			next := name + "-"
			if name == "" {
				next = ""
			}
			walk(value, next, leaves)
			continue
		}
		l := leaf{name: name, help: field.Tag.Get("help"), value: value}
		if l.settable() {
			*leaves = append(*leaves, l)
		}
	}
}

func yamlKey(field reflect.StructField) (key string, inline bool) {
	key, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
	inline = slices.Contains(strings.Split(options, ","), "inline")
	if key == "" {
		key = strings.ToLower(field.Name)
	}
	return key, inline
}

func isText(v reflect.Value) bool {
	_, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr())
	return ok
}

func (l leaf) isBool() bool { return l.value.Kind() == reflect.Bool }

// settable says whether the setting can be written as one text; others are for the file only.
func (l leaf) settable() bool {
	if isText(l.value) {
		return true
	}
	switch l.value.Kind() { //nolint:exhaustive // the rest is for the file
	case reflect.Slice:
		return l.value.Type().Elem().Kind() == reflect.String
	case reflect.Map:
		return l.value.Type().Key().Kind() == reflect.String && l.value.Type().Elem().Kind() == reflect.String
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Int32,
		reflect.Uint, reflect.Uint32, reflect.Uint64, reflect.Float64:
		return true
	}
	return false
}

func (l leaf) show() string {
	if m, ok := reflect.TypeAssert[encoding.TextMarshaler](l.value.Addr()); ok {
		text, _ := m.MarshalText()
		return string(text)
	}
	switch l.value.Kind() { //nolint:exhaustive // zero values of the rest print nothing useful
	case reflect.Slice, reflect.Map:
		return ""
	case reflect.Bool:
		if !l.value.Bool() {
			return ""
		}
	}
	return fmt.Sprint(l.value.Interface())
}

// set parses text into the field. Lists are separated by commas, maps are written k=v,k=v.
func (l leaf) set(text string) error {
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](l.value.Addr()); ok {
		return u.UnmarshalText([]byte(text)) //nolint:wrapcheck // the caller names the setting
	}
	v := l.value
	switch v.Kind() { //nolint:exhaustive // settable admits no other
	case reflect.String:
		v.SetString(text)
		return nil
	case reflect.Slice:
		return setList(v, text)
	case reflect.Map:
		return setMap(v, text)
	}
	return setScalar(v, text)
}

func setScalar(v reflect.Value, text string) error {
	var err error
	switch v.Kind() { //nolint:exhaustive // settable admits no other
	case reflect.Bool:
		var b bool
		if b, err = strconv.ParseBool(text); err == nil {
			v.SetBool(b)
		}
	case reflect.Float64:
		var f float64
		if f, err = strconv.ParseFloat(text, 64); err == nil {
			v.SetFloat(f)
		}
	case reflect.Uint, reflect.Uint32, reflect.Uint64:
		var n uint64
		if n, err = strconv.ParseUint(text, 10, v.Type().Bits()); err == nil {
			v.SetUint(n)
		}
	default:
		var n int64
		if n, err = strconv.ParseInt(text, 10, v.Type().Bits()); err == nil {
			v.SetInt(n)
		}
	}
	if err != nil {
		return fmt.Errorf("%q is not a %s", text, v.Kind())
	}
	return nil
}

func setList(v reflect.Value, text string) error {
	list := reflect.MakeSlice(v.Type(), 0, 4)
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = reflect.Append(list, reflect.ValueOf(item).Convert(v.Type().Elem()))
		}
	}
	v.Set(list)
	return nil
}

func setMap(v reflect.Value, text string) error {
	m := reflect.MakeMap(v.Type())
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		key, value, ok := strings.Cut(item, "=")
		if !ok {
			return fmt.Errorf("want key=value,key=value")
		}
		m.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), reflect.ValueOf(value).Convert(v.Type().Elem()))
	}
	v.Set(m)
	return nil
}
