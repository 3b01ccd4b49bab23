package decisionsvc

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/config"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/state"
)

const partitions = 4

// desk is an engine over a store in memory, with a count of its round trips.
type desk struct {
	*engine
	clock.Wall

	t      testing.TB
	memory *state.Memory
	reads  int
	hang   bool
	onRead func() // once, after the first read
	logged [][]byte
	asked  []*contactv1.ReserveRequest
	answer *contactv1.ReserveResponse
	prev   map[state.Shard]uint64
	// revision of the metas written.
	revision string
}

func newDesk(t testing.TB) *desk {
	t.Helper()
	m, err := newMetrics(metricnoop.NewMeterProvider())
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, memory: state.NewMemory(), prev: map[state.Shard]uint64{}, revision: "r1"}
	cfg := Default()
	cfg.Deadline = config.Duration(10 * time.Second)
	d.engine = &engine{
		cfg: cfg, book: newShelf(t), store: d, clock: d, metrics: m, generation: 1,
		log:    newAnswerLog(answerLogConfig{buffer: cfg.LogBuffer, broker: d, clock: d, logger: slog.New(slog.DiscardHandler)}, m),
		hasher: identity.NewHasher([]byte(strings.Repeat("s", 32)), partitions),
	}
	return d
}

// Now implements clock.Clock.
func (d *desk) Now() time.Time { return start }

// Read implements Reader.
func (d *desk) Read(ctx context.Context, partition int, q state.Query) (state.View, error) {
	d.reads++
	if d.hang {
		<-ctx.Done()
		return state.View{}, ctx.Err()
	}
	if do := d.onRead; do != nil {
		d.onRead = nil
		defer do()
	}
	return d.memory.Read(ctx, partition, q)
}

// Publish implements Publisher.
func (d *desk) Publish(_ context.Context, _ string, data []byte) (uint64, error) {
	d.logged = append(d.logged, data)
	return uint64(len(d.logged)), nil
}

// Reserve implements Reserver.
func (d *desk) Reserve(_ context.Context, req *contactv1.ReserveRequest) (*contactv1.ReserveResponse, error) {
	d.asked = append(d.asked, req)
	if d.answer == nil {
		return nil, errors.New("no answer")
	}
	return d.answer, nil
}

// write applies writes to a shard; without any it only marks the shard as there.
func (d *desk) write(stage string, partition int, origin uint64, writes ...state.Write) {
	d.t.Helper()
	shard := state.Shard{Stage: stage, Partition: partition}
	err := d.memory.Apply(d.t.Context(), shard, state.Batch{Prev: d.prev[shard], Writes: writes, Meta: state.Meta{
		Generation: 1, Applied: d.prev[shard] + 1, Now: start, Revision: d.revision, Origins: map[string]uint64{"live": origin},
	}})
	if err != nil {
		d.t.Fatalf("write %s: %v", stage, err)
	}
	d.prev[shard]++
}

// customer stores a person that the identifier made, and the other stages' shards.
func (d *desk) customer(user string, s *decisionv1.State) (partition int, key string) {
	d.t.Helper()
	id := d.hasher.ID("default", userID(user))
	partition, key = d.hasher.Partition(id), identity.CustomerKey("default", id)
	d.write(profileStage, partition, 7,
		state.Write{Key: identity.IdentifierKey("default", id), Value: encode(d.t, &profilev1.IdentifierRow{Kind: "user_id", ProfileId: id})},
		state.Write{Key: key, Value: encode(d.t, person(id))})
	var writes []state.Write
	if s != nil {
		writes = append(writes, state.Write{Key: key, Value: encode(d.t, s)})
	}
	d.write(decisionStage, partition, 7, writes...)
	d.write(suppressionStage, partition, 7)
	return partition, key
}

func (d *desk) ask(req *decisionv1.NextBestActionsRequest) *decisionv1.NextBestActionsResponse {
	d.t.Helper()
	res, err := d.next(d.t.Context(), req)
	if err != nil {
		d.t.Fatalf("next best actions: %v", err)
	}
	return res
}

func home(user string) *decisionv1.NextBestActionsRequest {
	return &decisionv1.NextBestActionsRequest{Identifier: userID(user), Placement: "home"}
}

func degraded(res *decisionv1.NextBestActionsResponse) []reasonv1.Code {
	var out []reasonv1.Code
	for _, r := range res.GetDegraded() {
		out = append(out, r.GetCode())
	}
	return out
}

