package determinism

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
)

// contracts are the facts of the chains.
func contracts() map[string]func() proto.Message {
	return map[string]func() proto.Message{
		"prf": func() proto.Message { return &profilev1.Fact{} },
		"act": func() proto.Message { return &decisionv1.Fact{} },
		"vdc": func() proto.Message { return &contactv1.Fact{} },
		"snd": func() proto.Message { return &dispatchv1.Fact{} },
	}
}

// fact is one fact with the time at which it was decided.
type fact struct {
	now  string
	data []byte
}

// history is what all chains say, by "<chain> <customer>", in order.
type history map[string][]fact

// facts reads all chains and checks their links.
func (m *mesh) facts() history {
	m.t.Helper()
	out := history{}
	for _, spec := range log.Stages() {
		for p := range m.gen.Partitions {
			m.read(out, spec.Chain, p)
		}
	}
	return out
}

func (m *mesh) read(out history, chain string, partition int) {
	m.t.Helper()
	for after := uint64(0); ; {
		msg, err := m.site.Next(context.Background(), log.Subject(chain, partition), after)
		if errors.Is(err, log.ErrNotFound) {
			return
		}
		if err != nil {
			m.t.Fatal(err)
		}
		rec := &stagev1.Record{}
		if err := rec.UnmarshalVT(msg.Data); err != nil {
			m.t.Fatal(err)
		}
		if rec.GetPrev() != after {
			m.t.Fatalf("%s.%d: record %d follows %d, want %d", chain, partition, msg.Sequence, rec.GetPrev(), after)
		}
		if len(rec.GetGaps()) > 0 {
			m.t.Fatalf("%s.%d: record %d has gaps: %v\n%s", chain, partition, msg.Sequence, rec.GetGaps(), m.logs.End())
		}
		after = msg.Sequence
		for _, c := range rec.GetCells() {
			body := &stagev1.CellBody{}
			if err := body.UnmarshalVT(c.GetSealed()); err != nil {
				m.t.Fatal(err)
			}
			key := chain + " " + c.GetKey()
			for _, f := range body.GetFacts() {
				out[key] = append(out[key], fact{now: rec.GetNow().AsTime().Format("2006-01-02T15:04:05.000"), data: m.plain(chain, f)})
			}
		}
	}
}

// plain takes away what may differ: partitions, places in a lane and the place of the channel's files.
func (m *mesh) plain(chain string, data []byte) []byte {
	m.t.Helper()
	msg := contracts()[chain]()
	if err := proto.Unmarshal(data, msg); err != nil {
		m.t.Fatalf("%s: a fact cannot be read: %v", chain, err)
	}
	switch f := msg.(type) {
	case *profilev1.Fact:
		if l := f.GetIdentityLinked(); l != nil {
			l.Partition = 0
		}
		if l := f.GetIdentityAdopted().GetLinked(); l != nil {
			l.Partition = 0
		}
	case *dispatchv1.Fact:
		if r := f.GetDeliveryReported(); r != nil {
			r.ProviderId = strings.TrimPrefix(r.GetProviderId(), m.dir)
		}
	}
	if err := protorange.Range(msg.ProtoReflect(), withoutPlaces); err != nil {
		m.t.Fatal(err)
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(msg)
	if err != nil {
		m.t.Fatal(err)
	}
	return raw
}

// withoutPlaces takes away where in its lane a statement about permission arrived.
func withoutPlaces(at protopath.Values) error {
	if m, ok := at.Index(-1).Value.Interface().(protoreflect.Message); ok {
		if a, ok := m.Interface().(*profilev1.Arrived); ok {
			a.Sequence, a.Index = 0, 0
		}
	}
	return nil
}

// unseen takes away which version of the profile a last check saw: a call that is lost with its process is
// made again a round later.
func (h history) unseen(t *testing.T) history {
	t.Helper()
	for key, facts := range h {
		if !strings.HasPrefix(key, "snd ") {
			continue
		}
		for n := range facts {
			f := &dispatchv1.Fact{}
			if err := f.UnmarshalVT(facts[n].data); err != nil {
				t.Fatal(err)
			}
			if f.GetDeliveryReported() == nil {
				continue
			}
			f.GetDeliveryReported().ProfileVersion = 0
			data, err := proto.MarshalOptions{Deterministic: true}.Marshal(f)
			if err != nil {
				t.Fatal(err)
			}
			facts[n].data = data
		}
	}
	return h
}

// count says how many facts of a chain there are.
func (h history) count(chain string) (n int) {
	for key, facts := range h {
		if strings.HasPrefix(key, chain+" ") {
			n += len(facts)
		}
	}
	return n
}

// same compares two histories and tells the first differences, in the order of the chains: what comes
// later follows from them.
func same(t *testing.T, want, got history) bool {
	t.Helper()
	told := 0
	for _, spec := range log.Stages() {
		var keys []string
		for key := range want {
			keys = append(keys, key)
		}
		for key := range got {
			if _, ok := want[key]; !ok {
				keys = append(keys, key)
			}
		}
		slices.Sort(keys)
		for _, key := range keys {
			if strings.HasPrefix(key, spec.Chain+" ") && told < 3 {
				if diff := difference(spec.Chain, want[key], got[key]); diff != "" {
					told++
					t.Errorf("%s: %s", key, diff)
				}
			}
		}
	}
	return told == 0
}

func difference(chain string, want, got []fact) string {
	for n := range max(len(want), len(got)) {
		w, g := at(chain, want, n), at(chain, got, n)
		if w == g {
			continue
		}
		var b strings.Builder
		fmt.Fprintf(&b, "fact %d of %d, %d\n", n, len(want), len(got))
		for i := max(0, n-2); i < n; i++ {
			fmt.Fprintf(&b, "  = %s\n", at(chain, want, i))
		}
		for i := n; i < min(n+4, max(len(want), len(got))); i++ {
			fmt.Fprintf(&b, "  - %s\n  + %s\n", at(chain, want, i), at(chain, got, i))
		}
		return b.String()
	}
	return ""
}

func at(chain string, facts []fact, n int) string {
	if n >= len(facts) {
		return "(nothing)"
	}
	msg := contracts()[chain]()
	if err := proto.Unmarshal(facts[n].data, msg); err != nil {
		return err.Error()
	}
	return facts[n].now + " " + strings.ReplaceAll(prototext.MarshalOptions{}.Format(msg), "  ", " ")
}
