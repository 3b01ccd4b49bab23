package dispatchsvc

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/delivery"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/stage"
)

// shelf keeps what is published.
type shelf struct {
	subjects []string
	data     [][]byte
}

func (s *shelf) Publish(_ context.Context, subject string, data []byte) (uint64, error) {
	s.subjects, s.data = append(s.subjects, subject), append(s.data, data)
	return uint64(len(s.data)), nil
}

// orphaned publishes a result that came too late and returns the letter that the profile stage makes of it.
func orphaned(t *testing.T, result any) []byte {
	t.Helper()
	s := &shelf{}
	if err := (orphans{publisher: s, clock: clock.Wall{}}).Orphan(t.Context(), 3, "send/p/1", key(), result); err != nil {
		t.Fatal(err)
	}
	if len(s.data) == 0 {
		return nil
	}
	all, e := &stagev1.Arrivals{}, &eventv1.Event{}
	if err := all.UnmarshalVT(s.data[0]); err != nil {
		t.Fatal(err)
	}
	if err := e.UnmarshalVT(all.GetItems()[0].GetPayload()); err != nil {
		t.Fatal(err)
	}
	if s.subjects[0] != "evt.control.3" || e.GetKind() != eventv1.Kind_KIND_RECEIPT || e.GetTenant() != "default" {
		t.Errorf("published on %s: %v", s.subjects[0], e)
	}
	if problems := event.Validate(e); len(problems) == 0 {
		t.Error("the door would let a publisher send one")
	}
	return e.GetReceipt()
}

func (r *rig) letter(payload []byte) {
	r.t.Helper()
	r.input(stage.Input{Source: stage.FromBox, Name: "box.dispatch", Payload: payload})
}