func TestAnAnswerHasItemsWithTokensAndReasonsForTheRest(t *testing.T) {
	d := newDesk(t)
	partition, _ := d.customer("u1", nil)
	res := d.ask(home("u1"))
	equal(t, "round trips", d.reads, 1)
	equal(t, "degraded", degraded(res), []reasonv1.Code(nil))
	if len(res.GetItems()) != 1 || res.GetItems()[0].GetAction() != "banner" {
		t.Fatalf("got items %v, want the banner", res.GetItems())
	}
	item := res.GetItems()[0]
	equal(t, "subject", item.GetSubject(), "Hi")
	equal(t, "the body is rendered", item.GetBody(), "Dear "+hex.EncodeToString(d.hasher.ID("default", userID("u1"))))
	token, err := d.hasher.Verify(item.GetToken(), start)
	if err != nil {
		t.Fatalf("verify token: %v", err)
	}
	equal(t, "token", []any{token.GetDecision(), token.GetAction(), token.GetTreatment(), int(token.GetPartition()), token.GetRevision()},
		[]any{res.GetDecision(), "banner", "w", partition, "r1"})
	why := map[string]reasonv1.Code{}
	for _, c := range res.GetOthers() {
		why[c.GetAction()] = c.GetReasons()[0].GetCode()
	}
	equal(t, "others", why, map[string]reasonv1.Code{
		"vip-banner": reasonv1.Code_CODE_NOT_ELIGIBLE, "ad": reasonv1.Code_CODE_CONSENT_MISSING, "no_action": reasonv1.Code_CODE_LOWER_PRIORITY,
	})
}

func TestAnIdentifierThatResolvesElsewhereCostsOneMoreRead(t *testing.T) {
	d := newDesk(t)
	d.customer("known", nil)
	known := d.hasher.ID("default", userID("known"))
	other := &eventv1.Identifier{Kind: "anonymous_id", Value: "a1"}
	id := d.hasher.ID("default", other)
	d.write(profileStage, d.hasher.Partition(id), 7, state.Write{
		Key: identity.IdentifierKey("default", id), Value: encode(t, &profilev1.IdentifierRow{Kind: "anonymous_id", ProfileId: known}),
	})
	res := d.ask(&decisionv1.NextBestActionsRequest{Identifier: other, Placement: "home"})
	equal(t, "round trips", d.reads, 2)
	equal(t, "items", len(res.GetItems()), 1)
}

func actions(res *decisionv1.NextBestActionsResponse) []string {
	var out []string
	for _, item := range res.GetItems() {
		out = append(out, item.GetAction())
	}
	return out
}

// reasonsOf returns why an action was not chosen.
func reasonsOf(res *decisionv1.NextBestActionsResponse, action string) []reasonv1.Code {
	var out []reasonv1.Code
	for _, c := range res.GetOthers() {
		if c.GetAction() == action {
			for _, r := range c.GetReasons() {
				out = append(out, r.GetCode())
			}
		}
	}
	return out
}

func TestNothingIsAnAnswerAndSaysWhy(t *testing.T) {
	d := newDesk(t)
	equal(t, "nothing was ever written", degraded(d.ask(&decisionv1.NextBestActionsRequest{Identifier: userID("u1"), Placement: "home"})),
		[]reasonv1.Code{reasonv1.Code_CODE_PROFILE_UNAVAILABLE})
}

func TestDegradedAnswers(t *testing.T) {
	d := newDesk(t)
	partition, _ := d.customer("u1", nil)
	stale := home("u1")
	stale.AtLeast = &eventv1.Position{Partition: uint32(partition), Lane: "live", Sequence: 8}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	res, err := d.next(ctx, stale)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "a position that is not reached", degraded(res), []reasonv1.Code{reasonv1.Code_CODE_STALE_VIEW})
	equal(t, "the answer is there all the same", len(res.GetItems()), 1)

	stale.AtLeast.Sequence = 7
	equal(t, "a position that is reached", degraded(d.ask(stale)), []reasonv1.Code(nil))
	stale.AtLeast.Partition = uint32(partition+1) % partitions
	equal(t, "a position of another partition", degraded(d.ask(stale)), []reasonv1.Code{reasonv1.Code_CODE_STALE_VIEW})

	unknown := home("nobody")
	id := d.hasher.ID("default", unknown.GetIdentifier())
	for _, stage := range []string{profileStage, decisionStage, suppressionStage} {
		d.write(stage, d.hasher.Partition(id), 7)
	}
	res = d.ask(unknown)
	equal(t, "an unknown customer", degraded(res), []reasonv1.Code{reasonv1.Code_CODE_PROFILE_UNAVAILABLE})
	equal(t, "gets what needs nothing of a customer", actions(res), []string{"banner"})
	equal(t, "and why nothing else", reasonsOf(res, "ad"), []reasonv1.Code{reasonv1.Code_CODE_CONSENT_MISSING})
	equal(t, "the gates see what a missing trait is worth", reasonsOf(res, "vip-banner"), []reasonv1.Code{reasonv1.Code_CODE_NOT_ELIGIBLE})

	d.hang = true
	d.cfg.Deadline = config.Duration(20 * time.Millisecond)
	equal(t, "a store that hangs", degraded(d.ask(home("u1"))), []reasonv1.Code{reasonv1.Code_CODE_DEADLINE_DEGRADED})
}

