package cli

import (
	"encoding/hex"
	"fmt"

	"google.golang.org/protobuf/proto"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
)

// line is one fact of a chain as tail prints it.
type line struct {
	Stage     string `json:"stage"`
	Partition int    `json:"partition"`
	Sequence  uint64 `json:"sequence"`
	Now       string `json:"now"`
	At        string `json:"at,omitempty"`
	Revision  string `json:"revision,omitempty"`
	Key       string `json:"key,omitempty"`
	Cause     string `json:"cause,omitempty"`
	What      string `json:"what"`
	Fact      any    `json:"fact,omitempty"`
}

// factOf returns an empty fact of a stage's contract.
func factOf(stage string) proto.Message {
	switch stage {
	case "profile":
		return &profilev1.Fact{}
	case "decision":
		return &decisionv1.Fact{}
	case "suppression":
		return &contactv1.Fact{}
	case "dispatch":
		return &dispatchv1.Fact{}
	}
	panic("no facts of stage " + stage) // stages come from log.Stages
}

// lines decodes one record of a chain.
func lines(spec log.StageSpec, partition int, m log.Message) ([]line, error) {
	var rec stagev1.Record
	if err := rec.UnmarshalVT(m.Data); err != nil {
		return nil, fmt.Errorf("decode record %s %d: %w", m.Subject, m.Sequence, err)
	}
	head := line{Stage: spec.Name, Partition: partition, Sequence: m.Sequence, Now: when(rec.GetNow()), Revision: rec.GetRevision()}
	var out []line
	if k := rec.GetKind(); k != stagev1.RecordKind_RECORD_KIND_BATCH {
		l := head
		l.What, l.Fact = "record", map[string]any{"kind": short(k), "owner": rec.GetOwner()}
		out = append(out, l)
	}
	for _, c := range rec.GetCells() {
		cell, err := cellLines(head, spec.Name, c)
		if err != nil {
			return nil, fmt.Errorf("decode record %s %d: %w", m.Subject, m.Sequence, err)
		}
		out = append(out, cell...)
	}
	for _, g := range rec.GetGaps() {
		l := head
		l.What, l.Fact = "gap", plain(g)
		out = append(out, l)
	}
	return out, nil
}

func cellLines(head line, stage string, c *stagev1.Cell) ([]line, error) {
	head.Key = c.GetKey()
	if c.GetKeyId() != 0 {
		head.What, head.Fact = "sealed", map[string]any{"key_id": c.GetKeyId(), "bytes": len(c.GetSealed())}
		return []line{head}, nil
	}
	var body stagev1.CellBody
	if err := body.UnmarshalVT(c.GetSealed()); err != nil {
		return nil, fmt.Errorf("decode cell: %w", err)
	}
	head.At, head.Cause = when(body.GetAt()), body.GetCause()
	out := make([]line, 0, len(body.GetFacts()))
	for _, data := range body.GetFacts() {
		l := head
		l.What, l.Fact = decodeFact(stage, data)
		out = append(out, l)
	}
	return out, nil
}

// decodeFact returns the name of the fact that is set, and the fact; what this program does not know is
// shown as bytes.
func decodeFact(stage string, data []byte) (what string, fact any) {
	m := factOf(stage)
	if err := proto.Unmarshal(data, m); err != nil {
		return "unreadable", hex.EncodeToString(data)
	}
	refl := m.ProtoReflect()
	if oneof := refl.Descriptor().Oneofs().ByName("fact"); oneof != nil {
		if f := refl.WhichOneof(oneof); f != nil {
			return string(f.Name()), plain(refl.Get(f).Message().Interface())
		}
	}
	return "unknown", hex.EncodeToString(data)
}
