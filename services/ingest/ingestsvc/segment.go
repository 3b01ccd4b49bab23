package ingestsvc

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

const (
	viaSegment     = "segment"
	viaCloudEvents = "cloudevents"
	viaGRPC        = "grpc"
	viaNATS        = "nats"
	viaReceipt     = "receipt"
	viaUnsubscribe = "unsubscribe"
)

// segmentKind is the kind of a Segment call; unspecified for none.
func segmentKind(call string) eventv1.Kind {
	switch call {
	case "track":
		return eventv1.Kind_KIND_TRACK
	case "identify":
		return eventv1.Kind_KIND_IDENTIFY
	case "page":
		return eventv1.Kind_KIND_PAGE
	case "screen":
		return eventv1.Kind_KIND_SCREEN
	case "group":
		return eventv1.Kind_KIND_GROUP
	case "alias":
		return eventv1.Kind_KIND_ALIAS
	}
	return eventv1.Kind_KIND_UNSPECIFIED
}

// segmentBatch is the body of /v1/batch.
type segmentBatch struct {
	Batch    []json.RawMessage `json:"batch"`
	WriteKey string            `json:"writeKey"`
	SentAt   string            `json:"sentAt"`
	Context  map[string]any    `json:"context"`
}

// parseSegment reads the body of a Segment call: track, identify, page, screen, group, alias or batch.
// An error means that nothing could be read. writeKey is what the body says, empty if nothing.
func parseSegment(call string, body []byte) (items []*item, writeKey string, err error) {
	if err := guardJSON(body); err != nil {
		return nil, "", err
	}
	if call != "batch" {
		it, key := parseSegmentItem(call, body)
		if it.event == nil && !json.Valid(body) {
			return nil, "", fmt.Errorf("%s", why(it.problems))
		}
		return []*item{it}, key, nil
	}
	var batch segmentBatch
	if err := decodeJSON(body, &batch); err != nil {
		return nil, "", err
	}
	if len(batch.Batch) == 0 {
		return nil, "", fmt.Errorf("batch: is missing or empty")
	}
	if len(batch.Batch) > maxItems {
		return nil, "", fmt.Errorf("batch: has %d events, more than %d", len(batch.Batch), maxItems)
	}
	sentAt, _ := time.Parse(time.RFC3339, batch.SentAt)
	for _, raw := range batch.Batch {
		it, _ := parseSegmentItem("", raw)
		if it.sentAt.IsZero() {
			it.sentAt = sentAt
		}
		it.addContext(batch.Context)
		items = append(items, it)
	}
	return items, batch.WriteKey, nil
}

// segmentReader reads fields of one item and collects what is wrong with them.
type segmentReader struct {
	fields map[string]any
	it     *item
}

// parseSegmentItem reads one item. call is the endpoint's, empty in a batch, where the item says it. What
// is wrong is in the item's problems; its event is nil only if it is no object or has no type.
func parseSegmentItem(call string, raw []byte) (it *item, writeKey string) {
	it = &item{raw: raw}
	r := segmentReader{it: it}
	if err := decodeJSON(raw, &r.fields); err != nil {
		it.problem("", err.Error())
		return it, ""
	}
	if r.fields == nil {
		it.problem("", "is null, want an object")
		return it, ""
	}
	if call == "" {
		call = r.text("type")
	}
	kind := segmentKind(call)
	if kind == eventv1.Kind_KIND_UNSPECIFIED {
		it.problem("type", "is not track, identify, page, screen, group or alias")
		return it, ""
	}
	it.event = &eventv1.Event{Id: r.text("messageId"), Kind: kind, Type: call}
	if len(it.event.GetId()) > maxMessageID {
		it.problem("messageId", fmt.Sprintf("has more than %d bytes", maxMessageID))
	}
	r.times()
	r.identities()
	r.content()
	r.context()
	return it, r.text("writeKey")
}

// text reads a text; numbers count as text, null and absence as empty.
func (r segmentReader) text(name string) string {
	switch v := r.fields[name].(type) {
	case nil:
		return ""
	case string:
		return strings.TrimSpace(v)
	case json.Number:
		return v.String()
	default:
		r.it.problem(name, "is not a text")
		return ""
	}
}

func (r segmentReader) object(name string) map[string]any {
	switch v := r.fields[name].(type) {
	case nil:
		return nil
	case map[string]any:
		return v
	default:
		r.it.problem(name, "is not an object")
		return nil
	}
}

