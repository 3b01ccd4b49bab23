package ingestsvc

import (
	"encoding/json"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

// Addresses of the network and user agents are stored nowhere: not with events, and not in dead letters.

// redacted is an item as it came, without addresses of the network and user agents: those of its context, and those in the
// properties of an outcome, where the verdict on the user agent takes their place. What is no JSON is returned as it is.
func redacted(raw []byte) []byte {
	var top map[string]any
	if guardJSON(raw) != nil || decodeJSON(raw, &top) != nil {
		return raw
	}
	changed := drop(top["context"], "ip", "userAgent", "userAgentData", "user_agent")
	for _, name := range []string{"event", "type"} {
		if word, _ := top[name].(string); !event.IsOutcome(word) {
			continue
		}
		for _, member := range []string{"properties", "data"} {
			judge(top[member])
			changed = drop(top[member], "ip", "user_agent") || changed
		}
	}
	if !changed {
		return raw
	}
	out, err := json.Marshal(top)
	if err != nil {
		return raw
	}
	return out
}

// judge writes down what a user agent says, where nothing else says it.
func judge(of any) {
	members, _ := of.(map[string]any)
	if members["user_agent"] == nil || members["machine"] != nil {
		return
	}
	read := signals{Machine: members["machine"], Prefetch: members["prefetch"], UserAgent: members["user_agent"]}.read()
	if verdict := read.Verdict(); verdict != nil {
		members["machine"] = *verdict
	}
}

// drop takes members out of what may be an object, and reports whether any were there.
func drop(of any, names ...string) (dropped bool) {
	members, _ := of.(map[string]any)
	for _, name := range names {
		if _, ok := members[name]; ok {
			delete(members, name)
			dropped = true
		}
	}
	return dropped
}

// judgeProto takes the signals out of a protobuf event that is an outcome, and keeps the verdict.
func judgeProto(e *eventv1.Event) {
	switch {
	case e.GetKind() == eventv1.Kind_KIND_OUTCOME && e.GetOutcome() != nil:
		if e.Outcome.Machine == nil {
			e.Outcome.Machine = signalsIn(e.GetProperties()).Verdict()
		}
		e.Properties = without(e.GetProperties(), signalNames()...)
	case e.GetKind() == eventv1.Kind_KIND_TRACK && event.IsOutcome(e.GetType()):
		verdict := signalsIn(e.GetProperties()).Verdict()
		e.Properties = without(e.GetProperties(), signalNames()...)
		if verdict != nil {
			e.Properties = append(e.Properties, &eventv1.Property{Name: "machine", Value: event.Flag(*verdict)})
		}
	}
}
