package ingestsvc

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	ce "github.com/cloudevents/sdk-go/v2/event"
)

// What this file does comes before the SDK reads a CloudEvent: the SDK refuses an event whole for one optional
// attribute that is not as the specification has it, and leaves the values of headers encoded.

const cePrefix = "ce-"

// decodedHeader returns header with the values of ce- headers as they were before they were written into headers: out of
// double quotes (RFC 7230), then out of percent-encoding. An attribute whose name cannot be one is left out, with a
// remark.
func decodedHeader(header http.Header) (http.Header, []string, error) {
	out, odd := make(http.Header, len(header)), []string(nil)
	for name, values := range header {
		attribute, ok := strings.CutPrefix(strings.ToLower(name), cePrefix)
		if !ok {
			out[name] = values
			continue
		}
		if !attributeName(attribute) {
			odd = append(odd, strings.ToLower(name))
			continue
		}
		decoded := make([]string, len(values))
		for i, v := range values {
			decoded[i] = percentDecoded(unquoted(strings.TrimSpace(v)))
			if problem := attributeProblem(decoded[i]); problem != "" {
				return nil, nil, fmt.Errorf("header %s: %s", strings.ToLower(name), problem)
			}
		}
		out[name] = decoded
	}
	slices.Sort(odd)
	return out, odd, nil
}

// attributeProblem says why a text can be no attribute's value.
func attributeProblem(v string) string {
	odd := func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }
	if strings.ContainsFunc(v, odd) {
		return "holds control characters or bytes that are no UTF-8"
	}
	return ""
}

// unquoted is the content of a quoted string; anything else is returned as it is.
func unquoted(v string) string {
	if len(v) < 2 || v[0] != '"' || v[len(v)-1] != '"' {
		return v
	}
	var b strings.Builder
	for i := 1; i < len(v)-1; i++ {
		if v[i] == '\\' && i+1 < len(v)-1 {
			i++
		}
		b.WriteByte(v[i])
	}
	return b.String()
}

// percentDecoded replaces each %XY by its byte, once; a percent sign with anything else behind it stands for itself.
func percentDecoded(v string) string {
	if !strings.Contains(v, "%") {
		return v
	}
	out := make([]byte, 0, len(v))
	for i := 0; i < len(v); i++ {
		if v[i] == '%' && i+2 < len(v) {
			if high, low := hexDigit(v[i+1]), hexDigit(v[i+2]); high >= 0 && low >= 0 {
				out = append(out, byte(high<<4|low)) //nolint:gosec // both are below 16
				i += 2
				continue
			}
		}
		out = append(out, v[i])
	}
	return string(out)
}

// hexDigit is a digit's value, negative for what is none.
func hexDigit(c byte) int { return strings.Index("0123456789abcdef", strings.ToLower(string(rune(c)))) }

// attributeName reports whether a name is one of a CloudEvents attribute.
func attributeName(name string) bool {
	odd := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }
	return name != "" && !strings.ContainsFunc(name, odd)
}

// cloudEventJSON reads one event in JSON. Its time may be in any form that is read elsewhere, its attributes may be
// numbers; what can be no attribute is set aside.
func cloudEventJSON(raw []byte) (*item, error) {
	var members map[string]json.RawMessage
	if err := decodeJSON(raw, &members); err != nil {
		return nil, err
	}
	if members == nil {
		return nil, errors.New("is null, want an object")
	}
	l := lenient{members: members, at: stated{"time", nil}}
	for _, name := range sortedKeys(members) {
		if err := l.member(name); err != nil {
			return nil, err
		}
	}
	tidy, err := json.Marshal(members)
	if err != nil {
		return nil, fmt.Errorf("encode attributes: %w", err)
	}
	if err := l.readable(); err != nil {
		return nil, err
	}
	e := &ce.Event{}
	if err := e.UnmarshalJSON(tidy); err != nil {
		return nil, errors.New(why(cloudEventProblems(err)))
	}
	it := cloudEventItem(e)
	it.raw, it.happened = raw, []stated{l.at}
	it.oddAttributes(l.odd)
	if l.tamed {
		it.remark("data", "holds a number that is out of range; it is kept as text")
	}
	return it, nil
}

// lenient is a CloudEvent in JSON while it is made ready for the SDK.
type lenient struct {
	members map[string]json.RawMessage
	at      stated
	odd     []string // names of what can be no attribute
	tamed   bool     // the data held numbers out of range
}

// member makes one member ready.
func (l *lenient) member(name string) error {
	var v any
	if err := decodeJSON(l.members[name], &v); err != nil {
		return err
	}
	switch name {
	case "time":
		l.at.value = v
		delete(l.members, name)
	case "data":
		if tame, odd := tamed(v); odd {
			l.tamed = true
			return l.set(name, tame)
		}
	case "data_base64":
	default:
		return l.attribute(name, v)
	}
	return nil
}

func (l *lenient) set(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	l.members[name] = data
	return nil
}

// attribute keeps texts and truth values, turns numbers into texts and takes anything else out.
func (l *lenient) attribute(name string, v any) error {
	text, isText := textOf(v)
	_, isFlag := v.(bool)
	switch {
	case v == nil:
		delete(l.members, name)
	case !attributeName(name) || !isText && !isFlag:
		l.odd = append(l.odd, name)
		delete(l.members, name)
	case isText:
		return l.set(name, text)
	}
	return nil
}

func (it *item) oddAttributes(odd []string) {
	for _, name := range odd {
		it.aside(name, "is not an attribute of a CloudEvent")
	}
}
