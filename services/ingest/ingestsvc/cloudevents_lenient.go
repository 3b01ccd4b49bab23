package ingestsvc

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"refrain.dev/pkg/event"
)

// What this file does comes before the SDK reads a CloudEvent: the SDK refuses an event whole for one optional
// attribute that is not as the specification has it, and leaves the values of headers encoded.

const cePrefix = "ce-"

// decodedHeader returns header with the values of ce- headers as they were before they were written into headers: out of
// double quotes (RFC 7230), then out of percent-encoding. An attribute whose name or value cannot be one is left out, with a
// remark, unless no event can be without it.
func decodedHeader(header http.Header) (http.Header, []event.Problem, error) {
	out, odd := make(http.Header, len(header)), []event.Problem(nil)
	for name, values := range header {
		name = strings.ToLower(name)
		attribute, ok := strings.CutPrefix(name, cePrefix)
		if !ok {
			out[http.CanonicalHeaderKey(name)] = values
			continue
		}
		if !attributeName(attribute) {
			odd = append(odd, event.Problem{Field: name, Why: noAttribute})
			continue
		}
		decoded := make([]string, len(values))
		problem := ""
		for i, v := range values {
			decoded[i] = percentDecoded(unquoted(strings.TrimSpace(v)))
			problem = cmp.Or(problem, attributeProblem(decoded[i]))
		}
		switch {
		case problem == "":
			out[http.CanonicalHeaderKey(name)] = decoded
		case slices.Contains(requiredAttributes(), attribute):
			return nil, nil, fmt.Errorf("header %s: %s", name, problem)
		default:
			odd = append(odd, event.Problem{Field: name, Why: problem})
		}
	}
	slices.SortFunc(odd, func(x, y event.Problem) int { return cmp.Compare(x.Field, y.Field) })
	return out, odd, nil
}

// requiredAttributes are those that no CloudEvent can be without.
func requiredAttributes() []string { return []string{"id", "source", "specversion", "type"} }

// noAttribute is why a name or value is set aside.
const noAttribute = "is not an attribute of a CloudEvent"

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
	l.contentType()
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
	odd     []event.Problem // what can be no attribute
	tamed   bool            // the data held numbers out of range
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
		l.odd = append(l.odd, event.Problem{Field: name, Why: noAttribute})
		delete(l.members, name)
	case isText:
		return l.set(name, text)
	}
	return nil
}

// oddAttributes notes what was left out. One that would have said whom the event is about is the reason for a refusal if
// nothing else says it.
func (it *item) oddAttributes(odd []event.Problem) {
	for _, p := range odd {
		switch strings.TrimPrefix(p.Field, cePrefix) {
		case "userid", "anonymousid", "email", "phone", "subject":
			it.unusable = append(it.unusable, p)
		default:
			it.aside(p.Field, p.Why)
		}
	}
}

// contentType takes out a media type that contradicts the data beside it, which is JSON unless it is a text.
func (l *lenient) contentType() {
	var said, text string
	raw, ok := l.members["datacontenttype"]
	if !ok {
		return
	}
	_ = json.Unmarshal(raw, &said) // what is no text is no media type either
	media, _, err := mime.ParseMediaType(said)
	isJSON := err == nil && strings.Contains(media, "/") && strings.HasSuffix(media, "json")
	data, there := l.members["data"]
	isText := there && json.Unmarshal(data, &text) == nil
	if isJSON {
		l.members["datacontenttype"] = json.RawMessage(`"` + ce.ApplicationJSON + `"`) // the SDK knows no parameters
		return
	}
	if err == nil && strings.Contains(media, "/") && (isText || !there) {
		return
	}
	delete(l.members, "datacontenttype")
	l.odd = append(l.odd, event.Problem{Field: "datacontenttype", Why: "is no media type of the data, which is read as JSON"})
}
