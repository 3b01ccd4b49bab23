package decisionsvc

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/stage"
)

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func resolved(t *testing.T, proposal string, how decisionv1.Resolution) stage.Input {
	t.Helper()
	return stage.Input{Source: stage.FromAfter, Name: "vdc", Facts: [][]byte{
		encode(t, &contactv1.Fact{Fact: &contactv1.Fact_VerdictGiven{VerdictGiven: &contactv1.VerdictGiven{}}}),
		encode(t, &contactv1.Fact{Fact: &contactv1.Fact_ProposalResolved{ProposalResolved: &decisionv1.ProposalResolved{Proposal: proposal, Resolution: how}}}),
	}}
}

func TestACourseFromEventToTheEndOfTheJourney(t *testing.T) {
	b := newBench(t)
	equal(t, "an event that starts nothing", b.before(placed("o0", 5)), []string(nil))
	equal(t, "the first event tells suppression the basis", b.before(created(placed("o1", 20))),
		[]string{"basis_updated", "enrollment_started", "step_entered", "proposal_made"})
	equal(t, "the collection's end is the wake-up", b.wake, start.Add(10*time.Minute))
	equal(t, "at its end", b.timer(), []string{"decision_made", "dispatch_treatment"})
	proposal := b.state().GetProposals()[0].GetId()
	equal(t, "a chosen proposal has no wake-up", b.wake, time.Time{})
	equal(t, "the answer makes the enrollment ready", b.decide(resolved(t, proposal, decisionv1.Resolution_RESOLUTION_SENT)), []string(nil))
	equal(t, "by a wake-up that is due now", b.wake, b.now)
	equal(t, "which goes on", b.timer(), []string{"step_entered"})
	equal(t, "and waits", b.wake, b.now.Add(24*time.Hour))
	equal(t, "the last step ends it", b.timer(), []string{"enrollment_ended"})
	equal(t, "the entry is remembered", b.before(placed("o2", 20)), []string{"entry_refused"})
	equal(t, "and the timeline says so", b.noted(), []string{"entry_refused welcome REENTRY"})
}

func TestAnEntryThatDidNotHappenIsOnTheTimeline(t *testing.T) {
	b := newBench(t)
	b.before(placed("o1", 20))
	equal(t, "an event while the journey runs", b.before(placed("o2", 20)), []string{"entry_refused"})
	equal(t, "the timeline", b.noted(), []string{"entry_refused welcome ALREADY_ENROLLED"})
}

// A wait of whole days ends at the same hour of the customer's day, whatever the clock does meanwhile. Auckland puts
// its clock back on 7 April 2024.
func TestAWaitOfDaysIsCountedInTheCustomersZone(t *testing.T) {
	autumn := time.Date(2024, 4, 6, 2, 0, 0, 0, time.UTC) // three in the afternoon in Auckland
	tests := map[string]struct {
		zone, workspace, counted string
		length                   time.Duration
	}{
		"the customer's": {zone: "Pacific/Auckland", workspace: "Europe/Berlin", counted: "Pacific/Auckland", length: 25 * time.Hour},
		"the workspace's, where theirs is not known": {workspace: "Pacific/Auckland", counted: "Pacific/Auckland", length: 25 * time.Hour},
		"UTC, where neither is":                      {counted: "UTC", length: 24 * time.Hour},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.fold.book.(shelf).only.rules.DefaultZone = tt.workspace
			if tt.zone != "" {
				b.profile.Leaves[0].Zone = &profilev1.Zone{Name: tt.zone, Provenance: "trait"}
			}
			b.now = autumn
			b.before(placed("o1", 20))
			b.timer()
			b.decide(resolved(t, b.state().GetProposals()[0].GetId(), decisionv1.Resolution_RESOLUTION_SENT))
			equal(t, "facts", b.timer(), []string{"step_entered"})
			equal(t, "the wait", b.wake.Sub(b.now), tt.length)
			entry := b.timeline()[0]
			equal(t, "the timeline names the end", entry.GetUntil().AsTime(), b.wake)
			equal(t, "and the zone", entry.GetZone(), tt.counted)
		})
	}
}

// The store may be behind the log: a profile that is not there yet, or older than what the row came from, decides
// nothing.
func TestATimerWaitsForTheProfileThatItsRowCameFrom(t *testing.T) {
	for what, old := range map[string]func(*bench){
		"older":         func(b *bench) { b.profile = person(b.id) },
		"not there yet": func(b *bench) { b.profile = nil },
	} {
		b := newBench(t)
		b.profile.Version = 2
		b.before(placed("o1", 20))
		newer := b.profile
		old(b)
		equal(t, what, b.timer(), []string(nil))
		equal(t, what+": it comes back", b.wake, b.now.Add(blindRetry))
		equal(t, what+": what waits stays", len(b.state().GetProposals()), 1)
		b.profile = newer
		equal(t, "as new as the row", b.timer(), []string{"decision_made", "dispatch_treatment"})
	}
}

