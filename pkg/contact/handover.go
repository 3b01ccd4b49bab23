package contact

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
)

// A person who takes an address takes over what was sent there: the profile that had it is closed, and its contact
// ledger moves to the person's. Until it has come, nobody is contacted at an address of the person's.

const (
	// SettleWithin is how long a contact waits until it is settled who is contacted at the address.
	SettleWithin = time.Hour
	// maxTakenOver is how many closed profiles a state remembers: there are no more than a profile claims identifiers.
	maxTakenOver = 256
)

// Complete says whether the contact ledgers of all profiles that were closed for this one have come.
func Complete(s *contactv1.State) bool {
	return !slices.ContainsFunc(s.GetBasis().GetAwaits(), func(from []byte) bool { return !takenOver(s, from) })
}

func takenOver(s *contactv1.State, from []byte) bool {
	return slices.ContainsFunc(s.GetTakenOver(), func(id []byte) bool { return bytes.Equal(id, from) })
}

// Unsettled says what has to come before it is settled who is contacted at the address that a channel reaches; empty
// if nothing has to.
func Unsettled(s *contactv1.State, r Reach) string {
	at := Address(s.GetBasis(), r)
	switch {
	case at == nil || r.Trait:
		return ""
	case at.GetUndecided():
		return "the address is claimed, and the place where it lives has not answered yet"
	case !Complete(s):
		return "what was sent by a profile that was linked to this one has not come yet"
	case slices.ContainsFunc(s.GetLedger(), underWay):
		return "a contact by a profile that was linked to this one is under way"
	}
	return ""
}

// underWay says whether an entry is room that a closed profile's delivery may still use.
func underWay(e *contactv1.LedgerEntry) bool {
	return len(e.GetFrom()) > 0 && e.GetState() == contactv1.EntryState_ENTRY_STATE_RESERVED
}

// unsettled is the gate that asks so.
func (k *check) unsettled(t Treatment) *reasonv1.Reason {
	if !t.ToCustomer() {
		return nil
	}
	if why := Unsettled(k.state, t.Reach); why != "" {
		return k.reason(reasonv1.Code_CODE_ADDRESS_UNSETTLED, "it goes on as soon as that is known", why)
	}
	return nil
}

// await defers a contact that only waits for its address to be settled.
func (k *check) await(v Verdict) Verdict {
	limit := k.contact.SettleUntil
	if limit.IsZero() {
		limit = k.env.Now.Add(SettleWithin)
	}
	if by := k.contact.DeferUntil; !by.IsZero() && by.Before(limit) {
		limit = by
	}
	if !limit.After(k.env.Now) {
		expired := k.reason(reasonv1.Code_CODE_DEFER_EXPIRED, "redrive what is in the dead letters")
		v.Reasons = join(v.Reasons, []*reasonv1.Reason{expired})
		return v
	}
	v.Kind, v.Until, v.DeferUntil = contactv1.VerdictKind_VERDICT_KIND_DEFERRED, limit, k.contact.DeferUntil
	return v
}

// Handover is the contact ledger of a closed profile as it is handed over. What its deliveries settle is marked; room
// that callers took is theirs to use from then on at the new place, and is not kept at the old one.
func Handover(s *contactv1.State, from []byte) (ledger []*contactv1.LedgerEntry, rest *contactv1.State) {
	rest = s.CloneVT()
	rest.Ledger = nil
	for _, e := range s.GetLedger() {
		moved := e.CloneVT()
		if !settled(e) && Pending(s, e.GetId()) != nil {
			moved.From = from
		}
		ledger = append(ledger, moved)
		if !leased(s, e) {
			rest.Ledger = append(rest.Ledger, e.CloneVT())
		}
	}
	return ledger, rest
}

// TakeOver adds the contact ledger of a closed profile, and says how many contacts were new. Doing it again changes
// nothing. If more are needed than a ledger holds, the oldest settled ones are dropped: the ledger is full then, and
// Check says no until newer ones have left every window.
func TakeOver(s *contactv1.State, from []byte, ledger []*contactv1.LedgerEntry, policies []*Policy, now time.Time) (*contactv1.State, int) {
	if takenOver(s, from) {
		return s, 0
	}
	out := s.CloneVT()
	out.TakenOver = append(out.TakenOver, bytes.Clone(from))
	out.TakenOver = out.TakenOver[max(0, len(out.TakenOver)-maxTakenOver):]
	added := 0
	for _, e := range ledger {
		if index(out, e.GetId()) < 0 {
			out.Ledger = append(out.Ledger, e.CloneVT())
			added++
		}
	}
	slices.SortStableFunc(out.Ledger, func(a, b *contactv1.LedgerEntry) int {
		return cmp.Or(a.GetAt().AsTime().Compare(b.GetAt().AsTime()), cmp.Compare(a.GetId(), b.GetId()))
	})
	out = Trim(out, policies, now)
	if excess := len(out.GetLedger()) - MaxLedger; excess > 0 {
		out = out.CloneVT()
		out.Ledger = slices.DeleteFunc(out.GetLedger(), func(e *contactv1.LedgerEntry) bool { return take(&excess, settled(e)) })
	}
	return out, added
}
