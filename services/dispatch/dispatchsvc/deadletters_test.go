package dispatchsvc

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run/runtest"
	"refrain.dev/pkg/state"
)

func letterServer(t *testing.T, letters ...*stagev1.DeadLetter) (*rpcServer, log.Broker) {
	t.Helper()
	deps := runtest.Deps(t)
	for _, l := range letters {
		data, err := l.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := deps.Broker.Publish(t.Context(), log.Subject(log.DeadLetters(l.GetStage()), int(l.GetPartition())), data); err != nil {
			t.Fatal(err)
		}
	}
	return &rpcServer{
		reader: deps.Store, homes: identity.NewHasher(deps.Generation.Secret, deps.Generation.Partitions), kinds: newCatalogs(deps.Bundles, deps.Clock, nil),
		letters: &deadLetters{letters: deps.Broker, states: deps.Store, kv: deps.KV, clock: deps.Clock, partitions: deps.Generation.Partitions, streams: deps.Generation.Streams},
	}, deps.Broker
}

// openGaps says in the states of stages that the inputs of letters, of one partition each, are given up.
func openGaps(t *testing.T, s *rpcServer, letters ...*stagev1.DeadLetter) {
	t.Helper()
	for _, l := range letters {
		err := s.letters.states.Apply(t.Context(), state.Shard{Stage: l.GetStage(), Partition: int(l.GetPartition())}, state.Batch{
			Meta: state.Meta{Applied: 1},
			Writes: []state.Write{{Key: ":gap/", Deltas: []state.Delta{
				{Name: ":gap/" + l.GetId(), Kind: state.DeltaAdd, Value: []byte(l.GetId())},
			}}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestDeadLettersOfAllStagesInOrder(t *testing.T) {
	var letters []*stagev1.DeadLetter
	stages := []string{"profile", "ingest", "dispatch", "decision", "suppression"}
	for i := range 23 {
		letters = append(letters, &stagev1.DeadLetter{
			Id: fmt.Sprintf("dl-%02d", i), Stage: stages[i%5], Partition: uint32(i % runtest.Partitions), Code: "INVALID", Why: "why", Payload: []byte("secret"),
		})
	}
	s, _ := letterServer(t, letters...)
	var got []string
	for after, pages := uint64(0), 0; ; pages++ {
		page, err := s.ListDeadLetters(t.Context(), &dispatchv1.ListDeadLettersRequest{After: after, Limit: 5})
		if err != nil || pages > 5 {
			t.Fatalf("page %d: %v", pages, err)
		}
		for _, l := range page.GetDeadLetters() {
			if l.GetPayload() != "" {
				t.Errorf("a list shows a payload")
			}
			got = append(got, l.GetId())
		}
		if after = page.GetNext(); after == 0 {
			break
		}
	}
	if len(got) != 23 || got[0] != "dl-00" || got[18] != "dl-01" || !isSorted(got[:18]) || !isSorted(got[18:]) {
		t.Errorf("those of the stages, then what ingest refused: ids = %v", got)
	}
	only, err := s.ListDeadLetters(t.Context(), &dispatchv1.ListDeadLettersRequest{Stage: "decision"})
	if err != nil || len(only.GetDeadLetters()) != 4 || only.GetNext() != 0 {
		t.Errorf("of decision: %v %v", only, err)
	}
	if _, err := s.ListDeadLetters(t.Context(), &dispatchv1.ListDeadLettersRequest{Stage: "nobody"}); fault.Of(err) != fault.Invalid {
		t.Errorf("an unknown stage: %v", err)
	}
}

func isSorted(ids []string) bool {
	for i := 1; i < len(ids); i++ {
		if ids[i] <= ids[i-1] {
			return false
		}
	}
	return true
}

func TestRedriveHasOneEffect(t *testing.T) {
	s, broker := letterServer(t,
		&stagev1.DeadLetter{Id: "a", Stage: "dispatch", Partition: 2, Input: "vdc", Payload: []byte{1, 2}, Addressed: &stagev1.Addressed{Partition: 7}},
		&stagev1.DeadLetter{Id: "b", Stage: "ingest", Partition: 1},
	)
	openGaps(t, s, &stagev1.DeadLetter{Id: "a", Stage: "dispatch", Partition: 2})
	first, err := s.RedriveDeadLetter(t.Context(), &dispatchv1.RedriveDeadLetterRequest{Id: "a"})
	if err != nil || first.GetSubject() != "redrive.dispatch.2" {
		t.Fatalf("redrive: %v %v", first, err)
	}
	second, err := s.RedriveDeadLetter(t.Context(), &dispatchv1.RedriveDeadLetterRequest{Id: "a"})
	if err != nil || second.GetSequence() != first.GetSequence() {
		t.Errorf("redriven again: %v %v, want %v", second, err, first)
	}
	msg, err := broker.Next(t.Context(), "redrive.dispatch.2", 0)
	if err != nil {
		t.Fatal(err)
	}
	arrivals := &stagev1.Arrivals{}
	if err := arrivals.UnmarshalVT(msg.Data); err != nil {
		t.Fatal(err)
	}
	if r := arrivals.GetItems()[0].GetRedrive(); r.GetId() != "a" || r.GetInput() != "vdc" || string(r.GetPayload()) != "\x01\x02" || r.GetAddressed().GetPartition() != 7 {
		t.Errorf("redrive = %v", r)
	}
	got, err := s.GetDeadLetter(t.Context(), &dispatchv1.GetDeadLetterRequest{Id: "a"})
	if err != nil || !got.GetDeadLetter().GetRedriven() || got.GetDeadLetter().GetPayload() == "" {
		t.Errorf("get = %v %v", got, err)
	}
	_, err = s.RedriveDeadLetter(t.Context(), &dispatchv1.RedriveDeadLetterRequest{Id: "b"})
	if fault.Of(err) != fault.Invalid || !strings.Contains(err.Error(), "publish a corrected event") {
		t.Errorf("a refusal: %v", err)
	}
	if _, err := s.RedriveDeadLetter(t.Context(), &dispatchv1.RedriveDeadLetterRequest{Id: "none"}); fault.Of(err) != fault.NotFound {
		t.Errorf("an unknown one: %v", err)
	}
}

// A letter whose input was not given up in the end, or has come back, is not sent; nor is one while that is unknown.
func TestRedriveWithoutAGap(t *testing.T) {
	s, broker := letterServer(t,
		&stagev1.DeadLetter{Id: "orphan", Stage: "dispatch", Partition: 2, Input: "vdc"},
		&stagev1.DeadLetter{Id: "blind", Stage: "decision", Partition: 1, Input: "prf"},
	)
	openGaps(t, s, &stagev1.DeadLetter{Id: "other", Stage: "dispatch", Partition: 2})
	for id, want := range map[string]fault.Kind{"orphan": fault.Conflict, "blind": fault.Unavailable} {
		if _, err := s.RedriveDeadLetter(t.Context(), &dispatchv1.RedriveDeadLetterRequest{Id: id}); fault.Of(err) != want {
			t.Errorf("%s: got %v, want %s", id, err, want)
		}
	}
	for _, subject := range []string{"redrive.dispatch.2", "redrive.decision.1"} {
		if msg, err := broker.Next(t.Context(), subject, 0); err == nil {
			t.Errorf("%s: got %v", subject, msg)
		}
	}
}

// What was given up again is sent back, and shown, as what it was at first.
func TestRedriveOfWhatWasRedriven(t *testing.T) {
	fact, _ := verdict("email", 0).MarshalVT()
	body, _ := (&stagev1.CellBody{Facts: [][]byte{fact}}).MarshalVT()
	cell, _ := (&stagev1.Cell{Key: "default/c/00", Sealed: body}).MarshalVT()
	s, broker := letterServer(t,
		&stagev1.DeadLetter{Id: "again", Stage: "dispatch", Partition: 2, Input: "redrive.dispatch", Sequence: 7, Index: 1, Payload: cell, Redriven: "vdc"},
	)
	openGaps(t, s, &stagev1.DeadLetter{Id: "again", Stage: "dispatch", Partition: 2})
	if _, err := s.RedriveDeadLetter(t.Context(), &dispatchv1.RedriveDeadLetterRequest{Id: "again"}); err != nil {
		t.Fatal(err)
	}
	msg, err := broker.Next(t.Context(), "redrive.dispatch.2", 0)
	if err != nil {
		t.Fatal(err)
	}
	arrivals := &stagev1.Arrivals{}
	if err := arrivals.UnmarshalVT(msg.Data); err != nil {
		t.Fatal(err)
	}
	if got := arrivals.GetItems()[0].GetRedrive().GetInput(); got != "vdc" {
		t.Errorf("sent back as %q, want vdc", got)
	}
	got, err := s.GetDeadLetter(t.Context(), &dispatchv1.GetDeadLetterRequest{Id: "again"})
	if err != nil || !strings.Contains(got.GetDeadLetter().GetPayload(), "default/c/00") || !strings.Contains(got.GetDeadLetter().GetPayload(), "verdict") {
		t.Errorf("shown as %q, %v", got.GetDeadLetter().GetPayload(), err)
	}
}

func TestPayloadsAreReadable(t *testing.T) {
	fact, _ := verdict("email", 0).MarshalVT()
	body, _ := (&stagev1.CellBody{Facts: [][]byte{fact}}).MarshalVT()
	cell, _ := (&stagev1.Cell{Key: "default/c/00", Sealed: body}).MarshalVT()
	e, _ := (&eventv1.Event{Id: "e1", Type: "order_placed"}).MarshalVT()
	for _, tt := range []struct{ input, payload, want string }{
		{"vdc", string(cell), "verdict_given"}, {"evt.live", string(e), "order_placed"},
		{"evt.live", "\xff\xfe", "fffe"}, {"http", `{"broken":`, `{"broken":`},
	} {
		if got := readable(&stagev1.DeadLetter{Input: tt.input, Payload: []byte(tt.payload)}); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q in it", tt.input, got, tt.want)
		}
	}
}

func TestDeliveriesOfACustomer(t *testing.T) {
	s, _ := letterServer(t)
	ask := func(value string) (*dispatchv1.ListDeliveriesResponse, error) {
		return s.ListDeliveries(t.Context(), &dispatchv1.ListDeliveriesRequest{Identifier: &eventv1.Identifier{Kind: "email", Value: value}})
	}
	if _, err := ask("ada@shop.example"); fault.Of(err) != fault.NotFound {
		t.Errorf("nobody: %v", err)
	}
	if _, err := s.ListDeliveries(t.Context(), &dispatchv1.ListDeliveriesRequest{Identifier: &eventv1.Identifier{Kind: "shoe_size", Value: "9"}}); fault.Of(err) != fault.Invalid {
		t.Errorf("an unknown kind: %v", err)
	}
	hash := s.homes.ID("default", &eventv1.Identifier{Kind: "email", Value: "ada@shop.example"})
	store := s.reader.(state.Store)
	row, _ := (&profilev1.IdentifierRow{Kind: "email", ProfileId: customer()}).MarshalVT()
	deliveries, _ := (&dispatchv1.State{Deliveries: []*dispatchv1.Delivery{{Proposal: "p1", At: timestamppb.New(start)}}}).MarshalVT()
	for _, w := range []struct {
		stage, key string
		value, id  []byte
	}{
		{"profile", identity.IdentifierKey("default", hash), row, hash},
		{"dispatch", key(), deliveries, customer()},
	} {
		err := store.Apply(t.Context(), state.Shard{Stage: w.stage, Partition: s.homes.Partition(w.id)}, state.Batch{
			Meta: state.Meta{Generation: 1, Applied: 1}, Writes: []state.Write{{Key: w.key, Value: w.value}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := ask("Ada@Shop.example ")
	if err != nil || len(got.GetDeliveries()) != 1 || got.GetDeliveries()[0].GetProposal() != "p1" {
		t.Errorf("deliveries = %v %v", got, err)
	}
}
