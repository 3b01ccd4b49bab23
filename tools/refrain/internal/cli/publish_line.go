package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

func trimmed(line []byte) []byte { return bytes.TrimSpace(line) }

// segment turns a line into a call of the Segment API with an id.
func segment(line []byte, number int) (json.RawMessage, error) {
	if len(line) > maxLine {
		return nil, fmt.Errorf("the line has %d bytes, and %d are allowed", len(line), maxLine)
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	var fields map[string]any
	if err := dec.Decode(&fields); err != nil {
		return nil, fmt.Errorf("the line is no JSON object: %w", err)
	}
	if dec.More() {
		return nil, fmt.Errorf("the line has more than one JSON object")
	}
	if fields["identifiers"] != nil {
		var err error
		if fields, err = fromRefrain(fields); err != nil {
			return nil, err
		}
	}
	if id, ok := fields["messageId"]; !ok || id == "" || id == nil {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d\n%s", number, trimmed(line)))
		fields["messageId"] = "line-" + hex.EncodeToString(sum[:12])
	}
	return json.Marshal(fields)
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