// part writes the first of two rows of the next record of a shard, as a process does that dies, or is not yet done.
func (d *desk) part(stage string, partition int, first, second state.Write) {
	d.t.Helper()
	shard := state.Shard{Stage: stage, Partition: partition}
	err := d.memory.ApplyPart(d.t.Context(), shard, state.Batch{Prev: d.prev[shard], Writes: []state.Write{first, second}, Meta: state.Meta{
		Generation: 1, Applied: d.prev[shard] + 1, Now: start, Revision: d.revision, Origins: map[string]uint64{"live": 9},
	}}, 1)
	if err != nil {
		d.t.Fatalf("write a part of %s: %v", stage, err)
	}
}

// A record of other customers that is being written to one shard, or to all three, keeps nobody from an answer.
func TestAQueryIsAnsweredWhileOthersAreWritten(t *testing.T) {
	stages := []string{profileStage, decisionStage, suppressionStage}
	for _, written := range [][]string{stages[:1], stages[1:2], stages[2:], stages} {
		d := newDesk(t)
		partition, _ := d.customer("u1", nil)
		for _, stage := range written {
			d.part(stage, partition, state.Write{Key: "default/c/x", Value: []byte{}}, state.Write{Key: "default/c/y", Value: []byte{}})
		}
		res := d.ask(home("u1"))
		equal(t, "degraded", degraded(res), []reasonv1.Code(nil))
		equal(t, "items", len(res.GetItems()), 1)
		equal(t, "round trips", d.reads, 1)
	}
}

// The customer's own row is as before the record or as after it, as the sequence in it says.
func TestACustomerWhoIsBeingWrittenIsOnOneSide(t *testing.T) {
	for side, vip := range map[string]bool{"before": false, "after": true} {
		d := newDesk(t)
		partition, key := d.customer("u1", nil)
		rich := person(d.hasher.ID("default", userID("u1")))
		rich.Leaves[0].Traits[0].Value = event.Integer(101)
		own, other := state.Write{Key: key, Value: encode(t, rich)}, state.Write{Key: "default/c/x", Value: []byte{}}
		if vip {
			d.part(profileStage, partition, own, other)
		} else {
			d.part(profileStage, partition, other, own)
		}
		res := d.ask(home("u1"))
		equal(t, side+": degraded", degraded(res), []reasonv1.Code(nil))
		equal(t, side+": the banner for those who order much", slices.ContainsFunc(res.GetItems(), func(i *decisionv1.Item) bool { return i.GetAction() == "vip-banner" }), vip)
	}
}

// Who is not there while a record is being written may be about to come: nobody is told to publish first.
func TestACustomerWhoIsComingIsNotNobody(t *testing.T) {
	d := newDesk(t)
	partition, _ := d.customer("u1", nil)
	coming := ""
	for n := 0; coming == ""; n++ {
		if name := fmt.Sprint("new", n); d.hasher.Partition(d.hasher.ID("default", userID(name))) == partition {
			coming = name
		}
	}
	unknown := func() *reasonv1.Reason { return d.ask(home(coming)).GetDegraded()[0] }
	equal(t, "while nothing is written", unknown().GetRemedy(), "publish an event with this identifier first")
	id := d.hasher.ID("default", userID(coming))
	d.part(profileStage, partition, state.Write{Key: identity.IdentifierKey("default", id), Value: encode(t, &profilev1.IdentifierRow{Kind: "user_id", ProfileId: id})},
		state.Write{Key: identity.CustomerKey("default", id), Value: encode(t, person(id))})
	equal(t, "while it is written", []any{unknown().GetCode(), unknown().GetRemedy()}, []any{reasonv1.Code_CODE_PROFILE_UNAVAILABLE, "ask again"})
}

