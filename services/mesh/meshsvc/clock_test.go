package meshsvc

import (
	"slices"
	"strings"
	"testing"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"
)

// What was published last is applied when the clock is advanced to it. Until then it is not called settled, and the clock
// says what it waits for.
func TestTheNewestEventIsAppliedByAnAdvanceAndNotSettledBefore(t *testing.T) {
	r := start(t, defaults(), replay)
	clock := stagev1.NewClockServiceClient(r.conn)
	r.stockAt("ada", "back-1", monday)
	r.eventually("only an advance is missing", func() bool {
		at, err := clock.GetClock(t.Context(), &stagev1.GetClockRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if at.GetSettled() {
			t.Fatalf("got settled before the only event is applied: %v", at)
		}
		return at.GetHeld() != nil && len(at.GetOpen()) == 1 && strings.Contains(at.GetOpen()[0], "waits for an advance")
	})
	res, err := clock.AdvanceClock(t.Context(), &stagev1.AdvanceClockRequest{By: "PT0S"})
	if err != nil {
		t.Fatal(err)
	}
	if !res.GetSettled() || len(res.GetOpen()) > 0 {
		t.Fatalf("got %v; want that everything is settled when the advance is answered", res)
	}
	var lines []string // read at once: nothing is waited for any more
	for _, e := range r.timeline(user("ada")) {
		lines = append(lines, e.GetStage()+" "+e.GetWhat())
	}
	want := []string{
		"profile event_applied", "decision journey_entered", "decision proposal_made", "decision decision_made", "decision proposal_chosen",
		"suppression contact_approved", "dispatch delivery_queued", "dispatch delivery_accepted", "suppression contact_sent",
		"decision journey_ended_completed",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("the lines of one instant:\ngot  %v\nwant %v", lines, want)
	}
}

// An advance waits for what it makes due, through all stages.
func TestAnAdvanceWaitsForWhatItMakesDue(t *testing.T) {
	r := start(t, defaults(), replay)
	clock := stagev1.NewClockServiceClient(r.conn)
	r.call("track", object{"userId": "ada", "messageId": "c1", "event": "cart_started", "timestamp": monday, "properties": object{"item": "mug"}})
	res, err := clock.AdvanceClock(t.Context(), &stagev1.AdvanceClockRequest{By: "P30D"})
	if err != nil {
		t.Fatal(err)
	}
	if !res.GetSettled() {
		t.Fatalf("got %v; want all settled", res)
	}
	sent := 0
	for _, e := range r.timeline(user("ada")) {
		if e.GetWhat() == "delivery_accepted" {
			sent++
		}
	}
	if sent != 2 {
		t.Errorf("got %d deliveries when the advance is answered, want both, before and after the wait", sent)
	}
}
