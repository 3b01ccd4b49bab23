package contact

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
)

const (
	// MaxLedger bounds the number of entries in a contact ledger.
	MaxLedger = 256
	// keepFor is how long a contact stays in the ledger at least, if there is room: a policy that is edited
	// then applies to what was sent before it.
	keepFor = 90 * 24 * time.Hour
)

// Find returns the ledger entry with an id; nil if there is none.
func Find(state *contactv1.State, id string) *contactv1.LedgerEntry {
	if i := index(state, id); i >= 0 {
		return state.GetLedger()[i]
	}
	return nil
}

func index(state *contactv1.State, id string) int {
	return slices.IndexFunc(state.GetLedger(), func(e *contactv1.LedgerEntry) bool { return e.GetId() == id })
}

// Reserve takes room: it returns the state with the entry added as RESERVED. An entry with the same id
// stays as it is, so doing it again changes nothing. It does not ask whether there is room; Check does, and
// says no when the ledger is full.
func Reserve(state *contactv1.State, entry *contactv1.LedgerEntry) *contactv1.State {
	if index(state, entry.GetId()) >= 0 {
		return state
	}
	entry = entry.CloneVT()
	entry.State = contactv1.EntryState_ENTRY_STATE_RESERVED
	out := state.CloneVT()
	if out == nil {
		out = &contactv1.State{}
	}
	out.Ledger = append(out.Ledger, entry)
	return out
}

// Commit uses reserved room for a contact made at an instant, which becomes the entry's time unless it is
// before the reservation. It returns false if there is no such entry. A contact that was in doubt may be
// committed; one that is committed stays as it is.
func Commit(state *contactv1.State, id string, at time.Time) (*contactv1.State, bool) {
	return settle(state, id, at, contactv1.EntryState_ENTRY_STATE_COMMITTED)
}

// Doubt marks reserved room as perhaps used at an instant; it counts as used. It returns false if there is
// no such entry. A committed contact stays committed.
func Doubt(state *contactv1.State, id string, at time.Time) (*contactv1.State, bool) {
	return settle(state, id, at, contactv1.EntryState_ENTRY_STATE_IN_DOUBT)
}

func settle(state *contactv1.State, id string, at time.Time, to contactv1.EntryState) (*contactv1.State, bool) {
	i := index(state, id)
	if i < 0 {
		return state, false
	}
	from := state.GetLedger()[i].GetState()
	if from == to || from == contactv1.EntryState_ENTRY_STATE_COMMITTED {
		return state, true
	}
	out := state.CloneVT()
	e := out.GetLedger()[i]
	e.State, e.LeaseUntil = to, nil
	if from == contactv1.EntryState_ENTRY_STATE_RESERVED && at.After(e.GetAt().AsTime()) {
		e.At = timestamppb.New(at)
	}
	return out, true
}

// Release frees room that is reserved. It returns false, and changes nothing, if there is no such entry or
// it is not reserved any more: what was or may have been sent is never released.
func Release(state *contactv1.State, id string) (*contactv1.State, bool) {
	i := index(state, id)
	if i < 0 || state.GetLedger()[i].GetState() != contactv1.EntryState_ENTRY_STATE_RESERVED {
		return state, false
	}
	out := state.CloneVT()
	out.Ledger = slices.Delete(out.GetLedger(), i, i+1)
	return out, true
}

// Expired returns the ids of reservations made by RPC whose lease is over at now, oldest first. The room of
// a proposal that dispatch has is not among them: what became of it is for dispatch to say.
func Expired(state *contactv1.State, now time.Time) []string {
	var out []string
	for _, e := range state.GetLedger() {
		if leased(state, e) && !e.GetLeaseUntil().AsTime().After(now) {
			out = append(out, e.GetId())
		}
	}
	return out
}

// leased says whether an entry is room that is freed by time alone.
func leased(state *contactv1.State, e *contactv1.LedgerEntry) bool {
	return e.GetState() == contactv1.EntryState_ENTRY_STATE_RESERVED && e.GetLeaseUntil() != nil && len(e.GetFrom()) == 0 &&
		Pending(state, e.GetId()) == nil
}

// Pending returns the pending contact of a proposal; nil if there is none.
func Pending(state *contactv1.State, proposal string) *contactv1.Pending {
	for _, p := range state.GetPending() {
		if p.GetRequest().GetProposal().GetId() == proposal {
			return p
		}
	}
	return nil
}

// Wake is the earliest instant at which something in the state is due: a deferred contact or the end of a
// lease. It is zero if nothing is.
func Wake(state *contactv1.State) time.Time {
	var wake time.Time
	due := func(t *timestamppb.Timestamp) {
		if t != nil && (wake.IsZero() || t.AsTime().Before(wake)) {
			wake = t.AsTime()
		}
	}
	for _, p := range state.GetPending() {
		if p.GetStatus() == contactv1.PendingStatus_PENDING_STATUS_DEFERRED {
			due(p.GetUntil())
		}
	}
	for _, e := range state.GetLedger() {
		if leased(state, e) {
			due(e.GetLeaseUntil())
		}
	}
	return wake
}

// Trim drops what no window needs any more: contacts older than 90 days and than every window of the
// policies, and, while there are more than MaxLedger entries, first settled contacts that do not count, then
// the oldest that no window reaches. What is reserved, and what a window needs, always stays: if that is
// more than fits, Check says no.
func Trim(state *contactv1.State, policies []*Policy, now time.Time) *contactv1.State {
	horizon := Horizon(policies)
	keep := max(horizon, keepFor)
	old := func(e *contactv1.LedgerEntry) bool { return settled(e) && !e.GetAt().AsTime().Add(keep).After(now) }
	excess := len(state.GetLedger()) - MaxLedger
	if excess <= 0 && !slices.ContainsFunc(state.GetLedger(), old) {
		return state
	}
	out := state.CloneVT()
	out.Ledger = slices.DeleteFunc(out.GetLedger(), old)
	drop := func(superfluous func(*contactv1.LedgerEntry) bool) {
		out.Ledger = slices.DeleteFunc(out.GetLedger(), superfluous)
	}
	excess = len(out.GetLedger()) - MaxLedger
	drop(func(e *contactv1.LedgerEntry) bool { return take(&excess, settled(e) && !e.GetCounts()) })
	drop(func(e *contactv1.LedgerEntry) bool { return take(&excess, !needed(e, horizon, now)) })
	return out
}

// take says whether one more is to be dropped.
func take(excess *int, superfluous bool) bool {
	if *excess <= 0 || !superfluous {
		return false
	}
	*excess--
	return true
}

func settled(e *contactv1.LedgerEntry) bool {
	return e.GetState() != contactv1.EntryState_ENTRY_STATE_RESERVED
}

// needed says whether dropping an entry could give somebody room that is not there.
func needed(e *contactv1.LedgerEntry, horizon time.Duration, now time.Time) bool {
	return !settled(e) || e.GetCounts() && e.GetAt().AsTime().Add(horizon).After(now)
}

// full says whether the ledger holds so many needed entries that one more could not be kept.
func full(state *contactv1.State, now time.Time, policies []*Policy) bool {
	if len(state.GetLedger()) < MaxLedger {
		return false
	}
	horizon, count := Horizon(policies), 0
	for _, e := range state.GetLedger() {
		if needed(e, horizon, now) {
			count++
		}
	}
	return count >= MaxLedger
}
