package suppressionsvc

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/contact"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/stage"
)

// This file is the half of the fold that moves a contact ledger with an address. The profile that had the address is
// closed; that comes down the chain, and its ledger goes by letter to the profile of the person who took it, together
// with what becomes later of the contacts that are under way. Until it has come the person is not contacted.

// read opens a letter: in.Key is the row of the profile to which it is addressed.
func (f *fold) read(in stage.Input) (stage.Input, *contactv1.Letter, error) {
	if origin(in) != stage.FromBox {
		return in, nil, nil
	}
	l := &contactv1.Letter{}
	if err := l.UnmarshalVT(in.Payload); err != nil {
		return in, nil, fault.New(fault.Invalid, "decode letter: %w", err)
	}
	if l.GetTenant() == "" || len(l.GetTo()) != identity.IDSize || len(l.GetFrom()) != identity.IDSize {
		return in, nil, fault.New(fault.Invalid, "read letter: it is from or to no profile")
	}
	in.Key = identity.CustomerKey(l.GetTenant(), l.GetTo())
	return in, l, nil
}

// isLetter says whether a redriven input was a letter.
func isLetter(in stage.Input) bool { return strings.HasPrefix(in.Redriven, "box.") }

// received takes a letter. A profile that is closed itself passes it on.
func (t *turn) received(l *contactv1.Letter) error {
	switch x := l.GetLetter().(type) {
	case *contactv1.Letter_Handover:
		t.takeOver(l, x.Handover)
	case *contactv1.Letter_Settled:
		t.settled(x.Settled)
	default:
		return fault.New(fault.Invalid, "read letter: it says nothing that this stage knows")
	}
	t.handOver()
	t.goOn()
	return nil
}

// takeOver adds the contact ledger of a closed profile, once.
func (t *turn) takeOver(l *contactv1.Letter, h *contactv1.Handover) {
	next, added := contact.TakeOver(t.state, l.GetFrom(), h.GetLedger(), t.defs.Policies, t.env.Now)
	if next == t.state {
		return
	}
	t.state = next
	t.fact(&contactv1.Fact{Fact: &contactv1.Fact_LedgerTakenOver{LedgerTakenOver: &contactv1.LedgerTakenOver{
		From: l.GetFrom(), Contacts: uint32(added), //nolint:gosec // at most a few hundred
	}}})
	t.note(&profilev1.TimelineEntry{What: "contacts_taken_over"})
	if t.state.GetHandedOver() != nil {
		t.post(&contactv1.Letter{From: l.GetFrom(), Letter: &contactv1.Letter_Handover{Handover: h}})
	}
}

// settled says what became of a contact that came as reserved.
func (t *turn) settled(s *contactv1.Settled) {
	switch s.GetState() {
	case contactv1.EntryState_ENTRY_STATE_COMMITTED:
		t.at = s.GetAt().AsTime()
		t.use(s.GetId(), contact.Commit, false)
	case contactv1.EntryState_ENTRY_STATE_IN_DOUBT:
		t.at = s.GetAt().AsTime()
		t.use(s.GetId(), contact.Doubt, true)
	case contactv1.EntryState_ENTRY_STATE_RESERVED, contactv1.EntryState_ENTRY_STATE_UNSPECIFIED:
		t.free(s.GetId(), nil)
	}
}

// handOver sends the contact ledger of a profile that was closed to the one that it was closed for: once, and as soon
// as all that was closed for this one has come.
func (t *turn) handOver() {
	to := t.state.GetBasis().GetLinkedTo()
	if len(to) == 0 || t.state.GetHandedOver() != nil || !contact.Complete(t.state) {
		return
	}
	ledger, rest := contact.Handover(t.state, t.state.GetCustomer())
	t.state = rest
	t.state.HandedOver = to
	t.fact(&contactv1.Fact{Fact: &contactv1.Fact_LedgerHandedOver{LedgerHandedOver: &contactv1.LedgerHandedOver{
		To: to, Contacts: uint32(len(ledger)), //nolint:gosec // bounded by contact.MaxLedger
	}}})
	t.note(&profilev1.TimelineEntry{What: "contacts_handed_over"})
	t.post(&contactv1.Letter{Letter: &contactv1.Letter_Handover{Handover: &contactv1.Handover{Ledger: ledger}}})
}

// tellSettled passes on what became of a contact whose ledger was handed over.
func (t *turn) tellSettled(id string, state contactv1.EntryState, at time.Time) {
	if t.state.GetHandedOver() == nil {
		return
	}
	s := &contactv1.Settled{Id: id, State: state}
	if !at.IsZero() {
		s.At = timestamppb.New(at)
	}
	t.post(&contactv1.Letter{Letter: &contactv1.Letter_Settled{Settled: s}})
}

// post addresses a letter to the profile that the ledger was handed over to.
func (t *turn) post(l *contactv1.Letter) {
	l.Tenant, l.To = t.state.GetTenant(), t.state.GetHandedOver()
	if l.GetFrom() == nil {
		l.From = t.state.GetCustomer()
	}
	t.letters = append(t.letters, l)
}

// addressed encodes the letters.
func (t *turn) addressed() ([]stage.Addressed, error) {
	var out []stage.Addressed
	for _, l := range t.letters {
		payload, err := l.MarshalVT()
		if err != nil {
			return nil, fault.New(fault.Internal, "encode letter: %w", err)
		}
		out = append(out, stage.Addressed{
			Stage: stageName, Partition: t.fold.hasher.Partition(l.GetTo()), Payload: payload, From: t.key,
		})
	}
	return out, nil
}

// goOn judges what waited for its address to be settled, if it is.
func (t *turn) goOn() {
	for _, p := range t.state.GetPending() {
		if p.GetStatus() == contactv1.PendingStatus_PENDING_STATUS_DEFERRED && waits(p) && t.isSettled(p) {
			t.judge(p)
		}
	}
}

// waits says whether a pending contact waits for its address to be settled.
func waits(p *contactv1.Pending) bool {
	return slices.ContainsFunc(p.GetReasons(), func(r *reasonv1.Reason) bool { return r.GetCode() == reasonv1.Code_CODE_ADDRESS_UNSETTLED })
}

func (t *turn) isSettled(p *contactv1.Pending) bool {
	return !slices.ContainsFunc(t.contact(p.GetRequest()).Treatments, func(c contact.Treatment) bool {
		return c.ToCustomer() && contact.Unsettled(t.state, c.Reach) != ""
	})
}
