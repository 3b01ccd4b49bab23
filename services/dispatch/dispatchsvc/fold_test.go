package dispatchsvc

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/delivery"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/stage"
)

var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func customer() []byte { return []byte("0123456789abcdef") }

func key() string { return identity.CustomerKey("default", customer()) }

// fixedCatalogs has one catalog for every revision.
type fixedCatalogs struct{ definitions Definitions }

func (f fixedCatalogs) At(revision, _ string) (Definitions, bool) {
	d := f.definitions
	d.Revision = revision
	return d, true
}

func (f fixedCatalogs) Prepare(context.Context, string) error { return nil }

func channelsOf(list map[string]string) map[string]*definitionv1.Channel {
	out := map[string]*definitionv1.Channel{}
	for name, adapter := range list {
		out[name] = &definitionv1.Channel{Adapter: adapter, Timeout: "PT1S"}
	}
	return out
}

// rig plays the runtime for one row: it keeps the state, the facts, the wake-up and the calls asked for.
type rig struct {
	t     *testing.T
	fold  *fold
	now   time.Time
	epoch uint64

	revision string

	row   []byte
	wake  time.Time
	facts []*dispatchv1.Fact
	lines []*profilev1.TimelineEntry
	calls []stage.Call
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return &rig{t: t, now: start, epoch: 1, revision: "r1", fold: &fold{catalogs: fixedCatalogs{Definitions{
		Channels: channelsOf(map[string]string{"email": "smtp", "lines": "file"}),
	}}}}
}

// Own implements stage.Rows.
func (r *rig) Own(string) []byte { return r.row }

// Has implements stage.Rows.
func (r *rig) Has(string, string) bool { return false }

// Foreign implements stage.Rows.
func (r *rig) Foreign(string, string) ([]byte, bool) { return nil, false }

func (r *rig) env() stage.Env { return stage.Env{Now: r.now, Epoch: r.epoch, Revision: r.revision} }

func (r *rig) input(in stage.Input) {
	r.t.Helper()
	if in.At.IsZero() {
		in.At = r.now
	}
	if in.Source != stage.FromBox {
		in.Key = key()
	}
	if _, err := r.fold.Needs(in, time.Time{}); err != nil {
		r.t.Fatalf("needs: %v", err)
	}
	out, err := r.fold.Decide(in, r, r.env())
	if err != nil {
		r.t.Fatalf("decide: %v", err)
	}
	again, err := r.fold.Decide(in, r, r.env())
	if diff := cmp.Diff(out, again, protocmp.Transform(), cmp.AllowUnexported(paceRequest{}, sendRequest{}, lookRequest{}, job{})); diff != "" || err != nil {
		r.t.Fatalf("equal arguments gave different outcomes (%v):\n%s", err, diff)
	}
	r.store(out)
}

func (r *rig) store(out stage.Outcome) {
	r.t.Helper()
	for _, c := range out.Cells {
		if c.State != nil {
			r.row, r.wake = c.State, c.Wake
		}
		for _, data := range c.Facts {
			f := &dispatchv1.Fact{}
			if err := f.UnmarshalVT(data); err != nil {
				r.t.Fatal(err)
			}
			r.facts = append(r.facts, f)
		}
		for _, d := range c.Deltas {
			if d.GetKind() != stagev1.DeltaKind_DELTA_KIND_APPEND {
				continue
			}
			line := &profilev1.TimelineEntry{}
			if err := line.UnmarshalVT(d.GetValue()); err != nil || d.GetName() != key()+"/timeline" {
				r.t.Fatalf("delta %q: %v", d.GetName(), err)
			}
			r.lines = append(r.lines, line)
		}
	}
	r.calls = append(r.calls, out.Calls...)
	if d := r.only(); d != nil && !delivery.Closed(d.GetStatus()) && r.wake.IsZero() {
		r.t.Fatalf("an open delivery without a wake-up: %v", d)
	}
}

func (r *rig) only() *dispatchv1.Delivery {
	s := &dispatchv1.State{}
	if err := s.UnmarshalVT(r.row); err != nil {
		r.t.Fatal(err)
	}
	if len(s.GetDeliveries()) == 0 {
		return nil
	}
	return s.GetDeliveries()[len(s.GetDeliveries())-1]
}

