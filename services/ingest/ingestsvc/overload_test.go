package ingestsvc

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/run"
	"refrain.dev/services/ingest/ingestsvc/overload"
)

// at names a customer who lives in a partition; n tells several apart.
func (f *fixture) at(partition, n int) string {
	f.t.Helper()
	for i := 0; ; i++ {
		name := fmt.Sprintf("u%d-%d", n, i)
		if f.hasher.Home("default", id("user_id", name)) == partition {
			return name
		}
	}
}

var made int

// trackOf is an event of a customer that can be sent again.
func trackOf(user string) string {
	made++
	return fmt.Sprintf(`{"type":"track","userId":%q,"event":"a","messageId":"m%d"}`, user, made)
}

func batchOf(events ...string) string { return `{"batch":[` + strings.Join(events, ",") + `]}` }

// crowd stores in a partition until it refuses, and returns how many events that took.
func (f *fixture) crowd(partition int) int {
	f.t.Helper()
	for n := 0; n < 10*burstUnderWay; n += 100 {
		var events []string
		for i := range 100 {
			events = append(events, trackOf(f.at(partition, n+i)))
		}
		code, a, header := f.post("/v1/batch", batchOf(events...))
		if code == http.StatusTooManyRequests && a.Reason == string(overload.PartitionLags) && header.Get("Retry-After") != "" && a.RetryAfter > 0 {
			return n
		}
		if code != http.StatusOK {
			f.t.Fatalf("got %d %+v", code, a)
		}
	}
	f.t.Fatal("the partition takes everything")
	return 0
}

// comesThrough lets the stages do all that is stored.
func (f *fixture) comesThrough() {
	f.door.flows.log = gaugesOf{through: map[string]uint64{"live": 1 << 40, "bulk": 1 << 40}}
	f.door.flows.look(f.t.Context())
}

// "A partition that lags refuses its own", by itself takes again, and what restricts contact always passes.
func TestALaggingPartitionRefusesItsOwnAndRecovers(t *testing.T) {
	f := newFixture(t)
	if n := f.crowd(1); n != burstUnderWay {
		t.Errorf("%d events were taken, want %d", n, burstUnderWay)
	}
	slow, quick := f.at(1, 1), f.at(2, 1)
	if code, a, _ := f.post("/v1/track", trackOf(quick)); code != http.StatusOK {
		t.Errorf("the other partition: %d %+v", code, a)
	}
	if code, _, _ := f.post("/v1/track", strings.Replace(trackOf(slow), `"a"`, `"consent_withdrawn"`, 1)); code != http.StatusOK {
		t.Errorf("an opt-out in the lagging partition: %d", code)
	}
	receipt := fmt.Sprintf(`{"token":%q,"kind":"delivered"}`, f.token(nil))
	for p := range f.deps.Generation.Partitions { // the token's is one of them
		if p != 1 {
			f.crowd(p)
		}
	}
	if code, a, _ := f.post("/v1/receipts/email", receipt); code != http.StatusOK {
		t.Errorf("a receipt while every partition lags: %d %+v", code, a)
	}
	f.comesThrough()
	if code, a, _ := f.post("/v1/track", trackOf(slow)); code != http.StatusOK {
		t.Errorf("after the stages caught up: %d %+v", code, a)
	}
}

// What is not refused is stored, once the publisher sends all again it has all, and nothing twice.
func TestOfAMixedBatchTheRestIsStored(t *testing.T) {
	f := newFixture(t)
	f.crowd(1)
	before := len(f.stored("live"))
	body := batchOf(trackOf(f.at(1, 1)), trackOf(f.at(2, 1)), trackOf(f.at(3, 1)))
	if code, a, _ := f.post("/v1/batch", body); code != http.StatusTooManyRequests || a.Success {
		t.Fatalf("got %d %+v", code, a)
	}
	if got := len(f.stored("live")) - before; got != 2 {
		t.Errorf("%d events are stored, want the two of other partitions", got)
	}
	f.comesThrough()
	if code, a, _ := f.post("/v1/batch", body); code != http.StatusOK {
		t.Fatalf("got %d %+v", code, a)
	}
	ids := map[string]bool{}
	for _, e := range f.stored("live")[before:] {
		ids[e.GetId()] = true
	}
	if got := len(f.stored("live")) - before; len(ids) != 3 || got != 3 {
		t.Errorf("%d events are stored, %d different ones, want 3 of 3", got, len(ids))
	}
}

