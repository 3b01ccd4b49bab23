package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

func trimmed(line []byte) []byte { return bytes.TrimSpace(line) }

// call is an event as a call of the Segment API.
type call struct {
	call json.RawMessage
	// key is equal for two events of which the second has no effect.
	key string
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
	if fields["identifiers"] != nil {
		var err error
		if fields, err = fromRefrain(fields); err != nil {
			return call{}, err
		}
	}
	if id, ok := fields["messageId"]; !ok || id == "" || id == nil {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d\n%s", number, trimmed(text)))
		fields["messageId"] = "line-" + hex.EncodeToString(sum[:12])
	}
	data, err := json.Marshal(fields)
	return call{data, fmt.Sprintf("%v\x00%v\x00%v", fields["messageId"], fields["userId"], fields["anonymousId"])}, err
}

// fromRefrain writes an event with the names of refrain.event.v1 as a Segment call.
func fromRefrain(e map[string]any) (map[string]any, error) {
	out := map[string]any{}
	for to, from := range map[string]string{"messageId": "id", "timestamp": "at", "properties": "properties", "traits": "traits"} {
		if v, ok := e[from]; ok {
			out[to] = v
		}
	}
	kind, _ := e["type"].(string)
	switch kind {
	case "":
		return nil, fmt.Errorf("type: missing")
	case "identify", "page", "screen", "group", "alias":
		out["type"] = kind
	default:
		out["type"], out["event"] = "track", kind
	}
	ids, ok := e["identifiers"].([]any)
	if !ok {
		return nil, fmt.Errorf("identifiers: want a list of {kind, value}")
	}
	var external []any
	for i, x := range ids {
		id, _ := x.(map[string]any)
		kind, value := id["kind"], id["value"]
		switch {
		case kind == nil || value == nil:
			return nil, fmt.Errorf("identifiers[%d]: want kind and value", i)
		case kind == "user_id":
			out["userId"] = value
		case kind == "anonymous_id":
			out["anonymousId"] = value
		default:
			external = append(external, map[string]any{"type": kind, "id": value})
		}
	}
	context, _ := e["context"].(map[string]any)
	if context == nil {
		context = map[string]any{}
	}
	if zone, ok := context["time_zone"]; ok {
		context["timezone"] = zone
	}
	if external != nil {
		context["externalIds"] = external
	}
	if len(context) > 0 {
		out["context"] = context
	}
	return out, nil
}
