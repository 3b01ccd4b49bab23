package shop

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/tools/ledger"
)

// about prints what all chains say about something: the facts that name it, and the records that are no batches.
func about(h *ledger.History, what string) string {
	var b strings.Builder
	var subjects []string
	for _, spec := range log.Stages() {
		for p := range h.Partitions {
			subjects = append(subjects, log.Subject(spec.Chain, p))
		}
	}
	slices.Sort(subjects)
	for _, subject := range subjects {
		for _, msg := range h.Log[subject] {
			aboutRecord(&b, msg, what)
		}
	}
	return b.String()
}

func aboutRecord(b *strings.Builder, msg log.Message, what string) {
	r := &stagev1.Record{}
	if err := r.UnmarshalVT(msg.Data); err != nil {
		return
	}
	kind := strings.TrimPrefix(r.GetKind().String(), "RECORD_KIND_")
	head := fmt.Sprintf("%s %d %s %s by %s", msg.Subject, msg.Sequence, kind, r.GetNow().AsTime().Format("15:04:05.000"), r.GetOwner())
	if r.GetKind() != stagev1.RecordKind_RECORD_KIND_BATCH {
		fmt.Fprintln(b, head)
	}
	for _, c := range r.GetCells() {
		body := &stagev1.CellBody{}
		if body.UnmarshalVT(c.GetSealed()) != nil {
			continue
		}
		about := fmt.Sprintf("%s (%s, wake %s)", head, body.GetCause(), body.GetWake().AsTime().Format("15:04:05.000"))
		if len(body.GetFacts()) == 0 && strings.Contains(c.GetKey(), what) {
			fmt.Fprintf(b, "%s no facts, a state of %d bytes\n", about, len(body.GetState()))
		}
		for _, data := range body.GetFacts() {
			fact := blank(msg.Subject)
			if proto.Unmarshal(data, fact) != nil {
				continue
			}
			text := prototext.MarshalOptions{}.Format(fact)
			if strings.Contains(text, what) || strings.Contains(c.GetKey(), what) {
				fmt.Fprintf(b, "%s\n    %.700s\n", about, text)
			}
		}
	}
}

// blank is a fact of a chain.
func blank(subject string) proto.Message {
	switch strings.SplitN(subject, ".", 2)[0] {
	case "prf":
		return &profilev1.Fact{}
	case "act":
		return &decisionv1.Fact{}
	case "vdc":
		return &contactv1.Fact{}
	default:
		return &dispatchv1.Fact{}
	}
}
