package dispatchsvc

import (
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"
)

// readable shows a dead letter's payload to a person: as JSON where the contract is known, as it came if
// it is text, else in hex.
func readable(l *stagev1.DeadLetter) string {
	input, payload := firstInput(l), l.GetPayload()
	if contract := chainContract(input); contract != nil {
		if text, ok := readableCell(payload, contract); ok {
			return text
		}
	}
	if strings.HasPrefix(input, "evt.") {
		if text, ok := asJSON(payload, &eventv1.Event{}); ok {
			return text
		}
	}
	if input == "box.profile" {
		if text, ok := asJSON(payload, &profilev1.Letter{}); ok {
			return text
		}
	}
	if input == "box.dispatch" {
		if text, ok := asJSON(payload, &dispatchv1.Receipt{}); ok {
			return text
		}
	}
	if utf8.Valid(payload) {
		return string(payload)
	}
	return hex.EncodeToString(payload)
}

// chainContract makes the message that a chain's facts are; nil if the input is no chain.
func chainContract(input string) func() proto.Message {
	switch input {
	case "prf":
		return func() proto.Message { return &profilev1.Fact{} }
	case "act":
		return func() proto.Message { return &decisionv1.Fact{} }
	case "vdc":
		return func() proto.Message { return &contactv1.Fact{} }
	case "snd":
		return func() proto.Message { return &dispatchv1.Fact{} }
	}
	return nil
}

func readableCell(payload []byte, contract func() proto.Message) (string, bool) {
	cell, body := &stagev1.Cell{}, &stagev1.CellBody{}
	if cell.UnmarshalVT(payload) != nil || cell.GetKeyId() != 0 || body.UnmarshalVT(cell.GetSealed()) != nil {
		return "", false
	}
	lines := []string{cell.GetKey()}
	for _, f := range body.GetFacts() {
		text, ok := asJSON(f, contract())
		if !ok {
			text = hex.EncodeToString(f)
		}
		lines = append(lines, text)
	}
	return strings.Join(lines, "\n"), true
}

func asJSON(data []byte, m proto.Message) (string, bool) {
	if proto.Unmarshal(data, m) != nil {
		return "", false
	}
	text, err := protojson.MarshalOptions{Multiline: true, Indent: "  ", UseProtoNames: true}.Marshal(m)
	return string(text), err == nil
}