func verdict(channel string, left time.Duration) *contactv1.Fact {
	return &contactv1.Fact{Fact: &contactv1.Fact_VerdictGiven{VerdictGiven: &contactv1.VerdictGiven{
		Kind:      contactv1.VerdictKind_VERDICT_KIND_APPROVED,
		Request:   &decisionv1.DispatchTreatment{Proposal: &decisionv1.Proposal{Id: "p", Action: "welcome", Purpose: "marketing"}},
		Treatment: &decisionv1.TreatmentRef{Id: "mail", Channel: channel, Topic: "news"},
		NotAfter:  timestamppb.New(start.Add(left)),
	}}}
}

func (r *rig) before(facts ...*contactv1.Fact) {
	r.t.Helper()
	in := stage.Input{Source: stage.FromBefore, Name: "vdc"}
	for _, f := range facts {
		data, err := f.MarshalVT()
		if err != nil {
			r.t.Fatal(err)
		}
		in.Facts = append(in.Facts, data)
	}
	r.input(in)
}

// call takes the one call that is waiting; its id must be as wanted.
func (r *rig) call(id string) stage.Call {
	r.t.Helper()
	if len(r.calls) != 1 || r.calls[0].ID != id {
		r.t.Fatalf("calls = %v, want %s", r.calls, id)
	}
	c := r.calls[0]
	r.calls = nil
	return c
}

func (r *rig) answer(result any) {
	r.t.Helper()
	r.input(stage.Input{Source: stage.FromCall, Name: "call", Request: result})
}

func (r *rig) timer() {
	r.t.Helper()
	if r.wake.IsZero() {
		r.t.Fatal("no wake-up")
	}
	if r.wake.After(r.now) {
		r.now = r.wake
	}
	r.input(stage.Input{Source: stage.FromTimer, Name: "timer"})
}

// crash loses the calls that are under way and takes the partition over.
func (r *rig) crash() { r.epoch++; r.calls = nil; r.look() }

// look looks at the row, whose wake-up is not due, after a takeover.
func (r *rig) look() {
	r.t.Helper()
	r.input(stage.Input{Source: stage.FromTimer, Name: "timer", At: r.wake})
}

func (r *rig) status(want dispatchv1.Status) {
	r.t.Helper()
	if got := r.only().GetStatus(); got != want {
		r.t.Fatalf("status = %v, want %v", got, want)
	}
}

func (r *rig) whats() []string {
	var out []string
	for _, l := range r.lines {
		out = append(out, l.GetWhat())
	}
	return out
}

func sent(attempt uint32, status dispatchv1.Status, transient bool) sendResult {
	return sendResult{proposal: "p", result: delivery.Result{Attempt: attempt, Status: status, Transient: transient, ProviderID: "x", ProfileVersion: 7}}
}

func TestFromApprovalToAcceptance(t *testing.T) {
	r := newRig(t)
	r.before(verdict("email", time.Hour))
	pace := r.call("pace/p/0").Request.(paceRequest)
	if pace.proposal.GetId() != "p" || pace.revision != "r1" || !pace.notAfter.Equal(start.Add(time.Hour)) {
		t.Errorf("pace request = %+v", pace)
	}
	r.answer(paceResult{proposal: "p"})
	send := r.call("send/p/1").Request.(sendRequest)
	if send.attempt != 1 || send.treatment.GetTopic() != "news" || send.tenant != "default" || string(send.customer) != string(customer()) {
		t.Errorf("send request = %+v", send)
	}
	r.now = r.now.Add(time.Second)
	r.answer(sent(1, dispatchv1.Status_STATUS_ACCEPTED, false))
	r.status(dispatchv1.Status_STATUS_ACCEPTED)
	if len(r.facts) != 3 || r.facts[2].GetDeliveryReported().GetProviderId() != "x" || r.facts[2].GetDeliveryReported().GetProfileVersion() != 7 {
		t.Errorf("facts = %v", r.facts)
	}
	if diff := cmp.Diff([]string{"delivery_queued", "delivery_accepted"}, r.whats()); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
	if l := r.lines[1]; l.GetSubject() != "welcome" || l.GetChannel() != "email" || l.GetId() != "p" || l.GetStage() != "dispatch" {
		t.Errorf("line = %v", l)
	}
	if !r.wake.IsZero() {
		t.Errorf("wake = %v after the end, want none", r.wake)
	}
}