// "When it is everybody's, all is taken or nothing": parts of many batches would fill the partitions, and no
// batch would ever be whole.
func TestWhenAllAreCrowdedABatchIsTakenAsAWholeOrNotAtAll(t *testing.T) {
	f := newFixture(t)
	f.crowd(1)
	for _, p := range []int{2, 3} {
		for n := range burstUnderWay/2 + 1 {
			f.post("/v1/track", trackOf(f.at(p, n)))
		}
	}
	before := len(f.stored("live"))
	if code, _, _ := f.post("/v1/batch", batchOf(trackOf(f.at(1, 1)), trackOf(f.at(2, 1)), trackOf(f.at(3, 1)))); code != http.StatusTooManyRequests {
		t.Errorf("got %d", code)
	}
	if got := len(f.stored("live")) - before; got != 0 {
		t.Errorf("%d events of the batch are stored", got)
	}
	if code, a, _ := f.post("/v1/batch", batchOf(trackOf(f.at(2, 1)), trackOf(f.at(3, 1)))); code != http.StatusOK {
		t.Errorf("without the partition that is full: %d %+v", code, a)
	}
}

// "If the publisher could not send the same again without its having two effects, all is refused or nothing."
func TestWhatCannotBeRepeatedIsTakenAsAWholeOrNotAtAll(t *testing.T) {
	f := newFixture(t)
	f.crowd(1)
	before := len(f.stored("live"))
	nameless := fmt.Sprintf(`{"type":"track","userId":%q,"event":"a"}`, f.at(2, 1))
	optOut := fmt.Sprintf(`{"type":"track","userId":%q,"event":"consent_withdrawn"}`, f.at(2, 1))
	code, _, _ := f.post("/v1/batch", batchOf(trackOf(f.at(1, 1)), nameless, optOut))
	if code != http.StatusTooManyRequests || len(f.stored("live")) != before || len(f.stored("control")) != 1 {
		t.Errorf("got %d, %d live events stored, %d opt-outs", code, len(f.stored("live"))-before, len(f.stored("control")))
	}
	for range burstUnderWay { // what is refused takes no room
		f.post("/v1/batch", batchOf(trackOf(f.at(1, 1)), nameless))
	}
	if code, a, _ := f.post("/v1/batch", batchOf(nameless)); code != http.StatusOK {
		t.Errorf("alone: %d %+v", code, a)
	}
}

func TestAHotCustomerDoesNotStopItsPartition(t *testing.T) {
	f := newFixture(t, func(c *Config, _ *run.Deps) { c.CustomerRate, c.CustomerBurst = 1, 50 })
	hot, other := f.at(1, 1), f.at(1, 2)
	refused := 0
	for range 100 {
		code, a, header := f.post("/v1/track", trackOf(hot))
		if code == http.StatusTooManyRequests && a.Reason == string(overload.CustomerRate) && header.Get("Retry-After") != "" {
			refused++
		}
	}
	if refused < 40 || refused > 50 {
		t.Errorf("%d of 100 events of the hot customer are refused, want those after a burst of 50", refused)
	}
	if code, a, _ := f.post("/v1/track", trackOf(other)); code != http.StatusOK {
		t.Errorf("another one of the same partition: %d %+v", code, a)
	}
	if code, _, _ := f.post("/v1/track", strings.Replace(trackOf(hot), `"a"`, `"consent_withdrawn"`, 1)); code != http.StatusOK {
		t.Errorf("its opt-out: %d", code)
	}
	if code, _, _ := f.post("/v1/track", trackOf(hot), laneHeader, "bulk"); code != http.StatusOK {
		t.Errorf("its history: %d", code)
	}
}