func TestARepeatedAnswerChangesNothing(t *testing.T) {
	b := newBench(t)
	b.before(placed("o1", 20))
	b.timer()
	in := resolved(t, b.state().GetProposals()[0].GetId(), decisionv1.Resolution_RESOLUTION_UNKNOWN)
	b.decide(in)
	once := b.own
	for range 2 {
		b.now = b.now.Add(time.Second)
		b.decide(in)
		if len(b.last.Cells) != 0 {
			t.Fatalf("got %v, want no cell", b.last.Cells)
		}
	}
	equal(t, "the row", b.own, once)
}

func TestBasisComesBeforeWhatRestsOnIt(t *testing.T) {
	b := newBench(t)
	consent := &profilev1.Fact{Fact: &profilev1.Fact_ConsentChanged{ConsentChanged: &profilev1.ConsentChanged{
		Record: &profilev1.ConsentRecord{Consent: &eventv1.Consent{Channel: "email", Topic: "*"}},
	}}}
	equal(t, "facts", b.before(placed("o1", 20), consent), []string{"basis_updated", "enrollment_started", "step_entered", "proposal_made"})
	equal(t, "a change alone", b.before(&profilev1.Fact{Fact: &profilev1.Fact_BasisChanged{BasisChanged: &profilev1.BasisChanged{}}}), []string{"basis_updated"})
}

func TestALinkedProfileEndsEverything(t *testing.T) {
	b := newBench(t)
	b.before(placed("o1", 20))
	b.profile.LinkedTo = []byte("fedcba9876543210")
	link := &profilev1.Fact{Fact: &profilev1.Fact_IdentityLinked{IdentityLinked: &profilev1.IdentityLinked{Cause: "i1"}}}
	equal(t, "facts", b.before(link), []string{"basis_updated", "enrollment_ended", "proposal_resolved"})
	equal(t, "closed", b.state().GetClosed(), true)
	equal(t, "nothing starts any more", b.before(placed("o2", 20)), []string(nil))
}

func TestAnExitRunsBeforeAnEntryAndALateEventStartsNothing(t *testing.T) {
	b := newBench(t)
	late := placed("o1", 20)
	late.GetEventApplied().Late = true
	equal(t, "late", b.before(late), []string{"entry_refused"})
	b.before(placed("o2", 20))
	equal(t, "exit", b.before(happened("x", "refund")), []string{"enrollment_ended", "proposal_resolved"})
}

func TestATimerWithoutTheProfileShardComesBack(t *testing.T) {
	b := newBench(t)
	b.before(placed("o1", 20))
	b.blind = true
	own := b.own
	equal(t, "facts", b.timer(), []string(nil))
	equal(t, "the row stays", b.own, own)
	equal(t, "wake-up", b.wake, b.now.Add(time.Second))
	b.blind = false
	equal(t, "then it goes on", b.timer(), []string{"decision_made", "dispatch_treatment"})
}

// An index entry of which its row does not know any more, since an input before it in the batch has taken the wake-up
// away, is dropped: with a retry it would be a wake-up that nobody asked for.
func TestATimerOfWhichItsRowDoesNotKnowIsDropped(t *testing.T) {
	b := newBench(t)
	b.before(placed("o1", 20))
	b.before(&profilev1.Fact{Fact: &profilev1.Fact_IdentityLinked{IdentityLinked: &profilev1.IdentityLinked{LinkedTo: []byte("fedcba9876543210"), Cause: "i1"}}})
	equal(t, "the row knows of no wake-up", b.wake, time.Time{})
	if b.own == nil {
		t.Fatal("nothing is left of the row: the test shows nothing")
	}
	b.blind = true
	b.timer()
	equal(t, "what the timer writes", len(b.last.Cells), 0)
}

func TestATimerThatComesTooEarlyKeepsItsWakeUp(t *testing.T) {
	b := newBench(t)
	b.before(placed("o1", 20))
	wake := b.wake
	equal(t, "facts", b.decide(stage.Input{Source: stage.FromTimer, Name: "timer"}), []string(nil))
	if len(b.last.Cells) != 1 || !b.last.Cells[0].Wake.Equal(wake) {
		t.Fatalf("got %v, want the row with wake-up %s", b.last.Cells, wake)
	}
}