// times reads when it happened and when it was sent, both by the publisher's clock.
func (r segmentReader) times() {
	for _, name := range []string{"originalTimestamp", "timestamp"} {
		if at, ok := r.time(name); ok {
			r.it.event.At = timestamppb.New(at)
			break
		}
	}
	r.it.sentAt, _ = r.time("sentAt")
}

func (r segmentReader) time(name string) (time.Time, bool) {
	text := r.text(name)
	if text == "" {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		r.it.problem(name, "is not a time as in 2026-11-21T08:00:00.000Z")
		return time.Time{}, false
	}
	return at, true
}

// identities reads whom the item is about.
func (r segmentReader) identities() {
	for _, id := range []struct{ field, kind string }{
		{"userId", event.KindUserID}, {"anonymousId", event.KindAnonymousID}, {"previousId", event.KindAnonymousID},
	} {
		if id.field == "previousId" && r.it.event.GetKind() != eventv1.Kind_KIND_ALIAS {
			continue
		}
		if value := r.text(id.field); value != "" {
			r.it.identify(id.field, id.kind, value)
		}
	}
	if r.it.event.GetKind() == eventv1.Kind_KIND_IDENTIFY {
		traits := segmentReader{fields: r.object("traits"), it: r.it}
		for _, name := range []string{event.KindEmail, event.KindPhone} {
			if value, ok := traits.fields[name].(string); ok && strings.TrimSpace(value) != "" {
				r.it.identify("traits."+name, name, value)
			}
		}
	}
	if group := r.text("groupId"); group != "" && r.it.event.GetKind() == eventv1.Kind_KIND_GROUP {
		r.it.event.Account = &eventv1.Identifier{Kind: event.KindAccountID, Value: group}
	}
}

// content reads what happened and what is known.
func (r segmentReader) content() {
	e := r.it.event
	e.Properties = r.properties("properties")
	e.Traits = r.properties("traits")
	switch e.GetKind() { //nolint:exhaustive // the others have no name of their own
	case eventv1.Kind_KIND_TRACK:
		if e.Type = r.text("event"); e.GetType() == "" {
			r.it.problem("event", "is missing: a track call names its event")
		}
	case eventv1.Kind_KIND_PAGE, eventv1.Kind_KIND_SCREEN:
		for _, name := range []string{"category", "name"} {
			if value := r.text(name); value != "" && event.Property(e.GetProperties(), name) == nil {
				e.Properties = append(e.Properties, &eventv1.Property{Name: name, Value: event.Text(value)})
			}
		}
	}
}

func (r segmentReader) properties(name string) []*eventv1.Property {
	properties, err := event.Properties(r.object(name))
	if err != nil {
		r.it.problem(name, err.Error())
	}
	return properties
}

// context reads the circumstances, and the identifiers that stand there.
func (r segmentReader) context() {
	r.it.event.Context = &eventv1.Context{Via: viaSegment}
	r.it.addContext(r.object("context"))
}

// addContext fills from a Segment context what is not known yet: an item's own context goes before the
// batch's. What is not understood in it is left out.
func (it *item) addContext(context map[string]any) {
	if it.event == nil || len(context) == 0 {
		return
	}
	c := it.event.GetContext()
	if zone, _ := context["timezone"].(string); c.GetTimeZone() == "" && validZone(zone) {
		c.TimeZone = zone
	}
	if locale, _ := context["locale"].(string); c.GetLocale() == "" && len(locale) <= 64 {
		c.Locale = locale
	}
	if library, ok := context["library"].(map[string]any); ok && c.GetSource() == "" {
		name, _ := library["name"].(string)
		version, _ := library["version"].(string)
		if source := strings.Trim(name+"/"+version, "/"); len(source) <= event.MaxName {
			c.Source = source
		}
	}
	if group, _ := context["groupId"].(string); group != "" && it.event.GetAccount() == nil {
		it.event.Account = &eventv1.Identifier{Kind: event.KindAccountID, Value: group}
	}
	it.externalIDs(context["externalIds"])
}

// externalIDs reads context.externalIds: [{type, id}], where the type is an identifier kind.
func (it *item) externalIDs(v any) {
	list, _ := v.([]any)
	for i, entry := range list {
		fields, _ := entry.(map[string]any)
		kind, _ := fields["type"].(string)
		value, _ := fields["id"].(string)
		if kind != "" && value != "" {
			it.identify(fmt.Sprintf("context.externalIds[%d]", i), kind, value)
		}
	}
}

// validZone says whether a name is an IANA zone. "Local" and "" are not.
func validZone(name string) bool {
	if name == "" || name == "Local" || len(name) > 64 {
		return false
	}
	_, err := time.LoadLocation(name)
	return err == nil
}