// "Live events go before bulk ones": a crowded live lane closes bulk, a full bulk lane leaves live alone.
func TestBulkMakesRoomForLive(t *testing.T) {
	f := newFixture(t)
	for n := range burstUnderWay / 2 {
		if code, a, _ := f.post("/v1/track", trackOf(f.at(1, n))); code != http.StatusOK {
			t.Fatalf("got %d %+v", code, a)
		}
	}
	code, a, _ := f.post("/v1/track", trackOf(f.at(1, 1)), laneHeader, "bulk")
	if code != http.StatusTooManyRequests || a.Reason != string(overload.BulkWaits) {
		t.Errorf("bulk in a crowded partition: %d %+v", code, a)
	}
	if code, _, _ := f.post("/v1/track", trackOf(f.at(1, 1))); code != http.StatusOK {
		t.Errorf("live in it: %d", code)
	}
	taken := 0
	for code = http.StatusOK; code == http.StatusOK && taken < 10*burstUnderWay; taken++ {
		code, a, _ = f.post("/v1/track", trackOf(f.at(2, taken)), laneHeader, "bulk")
	}
	if taken != burstUnderWay+1 || a.Reason != string(overload.BulkWaits) {
		t.Errorf("the bulk lane took %d and then said %+v", taken-1, a)
	}
	if code, _, _ := f.post("/v1/track", trackOf(f.at(2, 1))); code != http.StatusOK {
		t.Errorf("live beside a full bulk lane: %d", code)
	}
}

// "Without a look at it": when nothing normal is taken, a body is not even parsed.
func TestWhenAllIsClosedNothingIsParsed(t *testing.T) {
	f := newFixture(t)
	for p := range f.deps.Generation.Partitions {
		f.crowd(p)
	}
	if code, _, _ := f.post("/v1/track", `{"broken`); code != http.StatusTooManyRequests {
		t.Errorf("a broken body: %d, want 429", code)
	}
	if code, _, _ := f.post("/v1/track", `{"consent`); code != http.StatusBadRequest {
		t.Errorf("one that may be an opt-out: %d, want 400", code)
	}
}

// What is not stored takes no room either: a log that is down is not taken for stages that lag.
func TestFailedAppendsLeaveRoom(t *testing.T) {
	down := true
	f := newFixture(t, func(_ *Config, d *run.Deps) {
		d.Broker = failing{d.Broker, func(string) error {
			if down {
				return log.ErrUnknown
			}
			return nil
		}}
	})
	for n := range 2 * burstUnderWay {
		if code, a, _ := f.post("/v1/track", trackOf(f.at(1, n))); code != http.StatusServiceUnavailable {
			t.Fatalf("got %d %+v", code, a)
		}
	}
	down = false
	if code, a, _ := f.post("/v1/track", trackOf(f.at(1, 2))); code != http.StatusOK {
		t.Errorf("when the log is there again: %d %+v", code, a)
	}
}

// Those who are refused together do not come back together.
func TestPublishersAreToldDifferentTimes(t *testing.T) {
	f := newFixture(t)
	f.door.pressure = fixedPressure{full()}
	told := map[float64]bool{}
	for range 10 {
		_, a, _ := f.post("/v1/track", trackJSON)
		told[a.RetryAfter] = true
	}
	if len(told) != 10 {
		t.Errorf("ten publishers were told %d different times", len(told))
	}
}

func TestAStreamThatIsFullSaysSo(t *testing.T) {
	f := newFixture(t, func(_ *Config, d *run.Deps) {
		d.Broker = failing{d.Broker, func(string) error { return log.ErrFull }}
	})
	code, a, header := f.post("/v1/track", consentJSON)
	if code != http.StatusServiceUnavailable || a.Reason != string(overload.StreamFull) || header.Get("Retry-After") == "" {
		t.Errorf("got %d %+v", code, a)
	}
}

