package dispatchsvc

import (
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
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

// tenantOf is whose customers a dead letter is about; empty if that cannot be read. What ingest refused says so itself.
func tenantOf(l *stagev1.DeadLetter) string {
	if l.GetTenant() != "" {
		return l.GetTenant()
	}
	input := firstInput(l)
	if to := l.GetAddressed().GetStage(); to != "" { // it is a fact that was not sent
		input = log.Box(to)
	}
	var m proto.Message
	switch input {
	case log.Box("profile"):
		m = &profilev1.Letter{}
	case log.Box("suppression"):
		m = &contactv1.Letter{}
	case log.Box("dispatch"):
		m = &dispatchv1.Receipt{}
	default:
		if strings.HasPrefix(input, "evt.") {
			m = &eventv1.Event{}
			break
		}
		cell := &stagev1.Cell{} // of a chain; of a timer or the result of a call its row
		if cell.UnmarshalVT(l.GetPayload()) != nil {
			return ""
		}
		tenant, _, _, _ := identity.ParseKey(cell.GetKey()) //nolint:errcheck // what is no key names no tenant
		return tenant
	}
	if proto.Unmarshal(l.GetPayload(), m) != nil {
		return ""
	}
	return tenantIn(m.ProtoReflect())
}

// tenantIn is the tenant that a message names, or one in it.
func tenantIn(m protoreflect.Message) (tenant string) {
	if f := m.Descriptor().Fields().ByName("tenant"); f != nil {
		return m.Get(f).String()
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() != nil && !f.IsList() && !f.IsMap() {
			tenant = tenantIn(v.Message())
		}
		return tenant == ""
	})
	return tenant
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
