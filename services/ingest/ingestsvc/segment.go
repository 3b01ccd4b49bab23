package ingestsvc

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

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
	WriteKey any               `json:"writeKey"`
	SentAt   any               `json:"sentAt"`
	Context  any               `json:"context"`
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
	for _, raw := range batch.Batch {
		it, _ := parseSegmentItem("", raw)
		if !it.sent.said() {
			it.sent = stated{"batch.sentAt", batch.SentAt}
		}
		it.addContext("batch.context", batch.Context)
		items = append(items, it)
	}
	writeKey, _ = batch.WriteKey.(string)
	return items, writeKey, nil
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
	if id := it.event.GetId(); len(id) > maxMessageID {
		it.event.Id = derived("message", id)
		it.remark("messageId", fmt.Sprintf("has more than %d bytes; a shorter id was made of it", maxMessageID))
	}
	it.happened = []stated{{"originalTimestamp", r.fields["originalTimestamp"]}, {"timestamp", r.fields["timestamp"]}}
	it.sent = stated{"sentAt", r.fields["sentAt"]}
	r.identities()
	r.content()
	r.context()
	return it, r.text("writeKey")
}

// text reads a text; numbers count as text, null and absence as empty. What is neither is set aside.
func (r segmentReader) text(name string) string {
	text, ok := textOf(r.fields[name])
	if !ok {
		r.it.aside(name, "is not a text")
	}
	return text
}

// textOf is a decoded JSON value as text: a number in the one form that it has as an identifier. It is false for what is
// neither text nor number nor null.
func textOf(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case string:
		return strings.TrimSpace(v), true
	case json.Number:
		return event.NumberText(v), true
	}
	return "", false
}

// object reads an object. An empty list counts as one, since some languages know no empty map; anything else is set
// aside.
func (it *item) object(name string, v any) map[string]any {
	switch v := v.(type) {
	case nil:
		return nil
	case map[string]any:
		return v
	case []any:
		if len(v) == 0 {
			return nil
		}
	}
	it.aside(name, "is not an object")
	return nil
}

// fieldPrevious is the earlier id of an alias, a device's or a user's: its kind is not said.
const fieldPrevious = "previousId"

// identities reads whom the item is about.
func (r segmentReader) identities() {
	for _, id := range []struct{ field, kind string }{
		{"userId", event.KindUserID}, {"anonymousId", event.KindAnonymousID}, {fieldPrevious, event.KindAnonymousID},
	} {
		if id.field == fieldPrevious && (r.it.event.GetKind() != eventv1.Kind_KIND_ALIAS || r.same(fieldPrevious, "anonymousId")) {
			continue // one that is the device's own id is said to be a device's
		}
		r.identity(id.field, id.kind, r.fields[id.field])
	}
	if r.it.event.GetKind() == eventv1.Kind_KIND_IDENTIFY {
		traits, _ := r.fields["traits"].(map[string]any)
		for _, name := range []string{event.KindEmail, event.KindPhone} {
			r.identity("traits."+name, name, traits[name])
		}
	}
	if group := r.text("groupId"); group != "" && r.it.event.GetKind() == eventv1.Kind_KIND_GROUP {
		r.it.event.Account = &eventv1.Identifier{Kind: event.KindAccountID, Value: group}
	}
}

// same says whether two fields hold the same text.
func (r segmentReader) same(a, b string) bool {
	x, ok := textOf(r.fields[a])
	y, _ := textOf(r.fields[b])
	return ok && x == y
}

// identity reads one identifier, if it is there.
func (r segmentReader) identity(field, kind string, v any) {
	switch text, ok := textOf(v); {
	case !ok:
		r.it.unusable = append(r.it.unusable, event.Problem{Field: field, Why: "is not a text"})
	case text != "":
		r.it.identify(field, kind, text)
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

// properties reads an object's members one by one: a number that is out of range is kept as text.
func (r segmentReader) properties(name string) []*eventv1.Property {
	members := r.it.object(name, r.fields[name])
	for member, v := range members {
		if tame, odd := tamed(v); odd {
			members[member] = tame
			r.it.remark(name+"."+member, "holds a number that is out of range; it is kept as text")
		}
	}
	properties, err := event.Properties(members)
	if err != nil {
		r.it.aside(name, err.Error())
	}
	return properties
}

// context reads the circumstances, and the identifiers that stand there.
func (r segmentReader) context() {
	r.it.event.Context = &eventv1.Context{Via: viaSegment}
	r.it.addContext("context", r.fields["context"])
}

// addContext fills from a Segment context what is not known yet: an item's own context goes before the
// batch's. What is not understood in it is left out.
func (it *item) addContext(name string, v any) {
	if it.event == nil {
		return
	}
	context := it.object(name, v)
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
	if group, _ := textOf(context["groupId"]); group != "" && it.event.GetAccount() == nil {
		it.event.Account = &eventv1.Identifier{Kind: event.KindAccountID, Value: group}
	}
	it.externalIDs(name+".externalIds", context["externalIds"])
}

// externalIDs reads context.externalIds: [{type, id}], where the type is an identifier kind.
func (it *item) externalIDs(name string, v any) {
	list, _ := v.([]any)
	for i, entry := range list {
		fields, _ := entry.(map[string]any)
		kind, _ := fields["type"].(string)
		value, _ := textOf(fields["id"])
		if kind != "" && value != "" {
			it.identify(fmt.Sprintf("%s[%d]", name, i), kind, value)
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
