package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

func trimmed(line []byte) []byte { return bytes.TrimSpace(line) }

// call is an event as a call of the Segment API.
type call struct {
	call json.RawMessage
	// key is equal for two events of which the second has no effect.
	key string
	// aside are members that were not sent, with the reason.
	aside []refused
}

// segment turns an event into a call of the Segment API with an id; number is its line, or its number in an array.
func segment(text []byte, number int) (call, error) {
	if len(text) > maxLine {
		return call{}, fmt.Errorf("the event has %d bytes, and %d are allowed", len(text), maxLine)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var fields map[string]any
	if err := dec.Decode(&fields); err != nil {
		return call{}, fmt.Errorf("it is no JSON object: %w", err)
	}
	if dec.More() {
		return call{}, fmt.Errorf("there is more than one JSON object; write one a line")
	}
	if fields == nil {
		return call{}, fmt.Errorf("it is null: want a JSON object")
	}
	var aside []refused
	if fields["identifiers"] != nil {
		var err error
		if fields, aside, err = fromRefrain(fields); err != nil {
			return call{}, err
		}
	}
	if id, ok := fields["messageId"]; !ok || id == "" || id == nil {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d\n%s", number, trimmed(text)))
		fields["messageId"] = "line-" + hex.EncodeToString(sum[:12])
	}
	data, err := json.Marshal(fields)
	return call{data, fmt.Sprintf("%v\x00%v\x00%v", fields["messageId"], fields["userId"], fields["anonymousId"]), aside}, err
}

// named are the members of an event of refrain.event.v1 that have a name of their own in a Segment call.
func named() map[string]string {
	return map[string]string{"id": "messageId", "at": "timestamp", "properties": "properties", "traits": "traits"}
}

// fromRefrain writes an event with the names of refrain.event.v1 as a Segment call. aside are the members that it has no
// place for.
func fromRefrain(e map[string]any) (out map[string]any, aside []refused, err error) {
	out = map[string]any{}
	context, isObject := e["context"].(map[string]any)
	if !isObject {
		context = map[string]any{}
	}
	for _, name := range slices.Sorted(maps.Keys(e)) {
		switch to, ok := named()[name]; {
		case ok:
			out[to] = e[name]
		case name == "account":
			aside = append(aside, account(e[name], context)...)
		case name == "context" && (isObject || e[name] == nil), name == "type", name == "identifiers":
		default:
			aside = append(aside, refused{Field: name, Why: "is not sent: no event has it in this form"})
		}
	}
	if err := typed(e, out); err != nil {
		return nil, nil, err
	}
	if err := identified(e, out, context); err != nil {
		return nil, nil, err
	}
	if zone, ok := context["time_zone"]; ok {
		context["timezone"] = zone
	}
	if group := context["groupId"]; group != nil && out["type"] == "group" {
		out["groupId"] = group
	}
	if len(context) > 0 {
		out["context"] = context
	}
	return out, aside, nil
}

// typed says which call it is.
func typed(e, out map[string]any) error {
	switch kind, _ := e["type"].(string); kind {
	case "":
		return fmt.Errorf("type: missing")
	case "identify", "page", "screen", "group", "alias":
		out["type"] = kind
	default:
		out["type"], out["event"] = "track", kind
	}
	return nil
}

// account puts the account of an event where a Segment call has it.
func account(v any, context map[string]any) []refused {
	of, _ := v.(map[string]any)
	switch {
	case v == nil:
		return nil
	case of["kind"] != "account_id" || of["value"] == nil:
		return []refused{{Field: "account", Why: "is not sent: want {kind: account_id, value}"}}
	}
	context["groupId"] = of["value"]
	return nil
}

// identified puts identifiers where a Segment call has them. Those that have no place of their own, or whose place is taken,
// stand in context.externalIds, behind those that are there.
func identified(e, out, context map[string]any) error {
	ids, ok := e["identifiers"].([]any)
	if !ok {
		return fmt.Errorf("identifiers: want a list of {kind, value}")
	}
	external, _ := context["externalIds"].([]any)
	for i, x := range ids {
		id, _ := x.(map[string]any)
		kind, value := id["kind"], id["value"]
		if kind == nil || value == nil {
			return fmt.Errorf("identifiers[%d]: want kind and value", i)
		}
		place := ""
		switch kind {
		case "user_id":
			place = "userId"
		case "anonymous_id":
			place = "anonymousId"
		}
		if place != "" && out[place] == nil {
			out[place] = value
			continue
		}
		external = append(external, map[string]any{"type": kind, "id": value})
	}
	if len(external) > 0 {
		context["externalIds"] = external
	}
	return nil
}
