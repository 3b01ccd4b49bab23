package delivery_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/delivery"
)

const (
	delivered  = eventv1.OutcomeKind_OUTCOME_KIND_DELIVERED
	bounced    = eventv1.OutcomeKind_OUTCOME_KIND_BOUNCED
	complained = eventv1.OutcomeKind_OUTCOME_KIND_COMPLAINED
	clicked    = eventv1.OutcomeKind_OUTCOME_KIND_CLICK
	opened     = eventv1.OutcomeKind_OUTCOME_KIND_OPENED
)

func found(r delivery.Result, m delivery.Moment) input {
	return func(s *dispatchv1.State) delivery.Step { return delivery.Found(s, "p", r, m) }
}

func reported(k eventv1.OutcomeKind, m delivery.Moment) input {
	return func(s *dispatchv1.State) delivery.Step { return delivery.Reported(s, "p", k, m) }
}

func is(status dispatchv1.Status, attempt uint32) delivery.Result {
	r := delivery.Result{Attempt: attempt, Status: status}
	if status == dispatchv1.Status_STATUS_UNSENT || status == dispatchv1.Status_STATUS_REJECTED {
		r.Reasons = reasons(reasonv1.Code_CODE_PROVIDER_REJECTED)
	}
	if status == dispatchv1.Status_STATUS_ACCEPTED {
		r.ProviderID = "id"
	}
	return r
}

// What a receipt makes of a delivery, by where it stands.
func TestReceipts(t *testing.T) {
	const (
		queued, intent   = dispatchv1.Status_STATUS_QUEUED, dispatchv1.Status_STATUS_INTENT
		accepted         = dispatchv1.Status_STATUS_ACCEPTED
		rejected, unsent = dispatchv1.Status_STATUS_REJECTED, dispatchv1.Status_STATUS_UNSENT
		unknown          = dispatchv1.Status_STATUS_UNKNOWN
	)
	again := is(unsent, 1)
	again.Transient = true
	begun := []input{queue("mail", time.Hour, at(0, 1)), paced(0, at(0, 1))}
	onFile := []input{queue("file", time.Hour, at(0, 1)), paced(0, at(0, 1))}
	after := func(r delivery.Result) []input { return append(begun[:2:2], report(r, at(1, 1))) }
	m := at(time.Minute, 2)
	tests := map[string]struct {
		before []input
		in     input
		want   dispatchv1.Status
		report dispatchv1.Status // in DeliveryReported; unspecified: none
		record bool              // ReceiptRecorded
	}{
		"the old owner's call was accepted":              {begun, found(is(accepted, 1), m), accepted, accepted, false},
		"the old owner's call proves unsent":             {begun, found(again, m), queued, queued, false},
		"the old owner does not know":                    {begun, found(is(unknown, 1), m), unknown, unknown, false},
		"the old owner does not know, the channel does":  {onFile, found(is(unknown, 1), m), intent, 0, false},
		"a result of another attempt":                    {begun, found(is(accepted, 2), m), intent, 0, false},
		"in doubt, then accepted":                        {after(is(unknown, 1)), found(is(accepted, 1), m), accepted, 0, true},
		"in doubt, then refused":                         {after(is(unknown, 1)), found(is(rejected, 1), m), rejected, 0, true},
		"in doubt, then unsent: not sent again":          {after(is(unknown, 1)), found(again, m), unsent, 0, true},
		"in doubt, then delivered":                       {after(is(unknown, 1)), reported(delivered, m), accepted, 0, true},
		"in doubt, then bounced":                         {after(is(unknown, 1)), reported(bounced, m), accepted, 0, true},
		"in doubt, then opened":                          {after(is(unknown, 1)), reported(opened, m), accepted, 0, true},
		"in doubt, then clicked":                         {after(is(unknown, 1)), reported(clicked, m), unknown, 0, false},
		"accepted, then said to be unsent":               {after(is(accepted, 1)), found(is(unsent, 1), m), accepted, 0, false},
		"accepted, then accepted":                        {after(is(accepted, 1)), found(is(accepted, 1), m), accepted, 0, false},
		"accepted, then delivered":                       {after(is(accepted, 1)), reported(delivered, m), accepted, 0, true},
		"refused, then delivered":                        {after(is(rejected, 1)), reported(delivered, m), accepted, 0, true},
		"to be tried again, and delivered":               {after(again), reported(delivered, m), accepted, accepted, false},
		"to be tried again, and the first call accepted": {after(again), found(is(accepted, 1), m), accepted, accepted, false},
		"the call is under way, and delivered":           {begun, reported(delivered, m), accepted, accepted, false},
		"never declared, and delivered":                  {begun[:1], reported(delivered, m), queued, 0, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d, step := one(t, append(slices.Clip(tt.before), tt.in)...)
			if d.GetStatus() != tt.want {
				t.Errorf("status = %v, want %v", d.GetStatus(), tt.want)
			}
			var report dispatchv1.Status
			record := false
			for _, f := range step.Facts {
				report = max(report, f.GetDeliveryReported().GetStatus())
				if r := f.GetReceiptRecorded(); r != nil {
					record = r.GetStatus() == tt.want
				}
			}
			if report != tt.report || record != tt.record {
				t.Errorf("facts = %v, want a report of %v, and a record: %v", step.Facts, tt.report, tt.record)
			}
			if len(step.Asks) != 0 {
				t.Errorf("asks = %v: a receipt never sends", step.Asks)
			}
			if _, repeat := one(t, append(slices.Clip(tt.before), tt.in, tt.in)...); repeat.State != nil {
				t.Errorf("a repeat changed %v", repeat.State)
			}
		})
	}
}