// Nothing is known of a shard that is being made again, and there is nothing to wait for within a deadline.
func TestAShardThatIsMadeAgainIsUnknown(t *testing.T) {
	for _, stage := range []string{profileStage, decisionStage, suppressionStage} {
		d := newDesk(t)
		partition, key := d.customer("u1", nil)
		shard := state.Shard{Stage: stage, Partition: partition}
		if _, err := d.memory.Restore(t.Context(), shard, state.Piece{Image: "i", Over: d.prev[shard], Writes: []state.Write{{Key: key, Value: []byte{}}}}); err != nil {
			t.Fatal(err)
		}
		equal(t, stage, degraded(d.ask(home("u1"))), []reasonv1.Code{reasonv1.Code_CODE_PROFILE_UNAVAILABLE})
	}
}

// An identifier may lead to a profile that has just been closed for another one.
func TestAClosedProfileLeadsOn(t *testing.T) {
	d := newDesk(t)
	partition, _ := d.customer("u1", nil)
	closed := person(d.hasher.ID("default", userID("old")))
	closed.LinkedTo = d.hasher.ID("default", userID("u1"))
	at := d.hasher.Partition(closed.GetId())
	for _, stage := range []string{decisionStage, suppressionStage} {
		d.write(stage, at, 7)
	}
	d.write(profileStage, at, 7, state.Write{Key: identity.CustomerKey("default", closed.GetId()), Value: encode(t, closed)})
	res := d.ask(home("old"))
	equal(t, "items", len(res.GetItems()), 1)
	token, err := d.hasher.Verify(res.GetItems()[0].GetToken(), start)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "partition of the one that is open", int(token.GetPartition()), partition)
}

// Lists may be half of a record while it is written: Explain waits for it.
func TestExplainWaitsForARecordToBeWhole(t *testing.T) {
	d := newDesk(t)
	partition, _ := d.customer("u1", nil)
	first, second := state.Write{Key: "default/c/x", Value: []byte{}}, state.Write{Key: "default/c/y", Value: []byte{}}
	d.part(decisionStage, partition, first, second)
	d.onRead = func() { d.write(decisionStage, partition, 9, first, second) }
	if _, err := d.explain(t.Context(), &decisionv1.ExplainRequest{Identifier: userID("u1"), Placement: "home"}); err != nil {
		t.Errorf("explain = %v", err)
	}
	equal(t, "it has looked again", d.reads, 2)
}

func TestAPositionIsWaitedForWithinTheDeadline(t *testing.T) {
	d := newDesk(t)
	partition, _ := d.customer("u1", nil)
	req := home("u1")
	req.AtLeast = &eventv1.Position{Partition: uint32(partition), Lane: "live", Sequence: 8}
	done := make(chan *decisionv1.NextBestActionsResponse, 1)
	go func() { done <- d.ask(req) }()
	for _, stage := range []string{profileStage, decisionStage, suppressionStage} {
		d.write(stage, partition, 8)
	}
	equal(t, "degraded", degraded(<-done), []reasonv1.Code(nil))
}

func TestWrongQuestionsAreErrors(t *testing.T) {
	d := newDesk(t)
	d.customer("u1", nil)
	for name, c := range map[string]struct {
		placement string
		kind      fault.Kind
	}{
		"no such placement":  {"nowhere", fault.NotFound},
		"filled by the mesh": {"outbound", fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.next(t.Context(), &decisionv1.NextBestActionsRequest{Identifier: userID("u1"), Placement: c.placement})
			equal(t, "kind", fault.Of(err), c.kind)
		})
	}
	if _, err := d.next(t.Context(), &decisionv1.NextBestActionsRequest{Identifier: userID("u1"), Placement: "home", Reserve: true}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("reserve without a contact service: got %v", err)
	}
}

func TestANewCatalogAppliesBeforeTheNextRecord(t *testing.T) {
	d := newDesk(t)
	d.revision = ""
	partition, _ := d.customer("u1", nil)
	_, err := d.next(t.Context(), home("u1"))
	equal(t, "before any catalog", fault.Of(err), fault.NotFound)
	d.revision = "r1"
	d.write(profileStage, partition, 8)
	equal(t, "items", len(d.ask(home("u1")).GetItems()), 1)
}

