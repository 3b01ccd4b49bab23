package delivery_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/delivery"
)

// machine drives a state with any inputs in any order and checks every step against the promises.
type machine struct {
	state    *dispatchv1.State
	now      time.Duration
	epoch    uint64
	declared map[string]uint32 // the last INTENT without a report
	attempts map[string]uint32
	final    map[string]bool
}

func (m *machine) moment() delivery.Moment { return at(m.now, m.epoch) }

func (m *machine) apply(t *rapid.T, in input) {
	before := m.state.CloneVT()
	step := in(m.state)
	if diff := cmp.Diff(before, m.state, protocmp.Transform()); diff != "" {
		t.Fatalf("the argument was changed:\n%s", diff)
	}
	if again := in(m.state); cmp.Diff(step, again, protocmp.Transform()) != "" {
		t.Fatalf("equal arguments gave different steps")
	}
	if step.State == nil {
		if len(step.Facts)+len(step.Asks) > 0 {
			t.Fatalf("facts or asks without a state: %v", step)
		}
		return
	}
	m.state = step.State
	for _, f := range step.Facts {
		m.fact(t, f)
	}
	for _, a := range step.Asks {
		if a.Delivery.GetRequest() == nil {
			t.Fatalf("an ask without the request: %v", a)
		}
	}
}

func (m *machine) fact(t *rapid.T, f *dispatchv1.Fact) {
	switch f := f.GetFact().(type) {
	case *dispatchv1.Fact_IntentDeclared:
		p, n := f.IntentDeclared.GetProposal(), f.IntentDeclared.GetAttempt()
		if m.declared[p] != 0 || m.final[p] {
			t.Fatalf("INTENT %d of %s although %d is not proved unsent", n, p, m.declared[p])
		}
		if n != m.attempts[p]+1 {
			t.Fatalf("attempt %d of %s after %d", n, p, m.attempts[p])
		}
		m.declared[p], m.attempts[p] = n, n
	case *dispatchv1.Fact_DeliveryReported:
		p := f.DeliveryReported.GetProposal()
		if m.final[p] {
			t.Fatalf("a second report of %s", p)
		}
		delete(m.declared, p)
		if f.DeliveryReported.GetStatus() != dispatchv1.Status_STATUS_QUEUED {
			m.final[p] = true
		}
	case *dispatchv1.Fact_ReceiptRecorded:
		if p := f.ReceiptRecorded.GetProposal(); !m.final[p] || m.attempts[p] == 0 {
			t.Fatalf("a receipt is recorded of %s, which has not ended or never began: %v", p, f)
		}
	}
}

func (m *machine) check(t *rapid.T) {
	open := false
	for _, d := range m.state.GetDeliveries() {
		if delivery.Closed(d.GetStatus()) != m.final[d.GetProposal()] {
			t.Fatalf("%s is %v but final is %v", d.GetProposal(), d.GetStatus(), m.final[d.GetProposal()])
		}
		open = open || !delivery.Closed(d.GetStatus())
	}
	if wake := delivery.Wake(m.state, m.moment()); wake.IsZero() == open {
		t.Fatalf("wake = %v with open deliveries: %v", wake, open)
	}
}

func TestAtMostOneIntentWithoutProofAndOneFinalReport(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{
			state: &dispatchv1.State{Tenant: "default"}, epoch: 1,
			declared: map[string]uint32{}, attempts: map[string]uint32{}, final: map[string]bool{},
		}
		proposal := rapid.SampledFrom([]string{"a", "b", "c"})
		attempt := rapid.Uint32Range(0, 4)
		status := rapid.SampledFrom([]dispatchv1.Status{
			dispatchv1.Status_STATUS_ACCEPTED, dispatchv1.Status_STATUS_REJECTED, dispatchv1.Status_STATUS_UNSENT, dispatchv1.Status_STATUS_UNKNOWN,
		})
		t.Repeat(map[string]func(*rapid.T){
			"": m.check,
			"queue": func(t *rapid.T) {
				v := approval(proposal.Draw(t, "p"), rapid.SampledFrom([]string{"mail", "file"}).Draw(t, "channel"),
					m.now+time.Duration(rapid.IntRange(0, 3600).Draw(t, "left"))*time.Second)
				m.apply(t, func(s *dispatchv1.State) delivery.Step { return delivery.Queue(s, v, m.moment()) })
			},
			"withdraw": func(t *rapid.T) {
				w := &contactv1.ApprovalWithdrawn{Proposal: proposal.Draw(t, "p")}
				m.apply(t, func(s *dispatchv1.State) delivery.Step { return delivery.Withdraw(s, w, m.moment()) })
			},
			"paced": func(t *rapid.T) {
				p, n := proposal.Draw(t, "p"), attempt.Draw(t, "n")
				m.apply(t, func(s *dispatchv1.State) delivery.Step { return delivery.Paced(s, p, n, m.moment()) })
			},
			"report": func(t *rapid.T) {
				p := proposal.Draw(t, "p")
				r := delivery.Result{Attempt: attempt.Draw(t, "n"), Status: status.Draw(t, "status"), Transient: rapid.Bool().Draw(t, "transient")}
				m.apply(t, func(s *dispatchv1.State) delivery.Step { return delivery.Report(s, p, r, m.moment()) })
			},
			"found": func(t *rapid.T) {
				p := proposal.Draw(t, "p")
				r := delivery.Result{Attempt: attempt.Draw(t, "n"), Status: status.Draw(t, "status"), Transient: rapid.Bool().Draw(t, "transient")}
				m.apply(t, func(s *dispatchv1.State) delivery.Step { return delivery.Found(s, p, r, m.moment()) })
			},
			"provider": func(t *rapid.T) {
				p, kind := proposal.Draw(t, "p"), eventv1.OutcomeKind(rapid.Int32Range(0, 9).Draw(t, "kind"))
				m.apply(t, func(s *dispatchv1.State) delivery.Step { return delivery.Reported(s, p, kind, m.moment()) })
			},
			"due": func(t *rapid.T) {
				m.apply(t, func(s *dispatchv1.State) delivery.Step { return delivery.Due(s, m.moment()) })
			},
			"time":     func(t *rapid.T) { m.now += time.Duration(rapid.IntRange(1, 1200).Draw(t, "s")) * time.Second },
			"takeover": func(*rapid.T) { m.epoch++ },
		})
	})
}

// Whatever happens, timers alone end every delivery once its process is gone.
func TestTimersAloneEndEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := &dispatchv1.State{}
		for i := range rapid.IntRange(1, 5).Draw(t, "n") {
			p := fmt.Sprint(i)
			state = delivery.Queue(state, approval(p, "mail", time.Hour), at(0, 1)).State
			if rapid.Bool().Draw(t, "intent") {
				state = delivery.Paced(state, p, 0, at(1, 1)).State
			}
		}
		now, epoch := start, uint64(1)
		for n := range uint64(1000) {
			epoch += n % 2
			m := delivery.Moment{Now: now, Epoch: epoch, Channels: channels}
			wake := delivery.Wake(state, m)
			if wake.IsZero() {
				return
			}
			if wake.After(now) {
				now = wake
			}
			if step := delivery.Due(state, m); step.State != nil {
				state = step.State
			}
		}
		t.Fatalf("still open: %v", state)
	})
}