func TestARepeatedApprovalChangesNothing(t *testing.T) {
	r := newRig(t)
	for range 3 {
		r.before(verdict("email", time.Hour), verdict("email", 2*time.Hour))
	}
	r.call("pace/p/0")
	if len(r.facts) != 1 {
		t.Errorf("facts = %v, want one", r.facts)
	}
}

func TestWithdrawalBeforeAndAfterTheIntent(t *testing.T) {
	withdrawn := &contactv1.Fact{Fact: &contactv1.Fact_ApprovalWithdrawn{ApprovalWithdrawn: &contactv1.ApprovalWithdrawn{
		Proposal: "p", Reason: &reasonv1.Reason{Code: reasonv1.Code_CODE_WITHDRAWN},
	}}}
	r := newRig(t)
	r.before(verdict("email", time.Hour))
	r.before(withdrawn)
	r.status(dispatchv1.Status_STATUS_UNSENT)
	r.answer(paceResult{proposal: "p"})
	r.status(dispatchv1.Status_STATUS_UNSENT)

	r = newRig(t)
	r.before(verdict("email", time.Hour))
	r.answer(paceResult{proposal: "p"})
	r.before(withdrawn)
	r.status(dispatchv1.Status_STATUS_INTENT)
	r.answer(sent(1, dispatchv1.Status_STATUS_ACCEPTED, false))
	r.status(dispatchv1.Status_STATUS_ACCEPTED)
}

func TestAProvablyUnsentDeliveryIsTriedAgain(t *testing.T) {
	r := newRig(t)
	r.before(verdict("email", time.Hour))
	r.answer(paceResult{proposal: "p"})
	r.answer(sent(1, dispatchv1.Status_STATUS_UNSENT, true))
	r.status(dispatchv1.Status_STATUS_QUEUED)
	r.calls = nil
	r.timer()
	if !r.now.Equal(start.Add(30 * time.Second)) {
		t.Errorf("tried again at %v, want after 30 s", r.now)
	}
	r.call("pace/p/1")
	r.answer(paceResult{proposal: "p", attempt: 1})
	r.call("send/p/2")
	r.answer(sent(1, dispatchv1.Status_STATUS_REJECTED, false)) // of an attempt that is over
	r.status(dispatchv1.Status_STATUS_INTENT)
	r.answer(sent(2, dispatchv1.Status_STATUS_ACCEPTED, false))
	r.status(dispatchv1.Status_STATUS_ACCEPTED)
}

func TestABusyChannelWithinTheApproval(t *testing.T) {
	r := newRig(t)
	r.before(verdict("email", time.Minute))
	busy := delivery.Result{Status: dispatchv1.Status_STATUS_UNSENT, Transient: true}
	r.answer(paceResult{proposal: "p", failure: &busy})
	r.status(dispatchv1.Status_STATUS_QUEUED)
	if len(r.facts) != 1 {
		t.Errorf("facts = %v: waiting for room is no fact", r.facts)
	}
	r.calls = nil
	r.timer()
	r.call("pace/p/0")
	r.answer(paceResult{proposal: "p", failure: &busy})
	r.status(dispatchv1.Status_STATUS_UNSENT)
}

// The process dies between any two lines; the next one ends the delivery with at most one call.
func TestCrashes(t *testing.T) {
	tests := map[string]struct {
		channel string
		until   int // how many answers come before the crash
		found   bool
		want    dispatchv1.Status
	}{
		"before pacing":                       {"email", 0, false, dispatchv1.Status_STATUS_ACCEPTED},
		"before pacing to a file":             {"lines", 0, false, dispatchv1.Status_STATUS_ACCEPTED},
		"after the intent":                    {"email", 1, false, dispatchv1.Status_STATUS_UNKNOWN},
		"after the intent to a file, unsent":  {"lines", 1, false, dispatchv1.Status_STATUS_ACCEPTED},
		"after the intent to a file, written": {"lines", 1, true, dispatchv1.Status_STATUS_ACCEPTED},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.before(verdict(tt.channel, time.Hour))
			if tt.until == 1 {
				r.answer(paceResult{proposal: "p"})
			}
			r.crash()
			sends := 0
			for n := 0; !delivery.Closed(r.only().GetStatus()); n++ {
				if n > 20 {
					t.Fatalf("does not end: %v", r.only())
				}
				if len(r.calls) == 0 {
					r.timer()
					continue
				}
				c := r.calls[0]
				r.calls = r.calls[1:]
				switch q := c.Request.(type) {
				case paceRequest:
					r.answer(paceResult{proposal: "p", attempt: q.attempt})
				case sendRequest:
					sends++
					r.answer(sent(q.attempt, dispatchv1.Status_STATUS_ACCEPTED, false))
				case lookRequest:
					if tt.found {
						r.answer(sent(q.attempt, dispatchv1.Status_STATUS_ACCEPTED, false))
					} else {
						r.answer(sent(q.attempt, dispatchv1.Status_STATUS_UNSENT, true))
					}
				}
			}
			r.status(tt.want)
			if wantSends := map[bool]int{true: 0, false: 1}[tt.found || tt.want == dispatchv1.Status_STATUS_UNKNOWN]; sends != wantSends {
				t.Errorf("sends after the crash = %d, want %d", sends, wantSends)
			}
		})
	}
}