// Receipts about what has ended are a lattice: in whatever order they come, and however often, the end is one.
func TestTheOrderOfReceiptsDoesNotMatter(t *testing.T) {
	all := []input{
		reported(delivered, at(time.Minute, 1)), reported(bounced, at(time.Minute, 1)), reported(complained, at(time.Minute, 1)),
		found(is(dispatchv1.Status_STATUS_ACCEPTED, 1), at(time.Minute, 1)),
		found(is(dispatchv1.Status_STATUS_UNSENT, 1), at(time.Minute, 1)),
		found(is(dispatchv1.Status_STATUS_UNKNOWN, 1), at(time.Minute, 1)),
	}
	ended := []input{
		queue("mail", time.Hour, at(0, 1)), paced(0, at(0, 1)),
		report(delivery.Result{Attempt: 1, Status: dispatchv1.Status_STATUS_UNKNOWN}, at(time.Second, 1)),
	}
	rapid.Check(t, func(rt *rapid.T) {
		some := rapid.SliceOfN(rapid.IntRange(0, len(all)-1), 1, 6).Draw(rt, "receipts")
		other := rapid.Permutation(append(some, rapid.SliceOf(rapid.SampledFrom(some)).Draw(rt, "repeats")...)).Draw(rt, "another order")
		play := func(order []int) *dispatchv1.Delivery {
			inputs := slices.Clip(ended)
			for _, n := range order {
				inputs = append(inputs, all[n])
			}
			d, _ := one(t, inputs...)
			return d
		}
		if diff := cmp.Diff(play(some), play(other), protocmp.Transform()); diff != "" {
			rt.Fatalf("%v and %v end otherwise:\n%s", some, other, diff)
		}
	})
}

// A channel may get a shorter time-out while a call is under way: the call is believed over by what the channel
// was when it was declared.
func TestACallSettlesByWhatItsChannelWas(t *testing.T) {
	short := func(m delivery.Moment) delivery.Moment {
		m.Revision, m.Channels = "r2", func(string) delivery.Channel {
			return delivery.Channel{Settle: time.Second, Watch: time.Second}
		}
		return m
	}
	settle := channels("mail").Settle
	begun := []input{queue("mail", 24*time.Hour, at(0, 1)), paced(0, at(0, 1))}
	d, step := one(t, append(begun, due(short(at(settle-time.Second, 2))))...)
	if step.State != nil || d.GetRevision() != "r1" {
		t.Errorf("before it settled: %v of revision %s, want nothing done", step.State, d.GetRevision())
	}
	state := &dispatchv1.State{Deliveries: []*dispatchv1.Delivery{d}}
	if wake := delivery.Wake(state, short(at(2*time.Second, 2))); !wake.Equal(start.Add(settle)) {
		t.Errorf("wake = %v, want when it settles, %v", wake, start.Add(settle))
	}
	if d, _ := one(t, append(begun, due(short(at(settle, 2))))...); d.GetStatus() != dispatchv1.Status_STATUS_UNKNOWN {
		t.Errorf("after it settled: %v, want UNKNOWN", d.GetStatus())
	}
}
