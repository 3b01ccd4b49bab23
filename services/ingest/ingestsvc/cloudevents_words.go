package ingestsvc

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"refrain.dev/pkg/event"
)

// attributeRemedies say what is wrong with an attribute that a CloudEvent cannot do without, and what to write.
func attributeRemedies() map[string]string {
	return map[string]string{
		"specversion":     "is missing or not known: write 1.0",
		"id":              "is missing: give each event of a source an id of its own",
		"source":          "is missing or is no URI reference: write who published it, such as /shop",
		"type":            "is missing: write what happened, such as order_placed",
		"datacontenttype": "is no media type: write application/json, or leave it out",
	}
}

// cloudEventProblems says in our words what the SDK could not read, attribute by attribute.
func cloudEventProblems(err error) []event.Problem {
	found, ok := errors.AsType[ce.ValidationError](err)
	if !ok {
		return []event.Problem{{Why: "an attribute or the data is not of the type that it has in a CloudEvent: attributes are texts"}}
	}
	var out []event.Problem
	for _, name := range slices.Sorted(maps.Keys(found)) {
		remedy, known := attributeRemedies()[name]
		if !known {
			remedy = "cannot be used: mend it or leave it out"
		}
		out = append(out, event.Problem{Field: name, Why: remedy})
	}
	return out
}

// invalid lists what an event lacks. Attributes that it can do without and that cannot be used are set aside.
func invalid(it *item, e *ce.Event) []event.Problem {
	err := e.Validate()
	if err == nil {
		return nil
	}
	var out []event.Problem
	for _, p := range cloudEventProblems(err) {
		if p.Field == "dataschema" || p.Field == "subject" {
			it.aside(p.Field, "cannot be used")
			continue
		}
		if p.Field == "datacontenttype" {
			_ = e.Context.SetDataContentType("") // none is always taken
			it.aside(p.Field, "is no media type")
			continue
		}
		out = append(out, p)
	}
	return out
}

// noCloudEvent says what a request lacks that is none in any of the modes.
func noCloudEvent(header http.Header) error {
	version, named := header.Get(cePrefix+"specversion"), false
	for name := range header {
		named = named || strings.HasPrefix(strings.ToLower(name), cePrefix)
	}
	switch {
	case version != "":
		return fmt.Errorf("is not a CloudEvent: ce-specversion %q is not known: write 1.0", shortened(version))
	case named:
		return errors.New("is not a CloudEvent: ce-specversion is missing: write 1.0")
	}
	return errors.New("is not a CloudEvent: send ce- headers, or JSON with Content-Type application/cloudevents+json")
}

// readable refuses, in our words, what the SDK would refuse in its own.
func (l *lenient) readable() error {
	text := func(name string) string {
		var s string
		_ = json.Unmarshal(l.members[name], &s) // what is no text is none
		return s
	}
	var out []event.Problem
	lacks := func(name string) { out = append(out, event.Problem{Field: name, Why: attributeRemedies()[name]}) }
	if v := text("specversion"); v != "1.0" && v != "0.3" {
		lacks("specversion")
	}
	if _, err := url.Parse(text("source")); err != nil {
		lacks("source")
	}
	if schema := text("dataschema"); schema != "" {
		if _, err := url.Parse(schema); err != nil {
			delete(l.members, "dataschema")
			l.odd = append(l.odd, event.Problem{Field: "dataschema", Why: noAttribute})
		}
	}
	if data := l.members["data_base64"]; data != nil {
		var encoded string
		wrong := json.Unmarshal(data, &encoded)
		if _, err := base64.StdEncoding.DecodeString(encoded); err != nil || wrong != nil {
			out = append(out, event.Problem{Field: "data_base64", Why: "is not base64: write the bytes in base64, or JSON as data"})
		}
	}
	if len(out) == 0 {
		return nil
	}
	return errors.New(why(out))
}
