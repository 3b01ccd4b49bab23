package suppressionsvc

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"

	"refrain.dev/pkg/contact"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/stage"
)

func someone(n byte) []byte { return bytes.Repeat([]byte{n}, identity.IDSize) }

// profileBench is a bench for a profile of its own.
func profileBench(t *testing.T, id []byte, policy *definitionv1.ContactPolicy) *bench {
	b := newBench(t, policy)
	b.key = identity.CustomerKey("default", id)
	b.fold.hasher = identity.NewHasher([]byte("a secret of the tests, 32 bytes..."), 4)
	return b
}

// reached is the basis of a customer who may be mailed, as change makes it.
func reached(change func(*decisionv1.ContactBasis)) *decisionv1.Fact {
	f := basis("Europe/London")
	change(f.GetBasisUpdated().GetBasis())
	return f
}

func (b *bench) letters() []*contactv1.Letter {
	b.t.Helper()
	var out []*contactv1.Letter
	for _, a := range b.addressed {
		l := &contactv1.Letter{}
		if err := l.UnmarshalVT(a.Payload); err != nil {
			b.t.Fatal(err)
		}
		if a.Stage != stageName || a.Partition != b.fold.hasher.Partition(l.GetTo()) {
			b.t.Errorf("a letter to %x goes to %s in partition %d", l.GetTo(), a.Stage, a.Partition)
		}
		out = append(out, l)
	}
	return out
}

func (b *bench) gets(l *contactv1.Letter) {
	b.t.Helper()
	raw, err := l.MarshalVT()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.play(stage.Input{Source: stage.FromBox, Name: "box.suppression", Payload: raw}); err != nil {
		b.t.Fatal(err)
	}
}

func twoPerWeek() *definitionv1.ContactPolicy {
	p := onePerWeek()
	p.Caps[0].Max = 2
	return p
}

// "The contact ledger moves with the address", and nobody is contacted there until it has: whatever had been sent to the
// address counts against what its person gets.
func TestTheContactsOfAnAddressCountForThePersonWhoTakesIt(t *testing.T) {
	old, person := profileBench(t, someone(1), twoPerWeek()), profileBench(t, someone(2), twoPerWeek())
	old.acted(basis("Europe/London"), propose("p1", "welcome"))
	old.reported("p1", dispatchv1.Status_STATUS_ACCEPTED)
	old.acted(propose("p2", "welcome"))
	old.want("APPROVED p2 mail not after 16:00")

	// The claim is not decided, then it is; the ledger is on its way.
	person.acted(reached(func(b *decisionv1.ContactBasis) { b.Endpoints[0].Undecided = true }), propose("q1", "welcome"))
	person.want("DEFERRED q1 until 13:00 ADDRESS_UNSETTLED")
	awaits := reached(func(b *decisionv1.ContactBasis) { b.Awaits = [][]byte{someone(1)} })
	person.acted(awaits)
	person.want()

	// The old profile is closed: everything goes, what is under way too.
	old.acted(reached(func(b *decisionv1.ContactBasis) { b.LinkedTo = someone(2) }))
	old.want("handed over 2")
	letters := old.letters()
	if len(letters) != 1 || len(letters[0].GetHandover().GetLedger()) != 2 {
		t.Fatalf("letters: %v, want one with two contacts", letters)
	}
	person.gets(letters[0])
	person.want("taken over 2") // p2 is under way at the old profile
	person.gets(letters[0])
	person.want()
	person.acted(propose("q2", "welcome"))
	person.want("DEFERRED q2 until 13:00 ADDRESS_UNSETTLED")

	// What became of it follows. Two were sent: that is all for the week.
	old.reported("p2", dispatchv1.Status_STATUS_UNKNOWN)
	old.want("committed p2 doubt=true", "resolved p2 UNKNOWN")
	person.gets(old.letters()[0])
	person.want("committed p2 doubt=true", "SUPPRESSED q1 CAP_REACHED", "resolved q1 SUPPRESSED CAP_REACHED",
		"SUPPRESSED q2 CAP_REACHED", "resolved q2 SUPPRESSED CAP_REACHED")
	old.acted(reached(func(b *decisionv1.ContactBasis) { b.LinkedTo = someone(2) }))
	if len(old.letters()) > 0 {
		t.Error("the ledger was handed over twice")
	}
}

// What was not sent after all gives its room back, also after it has moved.
func TestRoomThatMovedIsFreeWhenItWasNotUsed(t *testing.T) {
	old, person := profileBench(t, someone(1), onePerWeek()), profileBench(t, someone(2), onePerWeek())
	old.acted(basis("Europe/London"), propose("p1", "welcome"))
	old.acted(reached(func(b *decisionv1.ContactBasis) { b.LinkedTo = someone(2) }))
	handover := old.letters()[0]
	person.acted(reached(func(b *decisionv1.ContactBasis) { b.Awaits = [][]byte{someone(1)} }), propose("q1", "welcome"))
	person.want("DEFERRED q1 until 13:00 ADDRESS_UNSETTLED")
	person.gets(handover)
	if !person.wake.Equal(person.now.Add(contact.SettleWithin)) {
		t.Errorf("wake-up at %s: room that a delivery holds is not freed by time", person.wake)
	}
	old.reported("p1", dispatchv1.Status_STATUS_UNSENT)
	person.gets(old.letters()[0])
	person.want("released p1", "APPROVED q1 mail not after 16:00")
	if got := person.state().GetPending()[0]; got.GetTreatment() != "mail" {
		t.Errorf("pending: %v", got)
	}
}

