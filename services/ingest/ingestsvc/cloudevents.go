package ingestsvc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/cloudevents/sdk-go/v2/binding"
	ce "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

// parseCloudEvents reads a body in binary, structured or batch mode. An error means that nothing could be
// read.
func parseCloudEvents(ctx context.Context, header http.Header, body []byte) ([]*item, error) {
	header, odd, err := decodedHeader(header)
	if err != nil {
		return nil, err
	}
	media, _, _ := strings.Cut(strings.ToLower(header.Get("Content-Type")), ";")
	media = strings.TrimSpace(media)
	switch {
	case cehttp.IsHTTPBatch(header):
		return parseCloudEventBatch(body)
	case media == ce.ApplicationCloudEventsJSON:
		if err := guardJSON(body); err != nil && isJSON(body) {
			return []*item{unusableItem(body, err)}, nil
		}
		it, err := cloudEventJSON(body)
		if err != nil {
			return nil, fmt.Errorf("is not a CloudEvent: %w", err)
		}
		return []*item{it}, nil
	}
	at := stated{"time", header.Get(cePrefix + "time")}
	header.Del(cePrefix + "time")
	if _, _, err := mime.ParseMediaType(header.Get("Content-Type")); err != nil && media != "" {
		header.Del("Content-Type")
		odd = append(odd, event.Problem{Field: "datacontenttype", Why: "is no media type"})
	}
	message := cehttp.NewMessage(header, io.NopCloser(bytes.NewReader(body)))
	if message.ReadEncoding() == binding.EncodingUnknown {
		return nil, noCloudEvent(header)
	}
	e, err := binding.ToEvent(ctx, message)
	if err != nil {
		return nil, fmt.Errorf("is not a CloudEvent: %s", why(cloudEventProblems(err)))
	}
	it := cloudEventItem(e)
	it.happened = []stated{at}
	it.oddAttributes(odd)
	return []*item{it}, nil
}

func parseCloudEventBatch(body []byte) ([]*item, error) {
	if !begins(body, '[') {
		return nil, errors.New("is not a list of CloudEvents")
	}
	raws, err := membersOf(body, maxJSONDepth+1)
	if err != nil {
		return nil, err
	}
	if len(raws) == 0 || len(raws) > maxItems {
		return nil, fmt.Errorf("the batch has %d events; want 1 to %d", len(raws), maxItems)
	}
	items := make([]*item, len(raws))
	for i, m := range raws {
		raw := m.raw
		if err := guardJSON(raw); err != nil {
			items[i] = unusableItem(raw, err)
			continue
		}
		it, err := cloudEventJSON(raw)
		if err != nil {
			it = &item{raw: raw, problems: []event.Problem{{Why: "is not a CloudEvent: " + printable(err)}}}
		}
		items[i] = it
	}
	return items, nil
}

// cloudEventItem maps a CloudEvent: type as it is, time (and sentat) as Segment's timestamp (and sentAt), (source, id) to
// the id, subject and the extensions userid, anonymousid, email, phone and accountid to identifiers, a data object to properties.
func cloudEventItem(e *ce.Event) *item {
	raw, err := e.MarshalJSON()
	if err != nil {
		raw = e.Data()
	}
	it := &item{raw: raw}
	if problems := invalid(it, e); len(problems) > 0 {
		it.problems = append(it.problems, problems...)
		return it
	}
	it.event = &eventv1.Event{
		Id: cloudEventID(e), Type: e.Type(), Kind: eventv1.Kind_KIND_TRACK,
		Context: &eventv1.Context{Via: viaCloudEvents, Source: e.Source()},
	}
	if sent := e.Extensions()["sentat"]; sent != nil { // is to time what Segment's sentAt is to timestamp
		it.sent = stated{"sentat", extensionText(sent)}
	}
	it.cloudEventIdentities(e)
	it.cloudEventData(e)
	return it
}

// cloudEventID is unique per source, as the specification has it: short pairs stay readable.
func cloudEventID(e *ce.Event) string {
	if id := e.Source() + "#" + e.ID(); len(id) <= event.MaxID {
		return id
	}
	return derived(e.Source(), e.ID())
}

func (it *item) cloudEventIdentities(e *ce.Event) {
	extensions := e.Extensions()
	for _, name := range []struct{ extension, kind string }{
		{"userid", event.KindUserID}, {"email", event.KindEmail}, {"phone", event.KindPhone}, {"anonymousid", event.KindAnonymousID},
	} {
		if value := extensionText(extensions[name.extension]); value != "" {
			it.identify(name.extension, name.kind, value)
		}
	}
	if account := extensionText(extensions["accountid"]); account != "" {
		it.event.Account = &eventv1.Identifier{Kind: event.KindAccountID, Value: account}
	}
	if zone := extensionText(extensions["timezone"]); zone != "" {
		it.zone("timezone", zone)
	}
	if len(it.fields) == 0 && e.Subject() != "" {
		it.identify("subject", event.KindUserID, e.Subject())
	}
}

func extensionText(v any) string {
	if v == nil {
		return ""
	}
	return strings.TrimSpace(fmt.Sprint(v))
}

// cloudEventData takes the members of a JSON object as properties; other JSON becomes the property
// "data", and data that is no JSON is refused.
func (it *item) cloudEventData(e *ce.Event) {
	data := e.Data()
	if len(data) == 0 {
		return
	}
	if media := e.DataMediaType(); media != "" && !strings.HasSuffix(media, "json") {
		it.problem("datacontenttype", "is not JSON: data of other types is not taken")
		return
	}
	if err := guardJSON(data); err != nil {
		it.problem("data", err.Error())
		return
	}
	var v any
	if err := decodeJSON(data, &v); err != nil {
		it.problem("data", err.Error())
		return
	}
	if tame, odd := tamed(v); odd {
		v = tame
		it.remark("data", "holds a number that is out of range; it is kept as text")
	}
	members, ok := v.(map[string]any)
	if list, empty := v.([]any); !ok && (!empty || len(list) > 0) {
		members = map[string]any{"data": v}
	}
	properties, err := event.Properties(members)
	if err != nil {
		it.problem("data", err.Error())
	}
	it.event.Properties = properties
}