func TestAWakeUpIsNeverRoundedDown(t *testing.T) {
	at := start.Add(1500 * time.Nanosecond)
	equal(t, "ceil", ceil(at), start.Add(2*time.Microsecond))
	equal(t, "ceil of a whole one", ceil(start), start)
}

func TestAGapClosesContactUntilItsInputIsRedriven(t *testing.T) {
	b := newBench(t)
	in := b.cell(&profilev1.Fact{Fact: &profilev1.Fact_BasisChanged{BasisChanged: &profilev1.BasisChanged{}}})
	in.Key = b.key
	out := b.fold.Gap(in, b, b.env(), "dl-1")
	equal(t, "facts", b.keep(out), []string{"basis_updated"})
	f := &decisionv1.Fact{}
	if err := f.UnmarshalVT(out.Cells[0].Facts[0]); err != nil {
		t.Fatal(err)
	}
	equal(t, "closed", f.GetBasisUpdated().GetBasis().GetClosed().GetCode(), reasonv1.Code_CODE_GAP)

	in.Source = stage.FromRedrive
	equal(t, "the redriven profile is an old one", b.decide(in), []string(nil))
	equal(t, "so the row is read again at once", b.wake, b.now)
	equal(t, "facts of the timer", b.timer(), []string{"basis_updated"})
	equal(t, "the row says nothing any more", len(b.own), 0)
}

func TestATimerThatIsGivenUpIsOnTheTimeline(t *testing.T) {
	b := newBench(t)
	out := b.fold.Gap(stage.Input{Source: stage.FromTimer, Name: "timer", Key: b.key}, b, b.env(), "dl-1")
	if len(out.Cells) != 1 || len(out.Cells[0].Facts) != 0 || len(out.Cells[0].Deltas) == 0 {
		t.Errorf("got %+v, want a line on the timeline and no fact: contact stays open", out.Cells)
	}
}

func TestWhatIsNotACustomerIsNoneOfOurs(t *testing.T) {
	f := NewFold(newShelf(t))
	in := stage.Input{Source: stage.FromBefore, Name: "prf", Key: identity.IdentifierKey("default", []byte("0123456789abcdef"))}
	out, err := f.Decide(in, &bench{t: t}, stage.Env{Revision: "r1"})
	if err != nil || len(out.Cells) != 0 {
		t.Fatalf("got %v, %v, want nothing", out, err)
	}
}

func TestAnUnknownCatalogOrJourneyIsAnError(t *testing.T) {
	b := newBench(t)
	in := b.cell(placed("o1", 20))
	in.Key = b.key
	if _, err := b.fold.Decide(in, b, stage.Env{Now: start, Revision: "r2"}); err == nil {
		t.Error("got no error for a catalog that is not loaded")
	}
	b.before(placed("o1", 20))
	s := b.state()
	s.Enrollments[0].JourneyHash = "other"
	b.own = encode(t, s)
	if _, err := b.fold.Decide(in, b, b.env()); err == nil {
		t.Error("got no error for a journey that no catalog has")
	}
}

// A dead letter of VERDICTS comes back as what it was.
func TestOriginOfRedrivenInputs(t *testing.T) {
	for from, want := range map[string]stage.Source{"prf": stage.FromBefore, "vdc": stage.FromAfter} {
		if got := origin(stage.Input{Source: stage.FromRedrive, Name: "redrive.decision", Redriven: from}); got != want {
			t.Errorf("redriven from %s: got %v, want %v", from, got, want)
		}
	}
}

// What a collection starts links to the event that made the proposal.
func TestProposalsRememberTheirTrace(t *testing.T) {
	made := &decisionv1.Proposal{Id: "p1"}
	tr := &turn{
		state: &decisionv1.State{Proposals: []*decisionv1.Proposal{{Id: "p0"}, {Id: "p1"}}},
		facts: []*decisionv1.Fact{{Fact: &decisionv1.Fact_ProposalMade{ProposalMade: &decisionv1.ProposalMade{Proposal: made}}}},
	}
	tr.trace("00-a-b-01")
	if made.GetTraceparent() == "" || tr.state.GetProposals()[1].GetTraceparent() == "" || tr.state.GetProposals()[0].GetTraceparent() != "" {
		t.Errorf("got %v and %v, want the trace on p1 only", made, tr.state)
	}
	later := &turn{facts: []*decisionv1.Fact{{Fact: &decisionv1.Fact_DispatchTreatment{DispatchTreatment: &decisionv1.DispatchTreatment{Proposal: tr.state.GetProposals()[1]}}}}}
	if got := later.links(); len(got) != 1 || got[0] != "00-a-b-01" {
		t.Errorf("links: got %v", got)
	}
}
