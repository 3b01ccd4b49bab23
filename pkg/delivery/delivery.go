package delivery

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
)

// KeepClosed is how many closed deliveries a state keeps, the newest ones.
const KeepClosed = 64

// Moment is when, and in which ownership, something is decided.
type Moment struct {
	// Now is the stage's time.
	Now time.Time
	// Epoch names the ownership. Calls made under another one may be lost.
	Epoch uint64
	// Revision of the catalog that applies.
	Revision string
	// Channels describes the channels of that revision.
	Channels Channels
}

// Channel is what the state machine has to know of a channel.
type Channel struct {
	// Settle is how long after its INTENT a call of another ownership is certainly over; 0 if calls die with
	// their ownership.
	Settle time.Duration
	// Watch is how long a call of our own ownership runs before its delivery is looked at; positive.
	Watch time.Duration
	// LooksUp says that the channel can be asked what became of an INTENT.
	LooksUp bool
}

// Channels describes a channel by name. It must be a pure function.
type Channels func(name string) Channel

// AskKind is what the shell has to do next.
type AskKind int

// The kinds of Ask.
const (
	// AskPace waits until the channel has room for one more call.
	AskPace AskKind = iota + 1
	// AskSend makes the last check and the call of an INTENT.
	AskSend
	// AskLookUp finds out what became of an INTENT.
	AskLookUp
)

// Ask names something slow that the shell has to do; its result is the next input.
type Ask struct {
	Kind AskKind
	// Delivery as it stands, with its request. Must not be changed.
	Delivery *dispatchv1.Delivery
}

// Step is what an input led to. The zero Step means that it changed nothing.
type Step struct {
	// State after the input; nil if it did not change.
	State *dispatchv1.State
	// Facts in order.
	Facts []*dispatchv1.Fact
	// Asks in order; their results must be reported.
	Asks []Ask
}

// Queue takes an approval over. A proposal that the state knows already, and anything that is not an
// approval, changes nothing; an approval that is over when it comes ends at once.
func Queue(s *dispatchv1.State, v *contactv1.VerdictGiven, m Moment) Step {
	proposal := v.GetRequest().GetProposal()
	if v.GetKind() != contactv1.VerdictKind_VERDICT_KIND_APPROVED || proposal.GetId() == "" || find(s, proposal.GetId()) >= 0 {
		return Step{}
	}
	d := &dispatchv1.Delivery{
		Proposal:  proposal.GetId(),
		Action:    proposal.GetAction(),
		Treatment: v.GetTreatment().CloneVT(),
		Status:    dispatchv1.Status_STATUS_QUEUED,
		NotAfter:  v.GetNotAfter(),
		At:        timestamppb.New(m.Now),
		Epoch:     m.Epoch,
		Request:   v.GetRequest().CloneVT(),
		QueuedAt:  timestamppb.New(m.Now),
	}
	t := begin(s)
	t.state.Deliveries = append(t.state.Deliveries, d)
	t.queued(d)
	if over(d, m.Now) {
		t.close(d, Result{Status: dispatchv1.Status_STATUS_UNSENT, Reasons: expired(nil)}, m.Now)
	} else {
		t.ask(AskPace, d)
	}
	return t.step()
}

// Withdraw drops a proposal that is not on its way yet. If its INTENT is declared the call goes on, but
// should it prove unsent it is not tried again.
func Withdraw(s *dispatchv1.State, w *contactv1.ApprovalWithdrawn, m Moment) Step {
	i := find(s, w.GetProposal())
	if i < 0 || Closed(s.GetDeliveries()[i].GetStatus()) {
		return Step{}
	}
	if old := s.GetDeliveries()[i]; old.GetStatus() == dispatchv1.Status_STATUS_INTENT && over(old, m.Now) && len(old.GetReasons()) > 0 {
		return Step{}
	}
	t := begin(s)
	d := t.state.GetDeliveries()[i]
	reasons := []*reasonv1.Reason{w.GetReason().CloneVT()}
	if w.GetReason() == nil {
		reasons = []*reasonv1.Reason{{Code: reasonv1.Code_CODE_WITHDRAWN}}
	}
	if d.GetStatus() == dispatchv1.Status_STATUS_QUEUED {
		t.close(d, Result{Status: dispatchv1.Status_STATUS_UNSENT, Reasons: reasons}, m.Now)
	} else {
		d.NotAfter = timestamppb.New(m.Now)
		d.Reasons = reasons
		t.changed = true
	}
	return t.step()
}

