package delivery

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
)

// transition is a step in the making, on its own copy of the state.
type transition struct {
	state   *dispatchv1.State
	facts   []*dispatchv1.Fact
	asks    []Ask
	changed bool
}

func begin(s *dispatchv1.State) *transition {
	if s == nil {
		return &transition{state: &dispatchv1.State{}}
	}
	return &transition{state: s.CloneVT()}
}

// step ends the transition. Whatever changes the state leaves a fact, an ask, or the mark that it did.
func (t *transition) step() Step {
	if !t.changed && len(t.facts) == 0 && len(t.asks) == 0 {
		return Step{}
	}
	t.trim()
	asks := make([]Ask, len(t.asks))
	for i, a := range t.asks {
		asks[i] = Ask{Kind: a.Kind, Delivery: a.Delivery.CloneVT()}
	}
	return Step{State: t.state, Facts: t.facts, Asks: asks}
}

func (t *transition) fact(f *dispatchv1.Fact) { t.facts = append(t.facts, f) }

func (t *transition) ask(kind AskKind, d *dispatchv1.Delivery) {
	t.asks = append(t.asks, Ask{Kind: kind, Delivery: d})
}

func (t *transition) queued(d *dispatchv1.Delivery) {
	t.fact(&dispatchv1.Fact{Fact: &dispatchv1.Fact_DeliveryQueued{DeliveryQueued: &dispatchv1.DeliveryQueued{
		Proposal: d.GetProposal(), Action: d.GetAction(), Channel: d.GetTreatment().GetChannel(),
	}}})
}

func (t *transition) report(d *dispatchv1.Delivery, r Result) {
	t.fact(&dispatchv1.Fact{Fact: &dispatchv1.Fact_DeliveryReported{DeliveryReported: &dispatchv1.DeliveryReported{
		Proposal: d.GetProposal(), Action: d.GetAction(), Channel: d.GetTreatment().GetChannel(),
		Status: d.GetStatus(), ProviderId: d.GetProviderId(), Reasons: d.GetReasons(),
		Attempt: d.GetAttempt(), ProfileVersion: r.ProfileVersion,
	}}})
}

// close ends a delivery. A withdrawal that came during the call goes before what the call says.
func (t *transition) close(d *dispatchv1.Delivery, r Result, now time.Time) {
	if d.GetStatus() == dispatchv1.Status_STATUS_INTENT && r.Status == dispatchv1.Status_STATUS_UNSENT {
		r.Reasons = append(d.GetReasons(), r.Reasons...)
	}
	d.Status = r.Status
	d.At = timestamppb.New(now)
	d.ProviderId = r.ProviderID
	d.Reasons = r.Reasons
	d.NotBefore, d.Request, d.Epoch, d.SettledAt = nil, nil, 0, nil
	t.report(d, r)
}

// postpone queues a provably unsent delivery again if its approval lasts until then, else ends it.
func (t *transition) postpone(d *dispatchv1.Delivery, r Result, now time.Time) {
	next := now.Add(max(r.RetryAfter, BackOff(d.GetAttempt())))
	if r.Again {
		next = now
	}
	if !next.Before(d.GetNotAfter().AsTime()) {
		if withdrawn := d.GetStatus() == dispatchv1.Status_STATUS_INTENT && len(d.GetReasons()) > 0; !withdrawn {
			r.Reasons = expired(r.Reasons)
		}
		t.close(d, r, now)
		return
	}
	called := d.GetStatus() == dispatchv1.Status_STATUS_INTENT
	d.Status = dispatchv1.Status_STATUS_QUEUED
	d.At = timestamppb.New(now)
	d.NotBefore = timestamppb.New(next)
	d.Reasons = r.Reasons
	d.Epoch, d.SettledAt = 0, nil
	t.changed = true
	if called {
		t.report(d, r)
	}
}

func (t *transition) queuedDue(d *dispatchv1.Delivery, m Moment) {
	switch {
	case over(d, m.Now):
		t.close(d, Result{Status: dispatchv1.Status_STATUS_UNSENT, Reasons: expired(d.GetReasons())}, m.Now)
	case d.GetNotBefore().AsTime().After(m.Now), d.GetEpoch() == m.Epoch:
	default:
		d.NotBefore = nil
		d.At = timestamppb.New(m.Now)
		d.Epoch = m.Epoch
		t.ask(AskPace, d)
	}
}

func (t *transition) intentDue(d *dispatchv1.Delivery, m Moment, c Channel) {
	if d.GetEpoch() == m.Epoch || settled(d, c).After(m.Now) {
		return
	}
	if c.LooksUp {
		d.Epoch = m.Epoch
		t.ask(AskLookUp, d)
		return
	}
	t.close(d, Result{Status: dispatchv1.Status_STATUS_UNKNOWN, Attempt: d.GetAttempt()}, m.Now)
}

// settled is when a call of another ownership is certainly over: the channel may have another time-out by now
// than when the call was declared.
func settled(d *dispatchv1.Delivery, c Channel) time.Time {
	if d.GetSettledAt() != nil {
		return d.GetSettledAt().AsTime()
	}
	return d.GetAt().AsTime().Add(c.Settle)
}

// trim forgets the oldest closed deliveries beyond KeepClosed.
func (t *transition) trim() {
	closed := 0
	for _, d := range t.state.GetDeliveries() {
		if Closed(d.GetStatus()) {
			closed++
		}
	}
	if closed <= KeepClosed {
		return
	}
	kept := t.state.Deliveries[:0]
	for _, d := range t.state.GetDeliveries() {
		if closed > KeepClosed && Closed(d.GetStatus()) {
			closed--
			continue
		}
		kept = append(kept, d)
	}
	t.state.Deliveries = kept
}

func find(s *dispatchv1.State, proposal string) int {
	for i, d := range s.GetDeliveries() {
		if d.GetProposal() == proposal {
			return i
		}
	}
	return -1
}

func waits(d *dispatchv1.Delivery, attempt uint32, status dispatchv1.Status) bool {
	return d.GetStatus() == status && d.GetAttempt() == attempt
}

// over says that the approval has run out. One without an end never began.
func over(d *dispatchv1.Delivery, now time.Time) bool { return !now.Before(d.GetNotAfter().AsTime()) }

// expired adds APPROVAL_EXPIRED after what kept the delivery from being sent in time.
func expired(before []*reasonv1.Reason) []*reasonv1.Reason {
	return append(slices.Clip(before), &reasonv1.Reason{Code: reasonv1.Code_CODE_APPROVAL_EXPIRED})
}