// "Ingest never queues without bound": while one append stands still, live is refused, the control lane and
// other partitions are not, and when the log is quick again it is found out by itself.
func TestASlowLogRefusesWhatWouldWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlowStore()
		f := newFixture(t, func(c *Config, _ *run.Deps) { c.StoreWithin *= 100 })
		f.door.committer.store = s
		take := func(event, user string) error {
			items, _, err := parseSegment("track", fmt.Appendf(nil, `{"userId":%q,"event":%q,"messageId":"m"}`, user, event))
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.door.take(t.Context(), submission{tenant: "default", via: viaSegment, items: items})
			return err
		}
		begin := func(event, user string) chan error {
			done := make(chan error, 1)
			go func() { done <- take(event, user) }()
			synctest.Wait()
			return done
		}
		first := begin("a", f.at(1, 1))
		if err := clock.Sleep(t.Context(), clock.Wall{}, time.Second); err != nil {
			t.Fatal(err)
		}
		refused, ok := errors.AsType[*overload.RefusedError](take("a", f.at(1, 2)))
		if !ok || refused.Reason != overload.LogSlow {
			t.Errorf("behind an append that stands still: %v", refused)
		}
		control, other := begin("consent_withdrawn", f.at(1, 1)), begin("a", f.at(2, 1))
		if len(s.entered) != 3 {
			t.Errorf("%d appends are open, want 3", len(s.entered))
		}
		for range 3 {
			s.release <- nil
		}
		if err := errors.Join(<-first, <-control, <-other); err != nil {
			t.Error(err)
		}
		for n := range 20 { // one at a time gets through until the delay is forgotten
			s.release <- nil
			if err := take("a", f.at(1, n)); err != nil {
				t.Fatalf("after the log is quick again: %v", err)
			}
		}
		if f.door.committer.usual > 10*time.Millisecond {
			t.Errorf("an append is still said to take %s", f.door.committer.usual)
		}
		mustWait(t, f.door.committer)
	})
}

// Every entrance says why and when to come again, in its own words.
func TestRefusalsAreTyped(t *testing.T) {
	for name, c := range map[string]struct {
		refused *overload.RefusedError
		code    codes.Code
		http    string
	}{
		"lag":  {&overload.RefusedError{Reason: overload.PartitionLags, Why: "lags", After: 4 * time.Second}, codes.ResourceExhausted, "429"},
		"full": {full(), codes.Unavailable, "503"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.door.pressure = fixedPressure{c.refused}
			s := &rpcEntrance{door: f.door, keys: newKeyring(Default())}
			req := &eventv1.PublishEventsRequest{Events: []*eventv1.Event{{Id: "1", Type: "a", Kind: eventv1.Kind_KIND_TRACK, Identifiers: []*eventv1.Identifier{id("user_id", "u")}}}}
			_, err := s.PublishEvents(t.Context(), req)
			st := rpc.Status(err)
			reason, after := detailsOf(st)
			if st.Code() != c.code || reason != string(c.refused.Reason) || after < c.refused.After/2 || after > c.refused.After*3/2 {
				t.Errorf("gRPC: %v, reason %q, again after %s", st, reason, after)
			}
			header := nats.Header{}
			n := newNATSEntrance(f.door)
			body := string(n.handle(t.Context(), nil, &nats.Msg{Subject: "publish.default", Data: []byte(trackJSON)}, header))
			if header.Get("Nats-Service-Error-Code") != c.http || header.Get("Nats-Service-Error") != string(c.refused.Reason) ||
				header.Get("Retry-After") == "" || !strings.Contains(body, `"reason":"`+string(c.refused.Reason)) {
				t.Errorf("NATS: %v %s", header, body)
			}
		})
	}
}

func detailsOf(st *status.Status) (reason string, after time.Duration) {
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			reason = d.GetReason()
		case *errdetails.RetryInfo:
			after = d.GetRetryDelay().AsDuration()
		}
	}
	return reason, after
}

