package dispatchsvc

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
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
		letters: &deadLetters{letters: deps.Broker, redrives: newRedrives(deps.Broker), states: deps.Store, clock: deps.Clock, partitions: deps.Generation.Partitions, streams: deps.Generation.Streams},
	}, deps.Broker
}

// record appends a batch to the chain of a stage that covers an input so far, and applies it and deltas to the states.
func record(t *testing.T, s *rpcServer, l *stagev1.DeadLetter, deltas ...state.Delta) {
	t.Helper()
	broker, spec, partition := s.letters.letters.(log.Broker), log.Stage(l.GetStage()), int(l.GetPartition())
	last, err := broker.Last(t.Context(), log.Subject(spec.Chain, partition))
	if err != nil {
		t.Fatal(err)
	}
	rec := &stagev1.Record{
		Prev: last.Sequence, Kind: stagev1.RecordKind_RECORD_KIND_BATCH,
		Covers: []*stagev1.Cover{{Input: l.GetInput(), Sequence: l.GetSequence(), Index: l.GetIndex()}},
	}
	data, err := rec.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	sequence, err := broker.Append(t.Context(), log.Subject(spec.Chain, partition), last.Sequence, data)
	if err != nil {
		t.Fatal(err)
	}
	view, err := s.letters.states.Read(t.Context(), partition, state.Query{Metas: []string{spec.Name}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.letters.states.Apply(t.Context(), state.Shard{Stage: spec.Name, Partition: partition}, state.Batch{
		Prev: view.Metas[spec.Name].Applied, Meta: state.Meta{Applied: sequence}, Writes: []state.Write{{Key: ":gap/", Deltas: deltas}},
	}); err != nil {
		t.Fatal(err)
	}
}

// openGap says that the input of a letter is given up, closeGap that it came back.
func openGap(t *testing.T, s *rpcServer, l *stagev1.DeadLetter) {
	t.Helper()
	record(t, s, l, state.Delta{Name: ":gap/" + l.GetId(), Kind: state.DeltaAdd, Value: []byte(l.GetId())})
}

func closeGap(t *testing.T, s *rpcServer, l *stagev1.DeadLetter) {
	t.Helper()
	record(t, s, l, state.Delta{Name: ":gap/" + l.GetId(), Kind: state.DeltaDrop})
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
	openGap(t, s, &stagev1.DeadLetter{Id: "a", Stage: "dispatch", Partition: 2})
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

// A letter says what became of it, and is sent back only while its input is lost: what was applied after all is passed
// over, and what is being tried still, or not known, is to be asked again.
func TestWhatBecameOfADeadLetter(t *testing.T) {
	letters := []*stagev1.DeadLetter{
		{Id: "applied", Stage: "dispatch", Partition: 2, Input: "vdc", Sequence: 7, Index: 1},
		{Id: "tried", Stage: "dispatch", Partition: 2, Input: "vdc", Sequence: 7, Index: 2},
		{Id: "open", Stage: "dispatch", Partition: 2, Input: "vdc", Sequence: 3, Index: 1},
		{Id: "timer", Stage: "dispatch", Partition: 2, Input: "timer", ChainAfter: 3}, // its genesis is the third of all
		{Id: "untimely", Stage: "dispatch", Partition: 2, Input: "timer", ChainAfter: 1 << 40},
		{Id: "blind", Stage: "decision", Partition: 1, Input: "prf", Sequence: 1},
		{Id: "refused", Stage: "ingest", Partition: 1},
	}
	s, broker := letterServer(t, letters...)
	openGap(t, s, letters[2])
	record(t, s, letters[0])
	want := map[string]dispatchv1.DeadLetterStatus{
		"applied": dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_APPLIED, "tried": dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_TRIED,
		"open": dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_OPEN, "timer": dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_APPLIED,
		"untimely": dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_TRIED, "blind": dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_UNSPECIFIED,
		"refused": dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_REFUSED,
	}
	statuses := func() map[string]dispatchv1.DeadLetterStatus {
		t.Helper()
		page, err := s.ListDeadLetters(t.Context(), &dispatchv1.ListDeadLettersRequest{})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]dispatchv1.DeadLetterStatus{}
		for _, l := range page.GetDeadLetters() {
			got[l.GetId()] = l.GetStatus()
		}
		return got
	}
	if got := statuses(); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for id, want := range map[string]fault.Kind{"tried": fault.Conflict, "blind": fault.Unavailable, "refused": fault.Invalid} {
		if _, err := s.RedriveDeadLetter(t.Context(), &dispatchv1.RedriveDeadLetterRequest{Id: id}); fault.Of(err) != want {
			t.Errorf("%s: got %v, want %s", id, err, want)
		}
	}
	res, err := s.RedriveDeadLetter(t.Context(), &dispatchv1.RedriveDeadLetterRequest{Id: "applied"})
	if err != nil || res.GetStatus() != dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_APPLIED || res.GetSubject() != "" {
		t.Errorf("what was applied after all: got %v, %v", res, err)
	}
	for _, subject := range []string{"redrive.dispatch.2", "redrive.decision.1"} {
		if msg, err := broker.Next(t.Context(), subject, 0); err == nil {
			t.Errorf("%s: got %v", subject, msg)
		}
	}
	if _, err := s.RedriveDeadLetter(t.Context(), &dispatchv1.RedriveDeadLetterRequest{Id: "open"}); err != nil {
		t.Fatal(err)
	}
	if got := statuses()["open"]; got != dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_SENT_BACK {
		t.Errorf("on its way: got %v", got)
	}
	closeGap(t, s, &stagev1.DeadLetter{Id: "open", Stage: "dispatch", Partition: 2, Input: "vdc", Sequence: 7, Index: 1})
	if got := statuses()["open"]; got != dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_REDRIVEN {
		t.Errorf("come back: got %v", got)
	}
}

// What says that a letter was sent back is the redrive itself: it is known to other replicas, nothing is stored beside
// the log, and it goes with the redrive.
func TestRedrivesAreRememberedByTheLog(t *testing.T) {
	a := &stagev1.DeadLetter{Id: "a", Stage: "dispatch", Partition: 2, Input: "vdc", Sequence: 1}
	s, broker := letterServer(t, a)
	openGap(t, s, a)
	if _, err := broker.Publish(t.Context(), "redrive.dispatch.2", []byte("no redrive")); err != nil {
		t.Fatal(err)
	}
	sent, err := s.RedriveDeadLetter(t.Context(), &dispatchv1.RedriveDeadLetterRequest{Id: "a"})
	if err != nil {
		t.Fatal(err)
	}
	other := newRedrives(broker)
	for range 2 {
		if at, err := other.where(t.Context(), "redrive.dispatch.2", "a"); at != sent.GetSequence() || err != nil {
			t.Errorf("another replica: got %d, %v, want %d", at, err, sent.GetSequence())
		}
	}
	if keys, err := broker.(*log.Memory).KV().Keys(t.Context(), "redriven/"); len(keys) > 0 || err != nil {
		t.Errorf("beside the log: %v, %v", keys, err)
	}
	last, err := broker.Publish(t.Context(), "redrive.dispatch.2", []byte("no redrive"))
	if err != nil {
		t.Fatal(err)
	}
	if err := broker.Purge(t.Context(), "redrive.dispatch.2", last); err != nil {
		t.Fatal(err)
	}
	if at, err := other.where(t.Context(), "redrive.dispatch.2", "a"); at != 0 || err != nil || len(other.known["redrive.dispatch.2"].at) > 1 {
		t.Errorf("after it went: got %d, %v, and %v is kept", at, err, other.known["redrive.dispatch.2"].at)
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
	openGap(t, s, &stagev1.DeadLetter{Id: "again", Stage: "dispatch", Partition: 2})
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

// A dead letter says whose customers it is about, whatever input was given up.
func TestADeadLetterNamesItsTenant(t *testing.T) {
	encoded := func(m interface{ MarshalVT() ([]byte, error) }) []byte {
		data, err := m.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	e := &eventv1.Event{Id: "e1", Tenant: "acme", Type: "order_placed"}
	row := encoded(&stagev1.Cell{Key: identity.CustomerKey("acme", customer())})
	asked := &profilev1.AliasAnswered{Asked: &profilev1.AliasAsked{Tenant: "acme"}, To: customer()}
	for name, l := range map[string]*stagev1.DeadLetter{
		"refused at the door":  {Stage: "ingest", Tenant: "acme", Payload: []byte("{")},
		"an event":             {Stage: "profile", Input: "evt.live", Payload: encoded(e)},
		"a redriven event":     {Stage: "profile", Input: "redrive.profile", Redriven: "evt.bulk", Payload: encoded(e)},
		"a chain's cell":       {Stage: "decision", Input: "prf", Payload: row},
		"a timer":              {Stage: "dispatch", Input: "timer", Payload: row},
		"a call's result":      {Stage: "dispatch", Input: "call", Payload: row},
		"a forwarded event":    {Stage: "profile", Input: "box.profile", Payload: encoded(&profilev1.Letter{Letter: &profilev1.Letter_Forwarded{Forwarded: &profilev1.ForwardedEvent{Event: e}}})},
		"an answer to another": {Stage: "profile", Input: "box.profile", Payload: encoded(&profilev1.Letter{Letter: &profilev1.Letter_AliasAnswered{AliasAnswered: asked}})},
		"a contact ledger":     {Stage: "suppression", Input: "box.suppression", Payload: encoded(&contactv1.Letter{Tenant: "acme"})},
		"a receipt":            {Stage: "dispatch", Input: "box.dispatch", Payload: encoded(&dispatchv1.Receipt{Tenant: "acme"})},
		"a fact that went round too often": {
			Stage: "suppression", Input: "prf", Payload: encoded(&dispatchv1.Receipt{Tenant: "acme"}), Addressed: &stagev1.Addressed{Stage: "dispatch"},
		},
	} {
		if got := tenantOf(l); got != "acme" {
			t.Errorf("%s: got tenant %q, want acme", name, got)
		}
	}
	for name, l := range map[string]*stagev1.DeadLetter{
		"garbage in a lane":  {Stage: "profile", Input: "evt.live", Payload: []byte("garbage")},
		"garbage in a chain": {Stage: "decision", Input: "prf", Payload: []byte("garbage")},
		"a row of no tenant": {Stage: "decision", Input: "timer", Payload: encoded(&stagev1.Cell{Key: ":gap/"})},
	} {
		if got := tenantOf(l); got != "" {
			t.Errorf("%s: got tenant %q, want none", name, got)
		}
	}
	s, _ := letterServer(t, &stagev1.DeadLetter{Id: "dl", Stage: "ingest", Tenant: "acme"})
	page, err := s.ListDeadLetters(t.Context(), &dispatchv1.ListDeadLettersRequest{})
	if err != nil || page.GetDeadLetters()[0].GetTenant() != "acme" {
		t.Errorf("the list says %v, %v", page.GetDeadLetters(), err)
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
