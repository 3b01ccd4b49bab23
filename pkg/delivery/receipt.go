package delivery

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

// Found is Report for a result that came as a receipt: the process that made the call had lost the partition by
// then. That process may not have known what a channel that can be asked knows, so such a channel is asked.
func Found(s *dispatchv1.State, proposal string, r Result, m Moment) Step {
	i := find(s, proposal)
	if i < 0 {
		return Step{}
	}
	d := s.GetDeliveries()[i]
	if !waits(d, r.Attempt, dispatchv1.Status_STATUS_INTENT) {
		return afterwards(s, i, r, m)
	}
	if r.Status == dispatchv1.Status_STATUS_UNKNOWN && m.Channels(d.GetTreatment().GetChannel()).LooksUp {
		return Step{}
	}
	return Report(s, proposal, r, m)
}

// afterwards takes a result that nobody waits for any more. It counts if it knows more than what was reported:
// ACCEPTED before all, then REJECTED and UNSENT, then UNKNOWN. What has ended is never sent again.
func afterwards(s *dispatchv1.State, i int, r Result, m Moment) Step {
	d := s.GetDeliveries()[i]
	if r.Attempt == 0 || d.GetAttempt() < r.Attempt {
		return Step{}
	}
	if r.Status == dispatchv1.Status_STATUS_ACCEPTED {
		return sent(s, i, r, eventv1.OutcomeKind_OUTCOME_KIND_UNSPECIFIED, m)
	}
	proved := r.Status == dispatchv1.Status_STATUS_REJECTED || r.Status == dispatchv1.Status_STATUS_UNSENT
	if !proved || !waits(d, r.Attempt, dispatchv1.Status_STATUS_UNKNOWN) {
		return Step{}
	}
	t := begin(s)
	t.learned(t.state.GetDeliveries()[i], r, m)
	return t.step()
}

// Reported takes what the provider reports of a proposal: DELIVERED, OPENED, BOUNCED or COMPLAINED, of which the greatest
// is kept. Each proves that it was sent, whatever the calls have said; so a delivery that waits to be tried
// again is not, and one that is in doubt, or was believed not to be sent, is ACCEPTED.
func Reported(s *dispatchv1.State, proposal string, receipt eventv1.OutcomeKind, m Moment) Step {
	i := find(s, proposal)
	if i < 0 || s.GetDeliveries()[i].GetAttempt() == 0 || grade(receipt) == 0 {
		return Step{}
	}
	return sent(s, i, Result{Status: dispatchv1.Status_STATUS_ACCEPTED}, receipt, m)
}

// sent records that a delivery was sent.
func sent(s *dispatchv1.State, i int, r Result, receipt eventv1.OutcomeKind, m Moment) Step {
	old := s.GetDeliveries()[i]
	newer := grade(receipt) > grade(old.GetReceipt())
	named := old.GetProviderId() == "" && r.ProviderID != ""
	if !newer && !named && old.GetStatus() == dispatchv1.Status_STATUS_ACCEPTED {
		return Step{}
	}
	t := begin(s)
	d := t.state.GetDeliveries()[i]
	if newer {
		d.Receipt = receipt
	}
	if Closed(d.GetStatus()) {
		t.learned(d, r, m)
	} else {
		t.close(d, r, m.Now)
	}
	return t.step()
}

// learned records what is now known of a delivery that has ended.
func (t *transition) learned(d *dispatchv1.Delivery, r Result, m Moment) {
	if d.GetStatus() != r.Status {
		d.Status, d.Reasons, d.At = r.Status, r.Reasons, timestamppb.New(m.Now)
	}
	if d.GetProviderId() == "" {
		d.ProviderId = r.ProviderID
	}
	t.fact(&dispatchv1.Fact{Fact: &dispatchv1.Fact_ReceiptRecorded{ReceiptRecorded: &dispatchv1.ReceiptRecorded{
		Proposal: d.GetProposal(), Action: d.GetAction(), Channel: d.GetTreatment().GetChannel(), Status: d.GetStatus(),
		Receipt: d.GetReceipt(), ProviderId: d.GetProviderId(), Reasons: d.GetReasons(), Attempt: r.Attempt,
	}}})
}

// grade orders what providers report; 0 is not a provider's.
func grade(k eventv1.OutcomeKind) int {
	switch k { //nolint:exhaustive // the others are the customer's
	case eventv1.OutcomeKind_OUTCOME_KIND_DELIVERED:
		return 1
	case eventv1.OutcomeKind_OUTCOME_KIND_OPENED:
		return 2
	case eventv1.OutcomeKind_OUTCOME_KIND_BOUNCED:
		return 3
	case eventv1.OutcomeKind_OUTCOME_KIND_COMPLAINED:
		return 4
	default:
		return 0
	}
}
