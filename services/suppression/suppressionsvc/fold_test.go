package suppressionsvc

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/contact"
	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/window"
)

// book is Catalogs with one set of definitions for every revision.
type book struct{ defs *Definitions }

func (b book) At(_, _ string) (*Definitions, bool)     { return b.defs, true }
func (b book) Prepare(context.Context, string) error   { return nil }
func (b book) Current(context.Context) (string, error) { return "r1", nil }

func definitions(t *testing.T, policy *definitionv1.ContactPolicy) *Definitions {
	t.Helper()
	d := &Definitions{
		Revision: "r1",
		Actions: map[string]*decide.Action{
			"welcome": {Name: "welcome", Purpose: "marketing", ObeysCaps: true, CountsTowardCaps: true},
			"receipt": {Name: "receipt", Purpose: "transactional"},
		},
		Channels: map[string]*definitionv1.Channel{"email": {Adapter: "smtp", Endpoint: "email"}, "team": {Adapter: "file"}},
	}
	if policy != nil {
		p, problems := contact.Compile("cadence", policy)
		if len(problems) > 0 {
			t.Fatalf("compile: %v", problems)
		}
		d.Policies = append(d.Policies, p)
	}
	return d
}

// bench plays inputs against one row, as the runtime would.
type bench struct {
	t     *testing.T
	fold  *fold
	key   string
	row   []byte
	now   time.Time
	wake  time.Time
	facts []string // of the last input
	notes []string
	reply any

	members   map[stage.Member]bool
	addressed []stage.Addressed // of the last input
}

func newBench(t *testing.T, policy *definitionv1.ContactPolicy) *bench {
	return &bench{
		t: t, members: map[stage.Member]bool{}, key: identity.CustomerKey("default", make([]byte, identity.IDSize)), now: instant("2026-03-02T12:00:00Z"),
		fold: &fold{catalogs: book{definitions(t, policy)}, zones: &window.Zones{}, lease: 5 * time.Minute},
	}
}

