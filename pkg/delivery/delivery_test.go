package delivery_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/delivery"
)

const settle = 40 * time.Second

var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func channels(name string) delivery.Channel {
	return delivery.Channel{Settle: settle, Watch: settle, LooksUp: name == "file"}
}

func at(d time.Duration, epoch uint64) delivery.Moment {
	return delivery.Moment{Now: start.Add(d), Epoch: epoch, Revision: "r1", Channels: channels}
}

func approval(proposal, channel string, notAfter time.Duration) *contactv1.VerdictGiven {
	return &contactv1.VerdictGiven{
		Kind:      contactv1.VerdictKind_VERDICT_KIND_APPROVED,
		Request:   &decisionv1.DispatchTreatment{Proposal: &decisionv1.Proposal{Id: proposal, Action: "welcome"}},
		Treatment: &decisionv1.TreatmentRef{Id: "mail", Channel: channel},
		NotAfter:  timestamppb.New(start.Add(notAfter)),
	}
}

func reasons(codes ...reasonv1.Code) []*reasonv1.Reason {
	var list []*reasonv1.Reason
	for _, c := range codes {
		list = append(list, &reasonv1.Reason{Code: c})
	}
	return list
}

func codes(list []*reasonv1.Reason) []reasonv1.Code {
	var out []reasonv1.Code
	for _, r := range list {
		out = append(out, r.GetCode())
	}
	return out
}

// one plays inputs against a single proposal p and returns its delivery and what the last input led to.
func one(t *testing.T, inputs ...func(*dispatchv1.State) delivery.Step) (*dispatchv1.Delivery, delivery.Step) {
	t.Helper()
	state := &dispatchv1.State{Tenant: "default"}
	var last delivery.Step
	for _, in := range inputs {
		before := state.CloneVT()
		last = in(state)
		if diff := cmp.Diff(before, state, protocmp.Transform()); diff != "" {
			t.Fatalf("an input changed its argument:\n%s", diff)
		}
		if last.State != nil {
			state = last.State
		}
	}
	if len(state.GetDeliveries()) != 1 {
		t.Fatalf("deliveries = %d, want 1", len(state.GetDeliveries()))
	}
	return state.GetDeliveries()[0], last
}

type input = func(*dispatchv1.State) delivery.Step

func queue(channel string, notAfter time.Duration, m delivery.Moment) input {
	return func(s *dispatchv1.State) delivery.Step { return delivery.Queue(s, approval("p", channel, notAfter), m) }
}

func paced(attempt uint32, m delivery.Moment) input {
	return func(s *dispatchv1.State) delivery.Step { return delivery.Paced(s, "p", attempt, m) }
}

func report(r delivery.Result, m delivery.Moment) input {
	return func(s *dispatchv1.State) delivery.Step { return delivery.Report(s, "p", r, m) }
}

func due(m delivery.Moment) input {
	return func(s *dispatchv1.State) delivery.Step { return delivery.Due(s, m) }
}

func withdraw(m delivery.Moment) input {
	return func(s *dispatchv1.State) delivery.Step {
		return delivery.Withdraw(s, &contactv1.ApprovalWithdrawn{
			Proposal: "p", Reason: &reasonv1.Reason{Code: reasonv1.Code_CODE_WITHDRAWN},
		}, m)
	}
}

