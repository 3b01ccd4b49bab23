package ingestsvc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// guardJSON refuses what would be dear or unsafe to decode: text that is not UTF-8 and nesting deeper
// than maxJSONDepth. It does not check the syntax.
func guardJSON(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("the text is not valid UTF-8")
	}
	return guardDepth(data, maxJSONDepth)
}

// guardDepth refuses nesting deeper than most.
func guardDepth(data []byte, most int) error {
	depth := 0
	var text scan
	for _, b := range data {
		switch text.next(b) {
		case opens:
			depth++
			if depth > most {
				return fmt.Errorf("the JSON is nested deeper than %d", most)
			}
		case closes:
			depth--
		}
	}
	return nil
}

// scan tells brackets from what stands in texts.
type scan struct{ inText, escaped bool }

// What a byte of JSON does to the depth.
const (
	neither = iota
	opens
	closes
)

func (s *scan) next(b byte) int {
	switch {
	case s.escaped:
		s.escaped = false
	case s.inText:
		s.escaped, s.inText = b == '\\', b != '"'
	case b == '"':
		s.inText = true
	case b == '{' || b == '[':
		return opens
	case b == '}' || b == ']':
		return closes
	}
	return neither
}

// decodeJSON decodes exactly one JSON value, keeping numbers as they are written. The error tells what
// is wrong without quoting the content.
func decodeJSON(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return describeJSON(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the JSON value")
	}
	return nil
}

func describeJSON(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrong.Field == "" {
			return fmt.Errorf("is a %s, want %s", wrong.Value, shape(wrong))
		}
		return fmt.Errorf("%s: is a %s, want %s", wrong.Field, wrong.Value, shape(wrong))
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("is not JSON: byte %d", syntax.Offset)
	}
	return errors.New("is not complete JSON")
}

func shape(wrong *json.UnmarshalTypeError) string {
	switch wrong.Type.Kind().String() {
	case "map", "struct":
		return "an object"
	case "slice":
		return "a list"
	case "string":
		return "a text"
	}
	return "another type"
}

// tamed returns a decoded value with numbers that no float can hold as text. odd says that there are any; else the value
// itself is returned.
func tamed(v any) (tame any, odd bool) {
	switch v := v.(type) {
	case json.Number:
		if _, err := v.Float64(); err != nil {
			return v.String(), true
		}
	case []any:
		for i, x := range v {
			if tame, bad := tamed(x); bad {
				v[i], odd = tame, true
			}
		}
	case map[string]any:
		for name, x := range v {
			if tame, bad := tamed(x); bad {
				v[name], odd = tame, true
			}
		}
	}
	return v, odd
}