func instant(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

// Own, Has and Foreign implement stage.Rows.
func (b *bench) Own(string) []byte                     { return b.row }
func (b *bench) Has(set, value string) bool            { return b.members[stage.Member{Set: set, Value: value}] }
func (b *bench) Foreign(string, string) ([]byte, bool) { return nil, false }

func (b *bench) env() stage.Env { return stage.Env{Now: b.now, Revision: "r1"} }

func (b *bench) play(in stage.Input) error {
	b.t.Helper()
	in.Key = b.key
	if in.At.IsZero() {
		in.At = b.now
	}
	if _, err := b.fold.Needs(in, time.Time{}); err != nil {
		return err
	}
	before := string(b.row)
	out, err := b.fold.Decide(in, b, b.env())
	if err == nil {
		again, _ := b.fold.Decide(in, b, b.env())
		if diff := cmp.Diff(fmt.Sprintf("%+v", out.Cells), fmt.Sprintf("%+v", again.Cells)); diff != "" {
			b.t.Errorf("the same input twice on the same row differs: %s", diff)
		}
	}
	if string(b.row) != before {
		b.t.Error("the fold changed a row that it was given")
	}
	if err != nil {
		return err
	}
	b.take(out)
	return nil
}

func (b *bench) take(out stage.Outcome) {
	b.t.Helper()
	b.facts, b.notes, b.reply, b.addressed = nil, nil, out.Reply, out.Addressed
	for _, c := range out.Cells {
		if c.State != nil {
			b.row, b.wake = c.State, c.Wake
		}
		for _, raw := range c.Facts {
			b.facts = append(b.facts, show(b.t, raw))
		}
		for _, d := range c.Deltas {
			if d.GetKind() == stagev1.DeltaKind_DELTA_KIND_DROP {
				maps.DeleteFunc(b.members, func(m stage.Member, _ bool) bool { return m.Set == d.GetName() })
			}
			if d.GetKind() == stagev1.DeltaKind_DELTA_KIND_ADD {
				b.members[stage.Member{Set: d.GetName(), Value: string(d.GetValue())}] = true
			}
			if d.GetKind() == stagev1.DeltaKind_DELTA_KIND_APPEND {
				line := &profilev1.TimelineEntry{}
				if err := line.UnmarshalVT(d.GetValue()); err != nil {
					b.t.Fatal(err)
				}
				b.notes = append(b.notes, strings.TrimSpace(line.GetWhat()+" "+reasonCodes(line.GetReasons())))
			}
		}
	}
}

func show(t *testing.T, raw []byte) string {
	t.Helper()
	f := &contactv1.Fact{}
	if err := f.UnmarshalVT(raw); err != nil {
		t.Fatal(err)
	}
	switch x := f.GetFact().(type) {
	case *contactv1.Fact_VerdictGiven:
		v := x.VerdictGiven
		text := strings.TrimPrefix(v.GetKind().String(), "VERDICT_KIND_") + " " + v.GetRequest().GetProposal().GetId()
		if v.GetUntil() != nil {
			text += " until " + v.GetUntil().AsTime().Format("15:04")
		}
		if v.GetNotAfter() != nil {
			text += " " + v.GetTreatment().GetId() + " not after " + v.GetNotAfter().AsTime().Format("15:04")
		}
		return strings.TrimSpace(text + " " + reasonCodes(v.GetReasons()))
	case *contactv1.Fact_ProposalResolved:
		r := x.ProposalResolved
		return strings.TrimSpace("resolved " + r.GetProposal() + " " + strings.TrimPrefix(r.GetResolution().String(), "RESOLUTION_") + " " + reasonCodes(r.GetReasons()))
	case *contactv1.Fact_ReservationCommitted:
		return fmt.Sprintf("committed %s doubt=%v", x.ReservationCommitted.GetId(), x.ReservationCommitted.GetInDoubt())
	case *contactv1.Fact_ReservationReleased:
		return "released " + x.ReservationReleased.GetId()
	case *contactv1.Fact_ReservationMade:
		return "reserved " + x.ReservationMade.GetEntry().GetId()
	case *contactv1.Fact_ApprovalWithdrawn:
		return "withdraw " + x.ApprovalWithdrawn.GetProposal()
	case *contactv1.Fact_LedgerHandedOver:
		return fmt.Sprintf("handed over %d", x.LedgerHandedOver.GetContacts())
	case *contactv1.Fact_LedgerTakenOver:
		return fmt.Sprintf("taken over %d", x.LedgerTakenOver.GetContacts())
	}
	return "?"
}

func reasonCodes(reasons []*reasonv1.Reason) string {
	out := make([]string, 0, len(reasons))
	for _, r := range reasons {
		out = append(out, strings.TrimPrefix(r.GetCode().String(), "CODE_"))
	}
	return strings.Join(out, " ")
}

func (b *bench) want(facts ...string) {
	b.t.Helper()
	if diff := cmp.Diff(strings.Join(facts, "\n"), strings.Join(b.facts, "\n")); diff != "" {
		b.t.Fatalf("facts (-want +got):\n%s", diff)
	}
}

func (b *bench) before(facts ...*decisionv1.Fact) stage.Input {
	in := stage.Input{Source: stage.FromBefore, Name: "act"}
	for _, f := range facts {
		raw, err := f.MarshalVT()
		if err != nil {
			b.t.Fatal(err)
		}
		in.Facts = append(in.Facts, raw)
	}
	return in
}

func (b *bench) acted(facts ...*decisionv1.Fact) {
	b.t.Helper()
	if err := b.play(b.before(facts...)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) reported(id string, status dispatchv1.Status, why ...reasonv1.Code) {
	b.t.Helper()
	r := &dispatchv1.DeliveryReported{Proposal: id, Status: status, Channel: "email"}
	for _, code := range why {
		r.Reasons = append(r.Reasons, &reasonv1.Reason{Code: code})
	}
	raw, err := (&dispatchv1.Fact{Fact: &dispatchv1.Fact_DeliveryReported{DeliveryReported: r}}).MarshalVT()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.play(stage.Input{Source: stage.FromAfter, Name: "snd", Facts: [][]byte{raw}}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) timer() {
	b.t.Helper()
	if err := b.play(stage.Input{Source: stage.FromTimer, Name: "timer"}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) state() *contactv1.State {
	b.t.Helper()
	s := &contactv1.State{}
	if err := s.UnmarshalVT(b.row); err != nil {
		b.t.Fatal(err)
	}
	return s
}

func basis(zone string) *decisionv1.Fact {
	return &decisionv1.Fact{Fact: &decisionv1.Fact_BasisUpdated{BasisUpdated: &decisionv1.BasisUpdated{Basis: &decisionv1.ContactBasis{
		Consents: []*profilev1.ConsentRecord{{
			Consent: &eventv1.Consent{State: eventv1.ConsentState_CONSENT_STATE_GIVEN, Channel: "email", Topic: "*"},
			At:      timestamppb.New(instant("2026-01-01T00:00:00Z")),
		}},
		Endpoints: []*profilev1.Endpoint{{Channel: "email", Address: "a@shop.example"}},
		Zone:      &profilev1.Zone{Name: zone, Provenance: "trait"},
	}}}}
}

func propose(id, action string) *decisionv1.Fact {
	purpose := "marketing"
	if action == "receipt" {
		purpose = "transactional"
	}
	return &decisionv1.Fact{Fact: &decisionv1.Fact_DispatchTreatment{DispatchTreatment: &decisionv1.DispatchTreatment{
		Proposal:   &decisionv1.Proposal{Id: id, Action: action, Purpose: purpose, Cause: &decisionv1.Cause{Enrollment: "e1"}},
		Treatments: []*decisionv1.TreatmentRef{{Id: "mail", Channel: "email", To: "customer", Topic: "news"}},
	}}}
}

func withdraw(id string) *decisionv1.Fact {
	return &decisionv1.Fact{Fact: &decisionv1.Fact_WithdrawProposal{WithdrawProposal: &decisionv1.WithdrawProposal{
		Proposal: id, Reason: &reasonv1.Reason{Code: reasonv1.Code_CODE_WITHDRAWN},
	}}}
}

func onePerWeek() *definitionv1.ContactPolicy {
	return &definitionv1.ContactPolicy{Caps: []*definitionv1.Cap{{Max: 1, Per: &definitionv1.Window{Rolling: "P7D"}}}}
}

func night() *definitionv1.ContactPolicy {
	return &definitionv1.ContactPolicy{Quiet: &definitionv1.Quiet{From: "20:00", To: "08:00"}}
}

func TestApproveThenWhatBecameOfIt(t *testing.T) {
	for _, c := range []struct {
		name   string
		status dispatchv1.Status
		why    []reasonv1.Code
		want   []string
		next   string // the verdict on the next one
	}{
		{"accepted", dispatchv1.Status_STATUS_ACCEPTED, nil, []string{"committed p1 doubt=false", "resolved p1 SENT"}, "SUPPRESSED p2 CAP_REACHED"},
		{"unknown counts as sent", dispatchv1.Status_STATUS_UNKNOWN, nil, []string{"committed p1 doubt=true", "resolved p1 UNKNOWN"}, "SUPPRESSED p2 CAP_REACHED"},
		{"rejected", dispatchv1.Status_STATUS_REJECTED, nil, []string{"released p1", "resolved p1 SUPPRESSED PROVIDER_REJECTED"}, "APPROVED p2 mail not after 16:01"},
		{
			"too late", dispatchv1.Status_STATUS_UNSENT, []reasonv1.Code{reasonv1.Code_CODE_PROVIDER_THROTTLED, reasonv1.Code_CODE_APPROVAL_EXPIRED},
			[]string{"released p1", "resolved p1 EXPIRED PROVIDER_THROTTLED APPROVAL_EXPIRED"}, "APPROVED p2 mail not after 16:01",
		},
		{
			"withdrawn", dispatchv1.Status_STATUS_UNSENT, []reasonv1.Code{reasonv1.Code_CODE_IDENTITY_LINKED},
			[]string{"released p1", "resolved p1 WITHDRAWN IDENTITY_LINKED"}, "APPROVED p2 mail not after 16:01",
		},
		{
			"blocked late", dispatchv1.Status_STATUS_UNSENT, []reasonv1.Code{reasonv1.Code_CODE_LATE_BLOCK, reasonv1.Code_CODE_UNSUBSCRIBED},
			[]string{"released p1", "resolved p1 SUPPRESSED LATE_BLOCK UNSUBSCRIBED"}, "APPROVED p2 mail not after 16:01",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, onePerWeek())
			b.acted(basis("Europe/London"), propose("p1", "welcome"))
			b.want("APPROVED p1 mail not after 16:00")
			b.acted(propose("p1", "welcome"))
			b.want() // known already
			b.now = b.now.Add(time.Minute)
			b.reported("p1", dispatchv1.Status_STATUS_QUEUED, reasonv1.Code_CODE_PROVIDER_THROTTLED)
			b.want() // it will be tried again
			b.reported("p1", c.status, c.why...)
			b.want(c.want...)
			row := string(b.row)
			b.reported("p1", c.status, c.why...)
			b.want() // said already
			if string(b.row) != row {
				t.Error("a repeated report changed the row")
			}
			b.acted(propose("p2", "welcome"))
			if len(b.facts) == 0 || b.facts[0] != c.next {
				t.Errorf("then %v, want %s", b.facts, c.next)
			}
		})
	}
}

func TestDoubtIsSettledLater(t *testing.T) {
	b := newBench(t, onePerWeek())
	b.acted(basis("Europe/London"), propose("p1", "welcome"))
	b.reported("p1", dispatchv1.Status_STATUS_UNKNOWN)
	b.reported("p1", dispatchv1.Status_STATUS_REJECTED)
	b.want() // what may have been sent keeps its room
	b.reported("p1", dispatchv1.Status_STATUS_ACCEPTED)
	b.want("committed p1 doubt=false")
}

func TestDefer(t *testing.T) {
	b := newBench(t, night())
	b.now = instant("2026-03-02T21:00:00Z")
	b.acted(basis("Europe/London"), propose("p1", "welcome"), propose("p2", "receipt"))
	b.want("DEFERRED p1 until 08:00 QUIET_HOURS", "APPROVED p2 mail not after 01:00")
	if want := instant("2026-03-03T08:00:00Z"); !b.wake.Equal(want) {
		t.Fatalf("wakes at %s, want %s", b.wake, want)
	}
	b.now = b.now.Add(time.Minute)
	b.timer()
	b.want() // too early: only the index is set again
	b.now = b.wake
	b.timer()
	b.want("APPROVED p1 mail not after 12:00")
	if !b.wake.IsZero() {
		t.Errorf("wakes at %s although nothing is due", b.wake)
	}
}

func TestDeferredThenBlocked(t *testing.T) {
	b := newBench(t, night())
	b.now = instant("2026-03-02T21:00:00Z")
	b.acted(basis("Europe/London"), propose("p1", "welcome"))
	gone := basis("Europe/London")
	gone.GetBasisUpdated().Basis.Consents = nil
	b.acted(gone)
	b.want() // looked at when it is due
	b.now = b.wake
	b.timer()
	b.want("SUPPRESSED p1 DEFER_EXPIRED CONSENT_MISSING", "resolved p1 SUPPRESSED DEFER_EXPIRED CONSENT_MISSING")
	if got := b.state().GetPending(); len(got) != 0 {
		t.Errorf("still pending: %v", got)
	}
}

func TestDeferredAgainUntilItMayWaitNoLonger(t *testing.T) {
	b := newBench(t, &definitionv1.ContactPolicy{Quiet: &definitionv1.Quiet{From: "20:00", To: "08:00", MaxDefer: "P1D"}})
	b.now = instant("2026-03-02T21:00:00Z")
	b.acted(basis("Europe/London"), propose("p1", "welcome"))
	b.want("DEFERRED p1 until 08:00 QUIET_HOURS")
	b.acted(basis("America/New_York"))
	b.now = b.wake
	b.timer()
	b.want("DEFERRED p1 until 13:00 QUIET_HOURS")
	b.acted(basis("Pacific/Honolulu"))
	b.now = b.wake
	b.timer()
	b.want("DEFERRED p1 until 18:00 QUIET_HOURS")
	b.acted(basis("Asia/Tokyo"))
	b.now = b.wake
	b.timer() // 08:00 in Tokyo is 23:00, and a day is over at 21:00
	b.want("SUPPRESSED p1 DEFER_EXPIRED QUIET_HOURS", "resolved p1 SUPPRESSED DEFER_EXPIRED QUIET_HOURS")
}

func TestWithdraw(t *testing.T) {
	b := newBench(t, night())
	b.acted(basis("Europe/London"), propose("p1", "welcome"))
	b.acted(withdraw("p1"))
	b.want("withdraw p1")
	b.reported("p1", dispatchv1.Status_STATUS_UNSENT, reasonv1.Code_CODE_WITHDRAWN)
	b.want("released p1", "resolved p1 WITHDRAWN WITHDRAWN")
	b.acted(withdraw("p1"))
	b.want() // resolved already; decision reads so
	b.now = instant("2026-03-02T21:00:00Z")
	b.acted(propose("p2", "welcome"))
	b.acted(withdraw("p2"))
	b.want("resolved p2 WITHDRAWN WITHDRAWN")
	if !b.wake.IsZero() {
		t.Errorf("wakes at %s for what was withdrawn", b.wake)
	}
}

// An input that is given up closes contact, and what was proposed in it is never sent, redriven or not.
func TestGap(t *testing.T) {
	b := newBench(t, nil)
	b.acted(basis("Europe/London"))
	lost := b.before(basis("Asia/Tokyo"), propose("p1", "welcome"))
	lost.Key = b.key
	b.take(b.fold.Gap(lost, b, b.env(), "dlq-1"))
	b.want("SUPPRESSED p1 GAP", "resolved p1 SUPPRESSED GAP")
	b.acted(propose("p2", "welcome"))
	b.want("SUPPRESSED p2 GAP", "resolved p2 SUPPRESSED GAP")
	redriven := lost
	redriven.Source, redriven.Redriven, redriven.ID = stage.FromRedrive, "act", "dlq-1"
	b.take(b.fold.Gap(redriven, b, b.env(), "dlq-3")) // given up again
	b.want()                                          // it has ended
	redriven.ID = "dlq-3"
	if err := b.play(redriven); err != nil {
		t.Fatal(err)
	}
	b.want()
	if len(b.members) > 0 { // of a dead letter that came back nothing is remembered
		t.Errorf("sets: got %v, want none", b.members)
	}
	if got := contact.Zone(b.state()); got != "Asia/Tokyo" {
		t.Errorf("the redriven basis was not taken: zone %s", got)
	}
	b.acted(propose("p3", "welcome"))
	b.want("APPROVED p3 mail not after 16:00")
	if err := b.play(redriven); err != nil || contact.Zone(b.state()) != "Asia/Tokyo" {
		t.Fatal(err)
	}
	b.acted(basis("Europe/London"))
	if err := b.play(redriven); err != nil || contact.Zone(b.state()) != "Europe/London" {
		t.Errorf("an old basis came back: %v", err)
	}
	late := stage.Input{Source: stage.FromAfter, Key: b.key, Facts: [][]byte{{0xff}}}
	b.take(b.fold.Gap(late, b, b.env(), "dlq-2"))
	if got := b.state(); got.GetBasis().GetClosed() != nil || contact.Find(got, "p3") == nil {
		t.Error("a lost report closed contact or freed room")
	}
}

func TestWhatCannotBeReadIsAnError(t *testing.T) {
	b := newBench(t, nil)
	for name, in := range map[string]stage.Input{
		"a broken fact of decision": {Source: stage.FromBefore, Facts: [][]byte{{0xff}}},
		"a broken fact of dispatch": {Source: stage.FromAfter, Facts: [][]byte{{0xff}}},
		"a proposal without an id":  b.before(propose("", "welcome")),
		"a letter":                  {Source: stage.FromBox},
	} {
		if err := b.play(in); fault.Of(err) != fault.Invalid {
			t.Errorf("%s: got %v, want an Invalid error", name, err)
		}
	}
	if _, err := b.fold.Needs(stage.Input{Key: "default/i/00"}, time.Time{}); fault.Of(err) != fault.Invalid {
		t.Errorf("an identifier's row: got %v, want an Invalid error", err)
	}
}

func (b *bench) ask(r request) error {
	b.t.Helper()
	return b.play(stage.Input{Source: stage.FromRPC, Name: "rpc", Request: r})
}

func TestReserveCommitRelease(t *testing.T) {
	b := newBench(t, onePerWeek())
	mail := &contactv1.Contact{Action: "phone-call", Channel: "email", Topic: "news"}
	b.acted(basis("Europe/London"))
	for i := range 2 {
		if err := b.ask(reserveRequest{"call-0001", mail}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			b.want("reserved call-0001")
		} else {
			b.want()
		}
		res := b.reply.(*contactv1.ReserveResponse)
		if res.GetKind() != contactv1.VerdictKind_VERDICT_KIND_APPROVED || !res.GetLeaseUntil().AsTime().Equal(b.now.Add(5*time.Minute)) {
			t.Fatalf("reserved: %v", res)
		}
	}
	if err := b.ask(reserveRequest{"call-0002", mail}); err != nil || b.reply.(*contactv1.ReserveResponse).GetKind() != contactv1.VerdictKind_VERDICT_KIND_SUPPRESSED {
		t.Fatalf("a second reservation: %v, %v", b.reply, err)
	}
	b.want()
	if got := strings.Join(b.notes, ";"); got != "contact_refused CAP_REACHED" {
		t.Errorf("timeline %q", got)
	}
	for i := range 2 {
		if err := b.ask(releaseRequest{"call-0001"}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			b.want("released call-0001")
		} else {
			b.want()
		}
	}
	if err := b.ask(commitRequest{"call-0001"}); fault.Of(err) != fault.NotFound {
		t.Errorf("commit after release: %v, want NotFound", err)
	}
	if err := b.ask(reserveRequest{"call-0003", mail}); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(time.Minute)
	for range 2 {
		if err := b.ask(commitRequest{"call-0003"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.ask(releaseRequest{"call-0003"}); fault.Of(err) != fault.Conflict {
		t.Errorf("release after commit: %v, want Conflict", err)
	}
	if !b.wake.IsZero() {
		t.Errorf("wakes at %s for a committed contact", b.wake)
	}
}

func TestLeaseEnds(t *testing.T) {
	b := newBench(t, onePerWeek())
	b.acted(basis("Europe/London"))
	if err := b.ask(reserveRequest{"call-0001", &contactv1.Contact{Action: "call", Channel: "email"}}); err != nil {
		t.Fatal(err)
	}
	b.now = b.wake
	b.timer()
	b.want("released call-0001")
	if got := strings.Join(b.notes, ";"); got != "contact_released APPROVAL_EXPIRED" {
		t.Errorf("timeline %q", got)
	}
	if err := b.ask(reserveRequest{"call-0001", &contactv1.Contact{Action: "call", Channel: "email"}}); err != nil {
		t.Fatal(err)
	}
	b.want("reserved call-0001") // a repeat that comes too late takes room anew
	if err := b.ask(releaseRequest{"call-0001"}); err != nil {
		t.Fatal(err)
	}
	b.acted(propose("p1", "welcome"))
	if err := b.ask(releaseRequest{"p1"}); fault.Of(err) != fault.Conflict {
		t.Errorf("a caller released a proposal's room: %v", err)
	}
}
