package crash

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/tools/ledger"
)

// precision says how closely two runs must agree.
type precision int

const (
	// exactly: every fact, with its times.
	exactly precision = iota
	// inTheEnd is for runs in which calls were lost with their process. In the instant in which it begins
	// again dispatch finds out what became of them, and tries again what was not sent: times are the same,
	// but of a delivery only its end is, not its attempts.
	inTheEnd
)

// facts are what the chains say of each row, in order, without positions, owners and epochs.
type facts map[string][]string

// readFacts reads all chains of a generation.
func readFacts(ctx context.Context, t *testing.T, broker log.Broker, gen log.Generation, how precision) facts {
	t.Helper()
	out := facts{}
	for chain, fresh := range map[string]func() proto.Message{
		"prf": func() proto.Message { return &profilev1.Fact{} },
		"act": func() proto.Message { return &decisionv1.Fact{} },
		"vdc": func() proto.Message { return &contactv1.Fact{} },
		"snd": func() proto.Message { return &dispatchv1.Fact{} },
	} {
		for p := range gen.Partitions {
			broken, err := ledger.Walk(ctx, broker, log.Subject(chain, p), func(_ uint64, _ *stagev1.Record, cells []ledger.Cell) error {
				for _, c := range cells {
					for _, data := range c.Body.GetFacts() {
						f := fresh()
						if err := proto.Unmarshal(data, f); err != nil {
							return err
						}
						row := chain + " " + c.Key
						if how == inTheEnd && !final(f) {
							continue
						}
						blank(f.ProtoReflect(), how)
						out[row] = append(out[row], text(f))
					}
				}
				return nil
			})
			if err != nil || len(broken) > 0 {
				t.Fatalf("%v %v", err, broken)
			}
		}
	}
	return out
}

// count counts the facts.
func (f facts) count() int {
	n := 0
	for _, row := range f {
		n += len(row)
	}
	return n
}

// final says whether a fact is more than a delivery on its way.
func final(f proto.Message) bool {
	d, ok := f.(*dispatchv1.Fact)
	return !ok || d.GetDeliveryReported() != nil && d.GetDeliveryReported().GetStatus() != dispatchv1.Status_STATUS_QUEUED
}

// blank clears what depends on the run: paths, and in the end attempts.
func blank(m protoreflect.Message, how precision) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case varies(fd.FullName(), how):
			m.Clear(fd)
		case fd.IsList() && fd.Message() != nil:
			for n := range v.List().Len() {
				blank(v.List().Get(n).Message(), how)
			}
		case !fd.IsList() && !fd.IsMap() && fd.Message() != nil:
			blank(v.Message(), how)
		}
		return true
	})
}

func varies(field protoreflect.FullName, how precision) bool {
	switch field {
	case "refrain.dispatch.v1.DeliveryReported.provider_id": // a path in the run's own directory
		return true
	case "refrain.profile.v1.Arrived.sequence", "refrain.profile.v1.Arrived.index": // a publisher that repeats itself moves them
		return true
	case "refrain.dispatch.v1.DeliveryReported.attempt", "refrain.dispatch.v1.DeliveryReported.profile_version":
		return how == inTheEnd
	}
	return false
}

// text is a message in a form that is the same every time.
func text(m proto.Message) string {
	// Prototext varies its spaces on purpose.
	return strings.Join(strings.Fields(prototext.MarshalOptions{}.Format(m)), " ")
}

// differences says in which rows two sets of facts differ, the first few of them.
func differences(want, got facts) []string {
	var out []string
	rows := map[string]bool{}
	for row := range want {
		rows[row] = true
	}
	for row := range got {
		rows[row] = true
	}
	for row := range rows {
		w, g := want[row], got[row]
		for n := range max(len(w), len(g)) {
			a, b := "nothing", "nothing"
			if n < len(w) {
				a = w[n]
			}
			if n < len(g) {
				b = g[n]
			}
			if a != b {
				out = append(out, fmt.Sprintf("%s: fact %d of %d is\n  %s\nwhere the undisturbed run of %d has\n  %s", row, n+1, len(g), b, len(w), a))
				break
			}
		}
	}
	return out
}