func TestTransitions(t *testing.T) {
	unsent := func(attempt uint32) delivery.Result {
		return delivery.Result{
			Attempt: attempt, Status: dispatchv1.Status_STATUS_UNSENT, Transient: true,
			Reasons: reasons(reasonv1.Code_CODE_PROVIDER_THROTTLED),
		}
	}
	tests := []struct {
		name    string
		inputs  []input
		status  dispatchv1.Status
		attempt uint32
		reasons []reasonv1.Code
		facts   int
		asks    []delivery.AskKind
	}{
		{
			name: "an approval is queued and pacing asked for", inputs: []input{queue("mail", time.Hour, at(0, 1))},
			status: dispatchv1.Status_STATUS_QUEUED, facts: 1, asks: []delivery.AskKind{delivery.AskPace},
		},
		{
			name: "an approval that is over ends at once", inputs: []input{queue("mail", 0, at(0, 1))},
			status: dispatchv1.Status_STATUS_UNSENT, facts: 2, reasons: []reasonv1.Code{reasonv1.Code_CODE_APPROVAL_EXPIRED},
		},
		{
			name: "room in the channel declares the intent", inputs: []input{queue("mail", time.Hour, at(0, 1)), paced(0, at(1, 1))},
			status: dispatchv1.Status_STATUS_INTENT, attempt: 1, facts: 1, asks: []delivery.AskKind{delivery.AskSend},
		},
		{
			name: "room that comes after the approval's end sends nothing", inputs: []input{queue("mail", time.Minute, at(0, 1)), paced(0, at(time.Minute, 1))},
			status: dispatchv1.Status_STATUS_UNSENT, facts: 1, reasons: []reasonv1.Code{reasonv1.Code_CODE_APPROVAL_EXPIRED},
		},
		{
			name: "what is accepted is closed", inputs: []input{
				queue("mail", time.Hour, at(0, 1)), paced(0, at(1, 1)),
				report(delivery.Result{Attempt: 1, Status: dispatchv1.Status_STATUS_ACCEPTED, ProviderID: "x"}, at(2, 1)),
			}, status: dispatchv1.Status_STATUS_ACCEPTED, attempt: 1, facts: 1,
		},
		{
			name:   "what is provably unsent is queued again",
			inputs: []input{queue("mail", time.Hour, at(0, 1)), paced(0, at(1, 1)), report(unsent(1), at(2, 1))},
			status: dispatchv1.Status_STATUS_QUEUED, attempt: 1, facts: 1, reasons: []reasonv1.Code{reasonv1.Code_CODE_PROVIDER_THROTTLED},
		},
		{
			name: "a retry that would come too late is not made", inputs: []input{
				queue("mail", 20*time.Second, at(0, 1)), paced(0, at(1, 1)), report(unsent(1), at(2, 1)),
			}, status: dispatchv1.Status_STATUS_UNSENT, attempt: 1, facts: 1,
			reasons: []reasonv1.Code{reasonv1.Code_CODE_PROVIDER_THROTTLED, reasonv1.Code_CODE_APPROVAL_EXPIRED},
		},
		{
			name: "the back-off over, pacing is asked for again", inputs: []input{
				queue("mail", time.Hour, at(0, 1)), paced(0, at(1, 1)), report(unsent(1), at(2, 1)), due(at(31*time.Second, 1)),
			}, status: dispatchv1.Status_STATUS_QUEUED, attempt: 1, asks: []delivery.AskKind{delivery.AskPace},
			reasons: []reasonv1.Code{reasonv1.Code_CODE_PROVIDER_THROTTLED},
		},
		{
			name: "a withdrawal ends what is queued", inputs: []input{queue("mail", time.Hour, at(0, 1)), withdraw(at(1, 1))},
			status: dispatchv1.Status_STATUS_UNSENT, facts: 1, reasons: []reasonv1.Code{reasonv1.Code_CODE_WITHDRAWN},
		},
		{
			name: "a withdrawal after the intent forbids another attempt", inputs: []input{
				queue("mail", time.Hour, at(0, 1)), paced(0, at(1, 1)), withdraw(at(2, 1)), report(unsent(1), at(3, 1)),
			}, status: dispatchv1.Status_STATUS_UNSENT, attempt: 1, facts: 1,
			reasons: []reasonv1.Code{reasonv1.Code_CODE_WITHDRAWN, reasonv1.Code_CODE_PROVIDER_THROTTLED},
		},
		{
			name: "a withdrawal after the intent does not undo an acceptance", inputs: []input{
				queue("mail", time.Hour, at(0, 1)), paced(0, at(1, 1)), withdraw(at(2, 1)),
				report(delivery.Result{Attempt: 1, Status: dispatchv1.Status_STATUS_ACCEPTED}, at(3, 1)),
			}, status: dispatchv1.Status_STATUS_ACCEPTED, attempt: 1, facts: 1,
		},
		{
			name:   "an intent of a process that is gone is unknown",
			inputs: []input{queue("mail", time.Hour, at(0, 1)), paced(0, at(1, 1)), due(at(settle+1, 2))},
			status: dispatchv1.Status_STATUS_UNKNOWN, attempt: 1, facts: 1,
		},
		{
			name:   "an intent of a process that is gone is left alone while its call may still run",
			inputs: []input{queue("mail", time.Hour, at(0, 1)), paced(0, at(1, 1)), due(at(settle-1, 2))},
			status: dispatchv1.Status_STATUS_INTENT, attempt: 1,
		},
		{
			name:   "an intent of this process is waited for",
			inputs: []input{queue("mail", time.Hour, at(0, 1)), paced(0, at(1, 1)), due(at(10*settle, 1))},
			status: dispatchv1.Status_STATUS_INTENT, attempt: 1,
		},
		{
			name:   "a channel that can is asked what became of it",
			inputs: []input{queue("file", time.Hour, at(0, 1)), paced(0, at(1, 1)), due(at(settle+1, 2))},
			status: dispatchv1.Status_STATUS_INTENT, attempt: 1, asks: []delivery.AskKind{delivery.AskLookUp},
		},
		{
			name: "one look-up is asked for at a time", inputs: []input{
				queue("file", time.Hour, at(0, 1)), paced(0, at(1, 1)), due(at(settle+1, 2)), due(at(2*settle, 2)),
			}, status: dispatchv1.Status_STATUS_INTENT, attempt: 1,
		},
		{
			name: "pacing that was lost with its process is asked for again", inputs: []input{
				queue("mail", time.Hour, at(0, 1)), due(at(1, 2)),
			}, status: dispatchv1.Status_STATUS_QUEUED, asks: []delivery.AskKind{delivery.AskPace},
		},
		{
			name: "pacing that is under way is waited for", inputs: []input{queue("mail", time.Hour, at(0, 1)), due(at(time.Minute, 1))},
			status: dispatchv1.Status_STATUS_QUEUED,
		},
		{
			name: "a queued approval ends at its time", inputs: []input{queue("mail", time.Hour, at(0, 1)), due(at(time.Hour, 1))},
			status: dispatchv1.Status_STATUS_UNSENT, facts: 1, reasons: []reasonv1.Code{reasonv1.Code_CODE_APPROVAL_EXPIRED},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, last := one(t, tt.inputs...)
			if d.GetStatus() != tt.status || d.GetAttempt() != tt.attempt {
				t.Errorf("status = %v attempt = %d, want %v %d", d.GetStatus(), d.GetAttempt(), tt.status, tt.attempt)
			}
			if diff := cmp.Diff(tt.reasons, codes(d.GetReasons())); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
			if len(last.Facts) != tt.facts {
				t.Errorf("facts = %v, want %d", last.Facts, tt.facts)
			}
			var asks []delivery.AskKind
			for _, a := range last.Asks {
				asks = append(asks, a.Kind)
			}
			if diff := cmp.Diff(tt.asks, asks); diff != "" {
				t.Errorf("asks (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBackOffDoublesUpToAQuarterOfAnHour(t *testing.T) {
	want := []time.Duration{30 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 15 * time.Minute, 15 * time.Minute}
	for n, w := range want {
		if got := delivery.BackOff(uint32(n)); got != w {
			t.Errorf("BackOff(%d) = %v, want %v", n, got, w)
		}
	}
}

func TestClosedDeliveriesAreBounded(t *testing.T) {
	state := &dispatchv1.State{}
	state = delivery.Queue(state, approval("open", "mail", time.Hour), at(0, 1)).State
	for i := range 3 * delivery.KeepClosed {
		id := string(rune('A'+i%26)) + string(rune('a'+i/26))
		state = delivery.Queue(state, approval(id, "mail", 0), at(0, 1)).State
	}
	if got := len(state.GetDeliveries()); got != delivery.KeepClosed+1 {
		t.Errorf("deliveries = %d, want %d closed and the open one", got, delivery.KeepClosed)
	}
	if state.GetDeliveries()[0].GetProposal() != "open" {
		t.Errorf("the open delivery is gone")
	}
}

// A delivery that waits for its pacing alone is not woken before its approval ends, so that its row is not written
// while it waits. Under another ownership it is looked at at once.
func TestAQueuedDeliveryIsNotWokenWhileItWaits(t *testing.T) {
	s := delivery.Queue(nil, approval("p", "mail", time.Hour), at(0, 1)).State
	if got, want := delivery.Wake(s, at(time.Minute, 1)), start.Add(time.Hour); !got.Equal(want) {
		t.Errorf("wake under the same epoch = %v, want %v", got, want)
	}
	if got, want := delivery.Wake(s, at(time.Minute, 2)), start.Add(time.Minute); !got.Equal(want) {
		t.Errorf("wake under a new epoch = %v, want %v", got, want)
	}
	later := delivery.Result{Attempt: 1, Status: dispatchv1.Status_STATUS_UNSENT, Transient: true}
	s = delivery.Paced(s, "p", 0, at(0, 1)).State
	s = delivery.Report(s, "p", later, at(0, 1)).State
	if got, want := delivery.Wake(s, at(0, 1)), s.GetDeliveries()[0].GetNotBefore().AsTime(); !got.Equal(want) {
		t.Errorf("wake of one that is to be tried again = %v, want %v", got, want)
	}
}

// Where calls die with their ownership, a new one asks at once what became of an INTENT; and what was
// provably never begun is tried again at once, in the same instant.
func TestCallsThatDieWithTheirOwnership(t *testing.T) {
	at := func(d time.Duration, epoch uint64) delivery.Moment {
		m := at(d, epoch)
		m.Channels = func(name string) delivery.Channel {
			c := channels(name)
			c.Settle = 0
			return c
		}
		return m
	}
	d, own := one(t, queue("file", time.Hour, at(0, 1)), paced(0, at(0, 1)), due(at(0, 1)))
	if len(own.Asks) != 0 || d.GetStatus() != dispatchv1.Status_STATUS_INTENT {
		t.Errorf("our own call: got %v asks, %v; want it left alone", own.Asks, d.GetStatus())
	}
	d, lost := one(t, queue("file", time.Hour, at(0, 1)), paced(0, at(0, 1)), due(at(0, 2)))
	if len(lost.Asks) != 1 || lost.Asks[0].Kind != delivery.AskLookUp {
		t.Fatalf("a lost call: got %v for %v, want a look-up", lost.Asks, d)
	}
	absent := delivery.Result{Attempt: 1, Status: dispatchv1.Status_STATUS_UNSENT, Transient: true, Again: true}
	d, _ = one(t, queue("file", time.Hour, at(0, 1)), paced(0, at(0, 1)), due(at(0, 2)), report(absent, at(0, 2)))
	if d.GetStatus() != dispatchv1.Status_STATUS_QUEUED || !d.GetNotBefore().AsTime().Equal(start) {
		t.Errorf("never begun: got %v, want it queued for the same instant", d)
	}
}