// With its memory in use ingest reads no more bodies, but receipts and one-click have some of their own.
func TestWithoutMemoryOnlyReceiptsAreRead(t *testing.T) {
	f := newFixture(t, func(c *Config, _ *run.Deps) { c.Memory = leastMemory })
	for {
		if _, err := f.door.gate.Enter(32<<10, overload.Normal); err != nil {
			break
		}
	}
	if code, a, _ := f.post("/v1/batch", batchOf(trackJSON)+strings.Repeat(" ", 100<<10)); code != http.StatusServiceUnavailable || a.Reason != string(overload.IngestBusy) {
		t.Errorf("got %d %+v", code, a)
	}
	if code, _, _ := f.post("/v1/receipts/email", fmt.Sprintf(`{"token":%q,"kind":"delivered"}`, f.token(nil))); code != http.StatusOK {
		t.Errorf("a receipt: %d", code)
	}
	if code, _, _ := f.post("/u/"+f.token(nil), "List-Unsubscribe=One-Click", "Content-Type", "application/x-www-form-urlencoded"); code != http.StatusOK {
		t.Errorf("one-click: %d", code)
	}
}

// "As long as something is under way", and nowhere else.
func TestOnlyPartitionsWithSomethingUnderWayAreLookedAt(t *testing.T) {
	f := newFixture(t)
	asked := &counts{}
	f.door.flows.log = gaugesOf{asked: asked}
	if f.door.flows.look(t.Context()) || len(asked.of) > 0 {
		t.Errorf("an idle ingest asked %v", asked.of)
	}
	f.post("/v1/track", trackOf(f.at(1, 1)))
	f.post("/v1/track", trackOf(f.at(3, 1)), laneHeader, "bulk")
	f.post("/v1/track", strings.Replace(trackOf(f.at(2, 1)), `"a"`, `"consent_withdrawn"`, 1))
	if !f.door.flows.look(t.Context()) || len(asked.of) != 2 || asked.of["vdc.1"] != 1 || asked.of["vdc.3"] != 1 {
		t.Errorf("asked %v, want vdc.1 and vdc.3 once", asked.of)
	}
	f.comesThrough()
	if f.door.flows.look(t.Context()) {
		t.Error("it looks although all is through")
	}
}

// Under a clock that follows the events, waiting for them is no lag.
func TestWithoutTimeThereIsNoLag(t *testing.T) {
	f := newFixture(t)
	f.door.stamper = untimed{f.door.stamper}
	for n := range 2 * burstUnderWay {
		if code, a, _ := f.post("/v1/track", trackOf(f.at(1, n%3))); code != http.StatusOK {
			t.Fatalf("event %d: %d %+v", n, code, a)
		}
	}
}

type untimed struct{ run.Stamper }

func (untimed) Skew() bool { return false }

// Refused items are kept as dead letters, but no flood of them takes the log: those that come while too many
// are on their way are not taken, and kept when they come again.
func TestAFloodOfWrongEventsIsBounded(t *testing.T) {
	f := newFixture(t)
	wrong := func(n int) string { return fmt.Sprintf(`{"type":"track","messageId":"wrong-%d"}`, n) }
	for n := range lettersAtMost + 10 {
		if code, a, _ := f.post("/v1/batch", batchOf(wrong(n))); code != http.StatusOK || len(a.Refused) != 1 {
			t.Fatalf("wrong event %d: %d %+v", n, code, a)
		}
	}
	f.door.letters.open.Add(lettersAtMost)
	before := len(f.letters())
	if code, a, _ := f.post("/v1/batch", batchOf(wrong(-1), trackOf(f.at(1, 1)))); code != http.StatusServiceUnavailable || a.Reason != string(overload.LogSlow) {
		t.Errorf("got %d %+v", code, a)
	}
	if len(f.letters()) != before || len(f.stored("live")) != 1 {
		t.Errorf("%d more letters, %d events", len(f.letters())-before, len(f.stored("live")))
	}
	f.door.letters.open.Add(-lettersAtMost)
	if code, a, _ := f.post("/v1/batch", batchOf(wrong(-1))); code != http.StatusOK || len(a.Refused) != 1 {
		t.Errorf("again: %d %+v", code, a)
	}
}
