package contact

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
)

func pendingOf(id string) *contactv1.Pending {
	return &contactv1.Pending{
		Request: &decisionv1.DispatchTreatment{Proposal: &decisionv1.Proposal{Id: id}}, Status: contactv1.PendingStatus_PENDING_STATUS_APPROVED,
	}
}

func TestLedgerMoves(t *testing.T) {
	t0 := instant("2026-03-02T12:00:00Z")
	entry := &contactv1.LedgerEntry{Id: "a", At: timestamppb.New(t0), LeaseUntil: timestamppb.New(t0.Add(5 * time.Minute)), Counts: true}
	empty := &contactv1.State{}
	reserved := Reserve(empty, entry)
	if len(empty.GetLedger()) != 0 || entry.GetState() != 0 {
		t.Fatal("Reserve changed its arguments")
	}
	if got := Wake(reserved); !got.Equal(t0.Add(5 * time.Minute)) {
		t.Errorf("wake at %s, want the end of the lease", got)
	}
	if got := Expired(reserved, t0.Add(5*time.Minute-1)); got != nil {
		t.Errorf("expired before its end: %v", got)
	}
	if got := Expired(reserved, t0.Add(5*time.Minute)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("expired at its end: %v, want a", got)
	}
	doubtful, _ := Doubt(reserved, "a", t0.Add(time.Minute))
	if e := Find(doubtful, "a"); e.GetState() != contactv1.EntryState_ENTRY_STATE_IN_DOUBT || !e.GetAt().AsTime().Equal(t0.Add(time.Minute)) {
		t.Errorf("in doubt: %v", e)
	}
	if _, ok := Release(doubtful, "a"); ok {
		t.Error("what may have been sent was released")
	}
	committed, ok := Commit(doubtful, "a", t0.Add(time.Hour))
	if e := Find(committed, "a"); !ok || e.GetState() != contactv1.EntryState_ENTRY_STATE_COMMITTED || !e.GetAt().AsTime().Equal(t0.Add(time.Minute)) {
		t.Errorf("committed after doubt: %v, want the time it was sent", e)
	}
	if again, _ := Doubt(committed, "a", t0); !again.EqualVT(committed) {
		t.Error("doubt after a commit changed the entry")
	}
	if released, ok := Release(reserved, "a"); !ok || len(released.GetLedger()) != 0 || len(reserved.GetLedger()) != 1 {
		t.Error("a reservation was not released")
	}
	for _, move := range []func() (*contactv1.State, bool){
		func() (*contactv1.State, bool) { return Commit(empty, "x", t0) },
		func() (*contactv1.State, bool) { return Doubt(empty, "x", t0) },
		func() (*contactv1.State, bool) { return Release(empty, "x") },
	} {
		if s, ok := move(); ok || s != empty {
			t.Error("moved an entry that is not there")
		}
	}
}

func TestApprovedRoomHasNoLease(t *testing.T) {
	t0 := instant("2026-03-02T12:00:00Z")
	s := Reserve(&contactv1.State{Pending: []*contactv1.Pending{pendingOf("a")}}, &contactv1.LedgerEntry{Id: "a", At: timestamppb.New(t0), LeaseUntil: timestamppb.New(t0)})
	if got := Expired(s, t0.Add(24*time.Hour)); got != nil || !Wake(s).IsZero() {
		t.Errorf("expired %v, wake %s: only dispatch frees what it has", got, Wake(s))
	}
	s.Pending[0].Status, s.Pending[0].Until = contactv1.PendingStatus_PENDING_STATUS_DEFERRED, timestamppb.New(t0.Add(time.Hour))
	if got := Wake(s); !got.Equal(t0.Add(time.Hour)) {
		t.Errorf("wake at %s, want the deferred one's time", got)
	}
}