// A profile that waits for a ledger itself hands over only the whole; one that comes later is passed on.
func TestLedgersMoveOnThroughAClosedProfile(t *testing.T) {
	middle := profileBench(t, someone(2), onePerWeek())
	middle.acted(reached(func(b *decisionv1.ContactBasis) { b.Awaits, b.LinkedTo = [][]byte{someone(1)}, someone(3) }))
	if len(middle.letters()) > 0 {
		t.Fatal("it was handed over though something is awaited")
	}
	sent := &contactv1.LedgerEntry{
		Id: "p1", At: timestamppb.New(middle.now), State: contactv1.EntryState_ENTRY_STATE_COMMITTED, Channel: "email", Counts: true,
	}
	from := func(n byte) *contactv1.Letter {
		return &contactv1.Letter{Tenant: "default", To: someone(2), From: someone(n), Letter: &contactv1.Letter_Handover{
			Handover: &contactv1.Handover{Ledger: []*contactv1.LedgerEntry{sent}},
		}}
	}
	middle.gets(from(1))
	middle.want("taken over 1", "handed over 1")
	middle.gets(from(4))
	if l := middle.letters(); len(l) != 1 || !bytes.Equal(l[0].GetTo(), someone(3)) || !bytes.Equal(l[0].GetFrom(), someone(4)) {
		t.Errorf("a late ledger went on as %v", l)
	}
}

// When what is awaited does not come, the contact ends with the reason.
func TestAContactDoesNotWaitForEver(t *testing.T) {
	b := profileBench(t, someone(2), onePerWeek())
	b.acted(reached(func(b *decisionv1.ContactBasis) { b.Awaits = [][]byte{someone(1)} }), propose("q1", "welcome"))
	b.now = b.now.Add(contact.SettleWithin)
	b.timer()
	b.want("SUPPRESSED q1 ADDRESS_UNSETTLED DEFER_EXPIRED", "resolved q1 SUPPRESSED ADDRESS_UNSETTLED DEFER_EXPIRED")
}

// Room that a caller took moves with the ledger: it is used at the new place, and at the old one it is asked for again.
func TestRoomOfCallersMoves(t *testing.T) {
	old, person := profileBench(t, someone(1), onePerWeek()), profileBench(t, someone(2), onePerWeek())
	old.acted(basis("Europe/London"))
	if err := old.ask(reserveRequest{id: "call-0001", contact: &contactv1.Contact{Action: "call", Channel: "email"}}); err != nil {
		t.Fatal(err)
	}
	old.acted(reached(func(b *decisionv1.ContactBasis) { b.LinkedTo = someone(2) }))
	handover := old.letters()[0]
	person.acted(reached(func(b *decisionv1.ContactBasis) { b.Awaits = [][]byte{someone(1)} }))
	for name, b := range map[string]*bench{"old": old, "new, too early": person} {
		if err := b.ask(commitRequest{id: "call-0001"}); err == nil {
			t.Errorf("%s: committed, want to be asked again", name)
		}
	}
	person.gets(handover)
	if err := person.ask(commitRequest{id: "call-0001"}); err != nil {
		t.Errorf("commit after the move: %v", err)
	}
	person.acted(propose("q1", "welcome"))
	person.want("SUPPRESSED q1 CAP_REACHED", "resolved q1 SUPPRESSED CAP_REACHED")
}

// A ledger holds at most its bound, and what is dropped gives nobody room.
func TestTakenOverLedgersAreBounded(t *testing.T) {
	now := instant("2026-03-02T12:00:00Z")
	policy, _ := contact.Compile("cadence", onePerWeek())
	s := &contactv1.State{Basis: basis("Europe/London").GetBasisUpdated().GetBasis()}
	for n := range byte(3) {
		var all []*contactv1.LedgerEntry
		for i := range 200 {
			at := now.Add(-time.Duration(i) * time.Minute)
			all = append(all, &contactv1.LedgerEntry{
				Id: at.String() + string(rune('a'+n)), At: timestamppb.New(at), State: contactv1.EntryState_ENTRY_STATE_COMMITTED, Channel: "email", Counts: true,
			})
		}
		s, _ = contact.TakeOver(s, someone(n), all, []*contact.Policy{policy}, now)
	}
	if len(s.GetLedger()) != contact.MaxLedger || len(s.GetTakenOver()) != 3 {
		t.Errorf("%d contacts of %d profiles, want %d of 3", len(s.GetLedger()), len(s.GetTakenOver()), contact.MaxLedger)
	}
}
