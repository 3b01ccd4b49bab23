package ingestsvc

import (
	"encoding/json"
	"errors"
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

// parseSegment reads the body of a Segment call: track, identify, page, screen, group, alias or batch.
// An error means that nothing could be read. An item that is no UTF-8 or too deep is refused alone. writeKey is what the
// body says, empty if nothing.
func parseSegment(call string, body []byte) (items []*item, writeKey string, err error) {
	if call == "batch" {
		return parseSegmentBatch(body)
	}
	if err := guardJSON(body); err != nil {
		if !isJSON(body) {
			return nil, "", err
		}
		return []*item{unusableItem(body, err)}, keyIn(body), nil
	}
	it, key := parseSegmentItem(call, body)
	if it.event == nil && !json.Valid(body) {
		return nil, "", fmt.Errorf("%s", why(it.problems))
	}
	return []*item{it}, key, nil
}

// keyIn reads the write key out of a body that cannot be used.
func keyIn(body []byte) string {
	members, err := membersOf(body, maxJSONDepth)
	if err != nil {
		return ""
	}
	v, _ := loose(named(members, "writeKey"))
	key, _ := v.(string)
	return key
}

// parseSegmentBatch reads the body of /v1/batch: {batch, writeKey, sentAt, context}.
func parseSegmentBatch(body []byte) (items []*item, writeKey string, err error) {
	if len(body) == 0 || !begins(body, '{') {
		return nil, "", errors.New("is not JSON: want an object with the member batch")
	}
	members, err := membersOf(body, maxJSONDepth+2)
	if err != nil {
		return nil, "", err
	}
	list := named(members, "batch")
	if list != nil && !begins(list, '[') {
		return nil, "", fmt.Errorf("batch: is not a list")
	}
	var raws []member
	if list != nil {
		if raws, err = membersOf(list, maxJSONDepth+1); err != nil {
			return nil, "", fmt.Errorf("batch: %w", err)
		}
	}
	if len(raws) == 0 {
		return nil, "", fmt.Errorf("batch: is missing or empty")
	}
	if len(raws) > maxItems {
		return nil, "", fmt.Errorf("batch: has %d events, more than %d", len(raws), maxItems)
	}
	sentAt, oddSentAt := loose(named(members, "sentAt"))
	context, oddContext := loose(named(members, "context"))
	for _, raw := range raws {
		it := parseBatchItem(raw.raw)
		if oddSentAt != "" {
			it.aside("batch.sentAt", oddSentAt)
		}
		if oddContext != "" {
			it.aside("batch.context", oddContext)
		}
		if !it.sent.said() {
			it.sent = stated{"batch.sentAt", sentAt}
		}
		it.addContext("batch.context", context)
		items = append(items, it)
	}
	key, _ := loose(named(members, "writeKey"))
	writeKey, _ = key.(string)
	return items, writeKey, nil
}

func parseBatchItem(raw []byte) *item {
	if err := guardJSON(raw); err != nil {
		return unusableItem(raw, err)
	}
	it, _ := parseSegmentItem("", raw)
	return it
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
// batch's. What cannot be used in it is set aside.
func (it *item) addContext(name string, v any) {
	if it.event == nil {
		return
	}
	context := it.object(name, v)
	c := it.event.GetContext()
	if zone := it.contextText(name, context, "timezone"); zone != "" && c.GetTimeZone() == "" {
		it.zone(name+".timezone", zone)
	}
	if locale := it.contextText(name, context, "locale"); locale != "" && c.GetLocale() == "" {
		c.Locale = locale
	}
	it.addSource(name+".library", context["library"])
	if group := it.contextText(name, context, "groupId"); group != "" && it.event.GetAccount() == nil {
		it.event.Account = &eventv1.Identifier{Kind: event.KindAccountID, Value: group}
	}
	it.externalIDs(name+".externalIds", context["externalIds"])
}

// contextText reads a text of a context; what is none is set aside.
func (it *item) contextText(name string, context map[string]any, member string) string {
	text, ok := textOf(context[member])
	if !ok {
		it.aside(name+"."+member, "is not a text")
	}
	return text
}

// zone takes a time zone; what is none is set aside.
func (it *item) zone(field, zone string) {
	if !validZone(zone) {
		it.aside(field, "is no zone, such as Europe/Berlin")
		return
	}
	it.event.Context.TimeZone = zone
}

// addSource names the library that published.
func (it *item) addSource(field string, v any) {
	library := it.object(field, v)
	name, isName := textOf(library["name"])
	version, isVersion := textOf(library["version"])
	if !isName || !isVersion {
		it.aside(field, "is not {name, version}, both texts")
	}
	if c := it.event.GetContext(); c.GetSource() == "" {
		c.Source = strings.Trim(name+"/"+version, "/")
	}
}

// externalIDs reads context.externalIds: [{type, id}], where the type is an identifier kind.
func (it *item) externalIDs(name string, v any) {
	list, ok := v.([]any)
	if v != nil && !ok {
		it.aside(name, "is not a list of {type, id}")
	}
	for i, entry := range list {
		fields, _ := entry.(map[string]any)
		kind, _ := fields["type"].(string)
		value, _ := textOf(fields["id"])
		if kind == "" || value == "" {
			it.aside(fmt.Sprintf("%s[%d]", name, i), "is not {type, id}, both texts")
			continue
		}
		it.identify(fmt.Sprintf("%s[%d]", name, i), kind, value)
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
