package ingestsvc

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// What this file does comes before anything is decoded: one item that is too deep, or no UTF-8, must not lose those beside it.

// flattened is data without what is nested deeper than depth, of the same length: in the place of each such list or object
// stands a zero, so that any depth can be read past. Everything else stands where it stood.
func flattened(data []byte, depth int) []byte {
	if guardDepth(data, depth) == nil {
		return data
	}
	out, at := bytes.Clone(data), 0
	var text scan
	for i, b := range data {
		switch text.next(b) {
		case opens:
			at++
			if at == depth+1 {
				out[i] = '0'
				continue
			}
		case closes:
			at--
			if at == depth {
				out[i] = ' '
			}
		}
		if at > depth {
			out[i] = ' '
		}
	}
	return out
}

// member is a member of an object, or an element of a list, as it came.
type member struct {
	name string
	raw  []byte
}

// membersOf splits an object into its members, in their order; elements of a list have no names. Each is as it came, however
// deep and whether or not it is UTF-8. nest is how deep what is looked into may be.
func membersOf(data []byte, nest int) ([]member, error) {
	decoder := json.NewDecoder(bytes.NewReader(flattened(data, nest)))
	first, err := decoder.Token()
	if err != nil {
		return nil, describeJSON(err)
	}
	if first != json.Delim('{') && first != json.Delim('[') {
		return nil, errors.New("is neither an object nor a list")
	}
	var out []member
	for decoder.More() {
		var m member
		if first == json.Delim('{') {
			name, err := decoder.Token()
			if err != nil {
				return nil, describeJSON(err)
			}
			m.name, _ = name.(string)
		}
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return nil, describeJSON(err)
		}
		end := decoder.InputOffset()
		m.raw = data[end-int64(len(raw)) : end]
		out = append(out, m)
	}
	if _, err := decoder.Token(); err != nil {
		return nil, describeJSON(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more after the JSON value")
	}
	return out, nil
}

// named returns the last member of a name, compared without case; nil if there is none or it is null.
func named(members []member, name string) []byte {
	var out []byte
	for _, m := range members {
		if strings.EqualFold(m.name, name) {
			out = m.raw
		}
	}
	if string(out) == "null" {
		return nil
	}
	return out
}

// loose decodes one value for what can be missed: why says what is wrong with it.
func loose(data []byte) (v any, why string) {
	if data == nil {
		return nil, ""
	}
	if err := guardJSON(data); err != nil {
		return nil, err.Error()
	}
	if err := decodeJSON(data, &v); err != nil {
		return nil, err.Error()
	}
	return v, ""
}

// isJSON reports whether data is one JSON value, however deep.
func isJSON(data []byte) bool { return json.Valid(flattened(data, maxJSONDepth)) }

// begins reports whether the first sign of data that is not blank is with.
func begins(data []byte, with byte) bool {
	data = bytes.TrimLeft(data, " \t\r\n")
	return len(data) > 0 && data[0] == with
}

// unusableItem is an item of which nothing can be read: it is kept as it came, and refused.
func unusableItem(raw []byte, err error) *item {
	it := &item{raw: raw}
	it.problem("", err.Error())
	return it
}