func providerReport(t *testing.T, kind eventv1.OutcomeKind) []byte {
	t.Helper()
	data, err := (&dispatchv1.Receipt{
		Tenant: "default", Customer: customer(), Proposal: "p", Cause: "r1",
		Report: &dispatchv1.Receipt_Provider{Provider: kind},
	}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A call's result reaches a process that has lost the partition: its next owner, which would have had to call it
// in doubt, learns it as a receipt.
func TestAResultThatComesTooLateIsNotLost(t *testing.T) {
	full := delivery.Result{
		Attempt: 1, Status: dispatchv1.Status_STATUS_UNSENT, Transient: true, Again: true, RetryAfter: time.Minute, ProfileVersion: 7,
		Reasons: []*reasonv1.Reason{{Code: reasonv1.Code_CODE_PROVIDER_THROTTLED, Evidence: []string{"HTTP 429"}}},
	}
	if got := resultOf(callResult(full)); !cmp.Equal(full, got, cmp.Comparer(func(a, b *reasonv1.Reason) bool { return a.EqualVT(b) })) {
		t.Errorf("on its way a result became %+v, was %+v", got, full)
	}
	if data := orphaned(t, paceResult{proposal: "p"}); data != nil {
		t.Error("room in a channel of a process that has lost the partition was published")
	}
	for _, tt := range []struct {
		result sendResult
		want   dispatchv1.Status
	}{
		{sent(1, dispatchv1.Status_STATUS_ACCEPTED, false), dispatchv1.Status_STATUS_ACCEPTED},
		{sent(1, dispatchv1.Status_STATUS_REJECTED, false), dispatchv1.Status_STATUS_REJECTED},
		{sent(1, dispatchv1.Status_STATUS_UNSENT, true), dispatchv1.Status_STATUS_QUEUED},
		{sent(1, dispatchv1.Status_STATUS_UNKNOWN, false), dispatchv1.Status_STATUS_UNKNOWN},
	} {
		r := newRig(t)
		r.before(verdict("email", time.Hour))
		r.answer(paceResult{proposal: "p"})
		r.crash()
		letter := orphaned(t, tt.result)
		r.letter(letter)
		r.status(tt.want)
		facts := len(r.facts)
		r.letter(letter)
		if r.status(tt.want); len(r.facts) != facts {
			t.Errorf("a repeat led to %v", r.facts[facts:])
		}
	}
}

// An UNKNOWN is resolved by what its provider reports, once; the timeline says so, and nothing is sent again.
func TestAReceiptResolvesWhatIsInDoubt(t *testing.T) {
	r := newRig(t)
	r.before(verdict("email", time.Hour))
	r.answer(paceResult{proposal: "p"})
	r.crash()
	r.timer()
	r.status(dispatchv1.Status_STATUS_UNKNOWN)
	for range 2 {
		r.letter(providerReport(t, eventv1.OutcomeKind_OUTCOME_KIND_DELIVERED))
	}
	r.letter(providerReport(t, eventv1.OutcomeKind_OUTCOME_KIND_BOUNCED))
	r.letter(providerReport(t, eventv1.OutcomeKind_OUTCOME_KIND_OPENED))
	r.letter(providerReport(t, eventv1.OutcomeKind_OUTCOME_KIND_DELIVERED))
	r.status(dispatchv1.Status_STATUS_ACCEPTED)
	if got := r.only().GetReceipt(); got != eventv1.OutcomeKind_OUTCOME_KIND_BOUNCED {
		t.Errorf("receipt = %v, want the greatest", got)
	}
	if diff := cmp.Diff([]string{"delivery_queued", "delivery_unknown", "delivery_accepted"}, r.whats()); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
	reports, records := 0, 0
	for _, f := range r.facts {
		if f.GetDeliveryReported() != nil {
			reports++
		}
		if f.GetReceiptRecorded() != nil {
			records++
		}
	}
	if reports != 1 || records != 2 || len(r.calls) != 0 || !r.wake.IsZero() {
		t.Errorf("%d reports, %d records, calls %v, wake %v; want 1, 2, none and none", reports, records, r.calls, r.wake)
	}
}

// Receipts of nobody's delivery, and garbage, change nothing; garbage goes to the dead letters.
func TestReceiptsOfNothing(t *testing.T) {
	r := newRig(t)
	r.letter(providerReport(t, eventv1.OutcomeKind_OUTCOME_KIND_DELIVERED))
	if r.row != nil {
		t.Error("a receipt made a row")
	}
	for _, payload := range [][]byte{nil, []byte("garbage"), {0x0a, 0x01}} {
		if _, err := r.fold.Needs(stage.Input{Source: stage.FromBox, Name: "box.dispatch", Payload: payload}, time.Time{}); err == nil {
			t.Errorf("%q was taken for a receipt", payload)
		}
	}
}

// A dead letter of a receipt comes back as a receipt, one of a verdict as a verdict.
func TestRedrivenReceipts(t *testing.T) {
	r := newRig(t)
	r.before(verdict("email", time.Hour))
	r.answer(paceResult{proposal: "p"})
	in := stage.Input{Source: stage.FromRedrive, Redriven: "box.dispatch", Payload: providerReport(t, eventv1.OutcomeKind_OUTCOME_KIND_DELIVERED)}
	r.input(in)
	r.status(dispatchv1.Status_STATUS_ACCEPTED)
	fresh := newRig(t)
	fact, err := verdict("email", time.Hour).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	fresh.input(stage.Input{Source: stage.FromRedrive, Redriven: "vdc", Facts: [][]byte{fact}})
	fresh.status(dispatchv1.Status_STATUS_QUEUED)
}

// The provider that is asked is the one that was called, whatever the catalog says by now.
func TestALookUpGoesToTheProviderThatWasCalled(t *testing.T) {
	r := newRig(t)
	r.before(verdict("lines", time.Hour))
	r.answer(paceResult{proposal: "p"})
	r.crash()
	r.revision = "r2"
	for len(r.calls) == 0 {
		r.timer()
	}
	if c := r.call("look/p/1"); c.Request.(lookRequest).revision != "r1" {
		t.Errorf("looked up under %s, want r1", c.Request.(lookRequest).revision)
	}
}