func TestReserveTakesRoomFirst(t *testing.T) {
	d := newDesk(t)
	d.customer("u1", nil)
	d.reserver = d
	req := home("u1")
	req.Reserve = true

	d.answer = &contactv1.ReserveResponse{Kind: contactv1.VerdictKind_VERDICT_KIND_APPROVED}
	equal(t, "approved", len(d.ask(req).GetItems()), 1)
	equal(t, "asked for", []string{d.asked[0].GetContact().GetAction(), d.asked[0].GetContact().GetChannel(), d.asked[0].GetContact().GetPurpose()},
		[]string{"banner", "web", "service"})

	d.answer = &contactv1.ReserveResponse{Kind: contactv1.VerdictKind_VERDICT_KIND_SUPPRESSED, Reasons: []*reasonv1.Reason{{Code: reasonv1.Code_CODE_CAP_REACHED}}}
	res := d.ask(req)
	equal(t, "refused", len(res.GetItems()), 0)
	equal(t, "with the reason", slices.ContainsFunc(res.GetOthers(), func(c *decisionv1.Candidate) bool {
		return c.GetAction() == "banner" && c.GetReasons()[0].GetCode() == reasonv1.Code_CODE_CAP_REACHED
	}), true)

	d.answer = nil
	equal(t, "no answer is no", len(d.ask(req).GetItems()), 0)
}

func TestAnswersAreLoggedInBatchesAndDroppedWhenItIsTooMuch(t *testing.T) {
	d := newDesk(t)
	d.customer("u1", nil)
	d.log.waiting = make(chan answer, 3)
	for range 5 {
		d.ask(home("u1"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.log.run(ctx)
	lines := 0
	for _, raw := range d.logged {
		batch := &stagev1.Arrivals{}
		if err := batch.UnmarshalVT(raw); err != nil {
			t.Fatal(err)
		}
		lines += len(batch.GetItems())
	}
	equal(t, "lines", lines, 3)
}

func TestExplainNowRunsEveryGate(t *testing.T) {
	d := newDesk(t)
	d.customer("u1", nil)
	res, err := d.explain(t.Context(), &decisionv1.ExplainRequest{Identifier: userID("u1"), Placement: "home"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range res.GetDecision().GetCandidates() {
		if c.GetChosen() == (len(c.GetReasons()) > 0) {
			t.Errorf("%s: chosen=%v with %v", c.GetAction(), c.GetChosen(), c.GetReasons())
		}
	}
	equal(t, "candidates", len(res.GetDecision().GetCandidates()), 4)
}

// A fold's own deltas are what Explain reads.
func TestExplainTellsTheCourseOfAProposal(t *testing.T) {
	d := newDesk(t)
	partition, key := d.customer("u1", nil)
	b := newBench(t)
	b.id = d.hasher.ID("default", userID("u1"))
	b.key, b.profile = key, person(b.id)
	b.before(placed("o1", 20))
	proposal := b.state().GetProposals()[0].GetId()
	d.apply(partition, b)
	b.timer()
	d.apply(partition, b)

	res, err := d.explain(t.Context(), &decisionv1.ExplainRequest{Identifier: userID("u1"), Id: proposal})
	if err != nil {
		t.Fatal(err)
	}
	var course []string
	for _, x := range res.GetCourse() {
		course = append(course, x.GetWhat())
	}
	equal(t, "course", course, []string{"proposal_made", "proposal_chosen"})
	equal(t, "decision", res.GetDecision().GetPlacement(), "outbound")
	byDecision, err := d.explain(t.Context(), &decisionv1.ExplainRequest{Identifier: userID("u1"), Id: res.GetDecision().GetId()})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "by the decision's id", byDecision.GetDecision().GetId(), res.GetDecision().GetId())

	_, err = d.explain(t.Context(), &decisionv1.ExplainRequest{Identifier: userID("u1"), Id: "nothing"})
	equal(t, "an unknown id", fault.Of(err), fault.NotFound)
	_, err = d.explain(t.Context(), &decisionv1.ExplainRequest{Id: proposal})
	equal(t, "an id alone", fault.Of(err), fault.Invalid)
	if err == nil || !strings.Contains(err.Error(), "--customer") {
		t.Errorf("got %v, want the remedy", err)
	}
}

// apply writes the bench's last outcome into the store.
func (d *desk) apply(partition int, b *bench) {
	d.t.Helper()
	for _, c := range b.last.Cells {
		w := state.Write{Key: c.Key, Value: c.State, Deleted: c.Deleted, Wake: c.Wake}
		for _, x := range c.Deltas {
			w.Deltas = append(w.Deltas, state.Delta{Name: x.GetName(), Kind: state.DeltaKind(x.GetKind()), Value: x.GetValue(), Keep: int(x.GetKeep())})
		}
		d.write(decisionStage, partition, 7, w)
	}
}

func BenchmarkNextBestActions(b *testing.B) {
	d := newDesk(b)
	d.customer("u1", nil)
	b.ReportAllocs()
	for b.Loop() {
		d.ask(home("u1"))
	}
}