// Whatever a delivery waits for, its row is written when something changes, and only then.
func TestADeliveryThatWaitsIsNotWritten(t *testing.T) {
	r := newRig(t)
	r.before(verdict("email", time.Hour))
	if want := start.Add(time.Hour); !r.wake.Equal(want) {
		t.Fatalf("wake while pacing is under way: %v, want the end of the approval %v", r.wake, want)
	}
	r.calls = nil
	quiet := func(what string) {
		t.Helper()
		out, err := r.fold.Decide(stage.Input{Source: stage.FromTimer, Name: "timer", Key: key(), At: r.wake}, r, r.env())
		if err != nil || len(out.Cells)+len(out.Calls) != 0 {
			t.Errorf("%s: a look wrote %v and asked for %v (%v)", what, out.Cells, out.Calls, err)
		}
	}
	quiet("pacing is under way")
	r.crash()
	r.call("pace/p/0")
	quiet("pacing was asked for again")
	r.answer(paceResult{proposal: "p", failure: &delivery.Result{Status: dispatchv1.Status_STATUS_UNSENT, Transient: true, Reasons: []*reasonv1.Reason{{Code: reasonv1.Code_CODE_PROVIDER_THROTTLED}}}})
	r.epoch++
	quiet("it is to be tried again later")
}

func TestATimerWithACallUnderWayOnlyRearms(t *testing.T) {
	r := newRig(t)
	r.before(verdict("email", time.Hour))
	r.answer(paceResult{proposal: "p"})
	r.calls = nil
	r.timer()
	r.status(dispatchv1.Status_STATUS_INTENT)
	if len(r.calls) != 0 || !r.wake.After(r.now) {
		t.Errorf("calls = %v, wake %v at %v", r.calls, r.wake, r.now)
	}
}

func TestRedriveIsLikeTheFirstTime(t *testing.T) {
	r := newRig(t)
	data, _ := verdict("email", time.Hour).MarshalVT()
	r.now = start.Add(2 * time.Hour)
	r.input(stage.Input{Source: stage.FromRedrive, Name: "redrive.dispatch", Redriven: "vdc", Facts: [][]byte{data}})
	r.status(dispatchv1.Status_STATUS_UNSENT)
}

func TestGaps(t *testing.T) {
	r := newRig(t)
	r.before(verdict("email", time.Hour))
	r.answer(paceResult{proposal: "p"})
	out := r.fold.Gap(stage.Input{Source: stage.FromCall, ID: "send/p/1", Key: key()}, r, r.env(), "dl-1")
	r.store(out)
	r.status(dispatchv1.Status_STATUS_UNKNOWN)
	if got := r.lines[len(r.lines)-1]; got.GetWhat() != "gap_noted" || got.GetId() != "dl-1" {
		t.Errorf("last line = %v", got)
	}
	if out := r.fold.Gap(stage.Input{Source: stage.FromBefore, Key: "nonsense"}, r, r.env(), "dl-2"); len(out.Cells) != 0 {
		t.Errorf("a gap about nobody wrote %v", out)
	}
}

func TestWhatCannotBeUnderstood(t *testing.T) {
	r := newRig(t)
	if _, err := r.fold.Needs(stage.Input{Key: "nonsense"}, time.Time{}); err == nil {
		t.Error("a key that is none has no error")
	}
	in := stage.Input{Source: stage.FromBefore, Key: key(), Facts: [][]byte{{0xff}}}
	if _, err := r.fold.Decide(in, r, r.env()); err == nil {
		t.Error("a fact that is none has no error")
	}
}