// Paced says that the channel has room: the INTENT of the next attempt is declared and the call asked
// for. attempt is the number of INTENTs that there were when pacing was asked for.
func Paced(s *dispatchv1.State, proposal string, attempt uint32, m Moment) Step {
	i := find(s, proposal)
	if i < 0 || !waits(s.GetDeliveries()[i], attempt, dispatchv1.Status_STATUS_QUEUED) {
		return Step{}
	}
	t := begin(s)
	d := t.state.GetDeliveries()[i]
	if over(d, m.Now) {
		t.close(d, Result{Status: dispatchv1.Status_STATUS_UNSENT, Attempt: attempt, Reasons: expired(d.GetReasons())}, m.Now)
		return t.step()
	}
	d.Status = dispatchv1.Status_STATUS_INTENT
	d.Attempt++
	d.At = timestamppb.New(m.Now)
	d.NotBefore = nil
	d.Reasons = nil
	d.Epoch = m.Epoch
	d.Revision = m.Revision
	d.SettledAt = timestamppb.New(m.Now.Add(m.Channels(d.GetTreatment().GetChannel()).Settle))
	t.fact(&dispatchv1.Fact{Fact: &dispatchv1.Fact_IntentDeclared{IntentDeclared: &dispatchv1.IntentDeclared{
		Proposal: d.GetProposal(), Attempt: d.GetAttempt(), Channel: d.GetTreatment().GetChannel(),
	}}})
	t.ask(AskSend, d)
	return t.step()
}

// Report says what became of an attempt, of a look-up, or (UNSENT only) why pacing gave up. Of a delivery that has
// ended since, it is recorded if it says more than what was reported.
func Report(s *dispatchv1.State, proposal string, r Result, m Moment) Step {
	i := find(s, proposal)
	if i < 0 {
		return Step{}
	}
	old := s.GetDeliveries()[i]
	queued := waits(old, r.Attempt, dispatchv1.Status_STATUS_QUEUED) && r.Status == dispatchv1.Status_STATUS_UNSENT
	if !queued && !waits(old, r.Attempt, dispatchv1.Status_STATUS_INTENT) {
		return afterwards(s, i, r, m)
	}
	t := begin(s)
	d := t.state.GetDeliveries()[i]
	if r.Status != dispatchv1.Status_STATUS_UNSENT || !r.Transient {
		t.close(d, r, m.Now)
		return t.step()
	}
	t.postpone(d, r, m.Now)
	return t.step()
}

// Due looks at every open delivery because time has passed: approvals that are over end, pacing that is
// due or was lost is asked for, and an INTENT whose process is gone is looked up or is UNKNOWN.
func Due(s *dispatchv1.State, m Moment) Step {
	t := begin(s)
	for _, d := range t.state.GetDeliveries() {
		switch d.GetStatus() {
		case dispatchv1.Status_STATUS_QUEUED:
			t.queuedDue(d, m)
		case dispatchv1.Status_STATUS_INTENT:
			t.intentDue(d, m, m.Channels(d.GetTreatment().GetChannel()))
		default: // closed deliveries wait for nothing
		}
	}
	return t.step()
}

// Wake is the earliest instant at which Due may have something to do under m; zero if nothing is open. Calls that are
// lost with their ownership are noticed by asking Due under the next one, at once: nothing wakes for that.
func Wake(s *dispatchv1.State, m Moment) time.Time {
	var wake time.Time
	for _, d := range s.GetDeliveries() {
		at := wakeOf(d, m)
		if !at.IsZero() && (wake.IsZero() || at.Before(wake)) {
			wake = at
		}
	}
	return wake
}

// Closed says that a status is final.
func Closed(s dispatchv1.Status) bool {
	return s != dispatchv1.Status_STATUS_QUEUED && s != dispatchv1.Status_STATUS_INTENT
}

func wakeOf(d *dispatchv1.Delivery, m Moment) time.Time {
	switch d.GetStatus() {
	case dispatchv1.Status_STATUS_QUEUED:
		end := d.GetNotAfter().AsTime()
		switch at := d.GetNotBefore().AsTime(); {
		case d.GetEpoch() == m.Epoch: // its pacing was asked for: it waits for that alone
			return end
		case d.GetEpoch() != 0: // of an ownership that is over
			return earlier(m.Now, end)
		default:
			return earlier(at, end)
		}
	case dispatchv1.Status_STATUS_INTENT:
		at := rearm(d, m, m.Channels(d.GetTreatment().GetChannel()).Watch)
		if end := d.GetSettledAt().AsTime(); d.GetEpoch() != m.Epoch && end.After(at) {
			return end
		}
		return at
	default:
		return time.Time{}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// rearm is when a delivery with a call under way is looked at: after a period, again and again while its
// process lives, and at once if it does not.
func rearm(d *dispatchv1.Delivery, m Moment, period time.Duration) time.Time {
	at := d.GetAt().AsTime().Add(period)
	if d.GetEpoch() == m.Epoch && !at.After(m.Now) {
		return m.Now.Add(period)
	}
	return at
}