// Trimming never drops what a window still needs, and a ledger full of that says no.
func TestTrim(t *testing.T) {
	now := instant("2026-06-01T12:00:00Z")
	week := []*Policy{compiled(t, &definitionv1.ContactPolicy{Caps: []*definitionv1.Cap{{Max: 200, Per: rolling("P7D")}}})}
	year := []*Policy{compiled(t, &definitionv1.ContactPolicy{Caps: []*definitionv1.Cap{{Max: 200, Per: rolling("P365D")}}})}
	fill := func(n int, age time.Duration, change func(int, *contactv1.LedgerEntry)) *contactv1.State {
		s := reachable("Europe/London")
		for i := range n {
			e := &contactv1.LedgerEntry{
				Id: fmt.Sprint(i), At: timestamppb.New(now.Add(-age)), State: contactv1.EntryState_ENTRY_STATE_COMMITTED, Counts: true, Channel: "sms",
			}
			if change != nil {
				change(i, e)
			}
			s.Ledger = append(s.Ledger, e)
		}
		return s
	}
	reserve := func(_ int, e *contactv1.LedgerEntry) { e.State = contactv1.EntryState_ENTRY_STATE_RESERVED }
	const days = 24 * time.Hour
	for _, c := range []struct {
		name     string
		state    *contactv1.State
		policies []*Policy
		want     int
		full     bool
	}{
		{"young ones stay", fill(10, 89*days, nil), week, 10, false},
		{"old ones go", fill(10, 90*days, nil), week, 0, false},
		{"unless a window needs them", fill(10, 200*days, nil), year, 10, false},
		{"reserved ones stay", fill(10, 200*days, reserve), week, 10, false},
		{"too many: those no window reaches go", fill(300, 8*days, nil), week, 256, false},
		{"too many: those that do not count go first", fill(300, days, func(i int, e *contactv1.LedgerEntry) { e.Counts = i%3 > 0 }), week, 256, false},
		{"too many that are needed: they stay, and nobody else is let in", fill(300, days, nil), week, 300, true},
	} {
		before := c.state.CloneVT()
		got := Trim(c.state, c.policies, now)
		if len(got.GetLedger()) != c.want {
			t.Errorf("%s: %d entries, want %d", c.name, len(got.GetLedger()), c.want)
		}
		if !before.EqualVT(c.state) {
			t.Errorf("%s: Trim changed its argument", c.name)
		}
		v := Check(got, mail("p"), []*Policy{}, Env{Now: now}, Fast)
		if kind(v) != "APPROVED" {
			t.Errorf("%s: without policies nothing is needed, but it is %s", c.name, kind(v))
		}
		v = Check(got, mail("p"), c.policies, Env{Now: now}, Fast)
		if c.full != (kind(v) == "SUPPRESSED" && codes(v.Reasons) == "CAP_REACHED") && c.want > 0 && c.want < 200 {
			t.Errorf("%s: %s %s", c.name, kind(v), codes(v.Reasons))
		}
	}
	busy := fill(256, days, nil)
	if v := Check(busy, mail("p"), []*Policy{compiled(t, &definitionv1.ContactPolicy{
		Caps: []*definitionv1.Cap{{Max: 1, Per: rolling("P7D"), Channel: "email"}},
	})}, Env{Now: now}, Fast); codes(v.Reasons) != "CAP_REACHED" {
		t.Errorf("a full ledger lets %s %s in", kind(v), codes(v.Reasons))
	}
}

// Room that is reserved is taken until it is used or released: the send may come at any moment.
func TestReservedRoomDoesNotAge(t *testing.T) {
	now := instant("2026-03-02T00:05:00Z")
	for _, per := range []*definitionv1.Window{calendar("day", "UTC"), rolling("PT2H")} {
		policies := []*Policy{compiled(t, &definitionv1.ContactPolicy{Caps: []*definitionv1.Cap{{Max: 1, Per: per}}})}
		s := Reserve(reachable("Europe/London"), &contactv1.LedgerEntry{
			Id: "a", Action: "thanks", Channel: "email", Counts: true,
			At: timestamppb.New(now.Add(-3 * time.Hour)), LeaseUntil: timestamppb.New(now.Add(time.Hour)),
		})
		v := Check(s, mail("p"), policies, Env{Now: now}, Fast)
		if codes(v.Reasons) != "CAP_REACHED" || v.Reasons[0].GetEvidence()[0] != "thanks Sun 21:05 (reserved)" {
			t.Errorf("%v: got %s %v, want CAP_REACHED by what is reserved", per, kind(v), v.Reasons)
		}
		s, _ = Commit(s, "a", now.Add(-150*time.Minute))
		if v := Check(s, mail("p"), policies, Env{Now: now}, Fast); kind(v) != "APPROVED" {
			t.Errorf("%v: sent before the window, got %s %s", per, kind(v), codes(v.Reasons))
		}
	}
}
