package ledger

import (
	"fmt"
	"testing"
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
)

func roomTaken(id string) encoder {
	entry := &contactv1.LedgerEntry{Id: id, Channel: "email", Action: "call", Purpose: "marketing", Counts: true}
	return &contactv1.Fact{Fact: &contactv1.Fact_ReservationMade{ReservationMade: &contactv1.ReservationMade{Entry: entry}}}
}

func roomUsed(id string) encoder {
	return &contactv1.Fact{Fact: &contactv1.Fact_ReservationCommitted{ReservationCommitted: &contactv1.ReservationCommitted{Id: id}}}
}

func roomFreed(id string) encoder {
	return &contactv1.Fact{Fact: &contactv1.Fact_ReservationReleased{ReservationReleased: &contactv1.ReservationReleased{Id: id}}}
}

// Room that was taken under wider caps may be used when narrower ones have come.
func TestRoomIsJudgedByTheRulesUnderWhichItWasTaken(t *testing.T) {
	wide := worldDefinitions()
	wide.Policies[0].Limits, wide.Policies[0].Gap = []Limit{{Max: 9, Rolling: 2 * time.Hour}}, 0
	for _, c := range []struct {
		name, taken string
		over        bool
	}{
		{"taken before", "r1", false},
		{"taken after", "r2", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := goodWorld(t)
			w.tick(3 * time.Hour)
			for n := range 4 {
				id := fmt.Sprintf("reservation-%d", n)
				w.decide(suppression, 0, is{key: ann, facts: []encoder{roomTaken(id)}}).record.Revision = c.taken
				w.tick(time.Minute)
				w.decide(suppression, 0, is{key: ann, facts: []encoder{roomUsed(id)}}).record.Revision = "r2"
			}
			h := w.history()
			h.Definitions = map[string]*Definitions{"r1": wide, "r2": worldDefinitions()}
			// Revisions go back and forth here, which is wrong and not the point.
			if over := Verify(h).Broken[ContactCap] > 0; over != c.over {
				t.Errorf("a cap was exceeded: %v, want %v", over, c.over)
			}
		})
	}
}

// Room is a decision of when it was taken: contacts that were decided after that, under wider caps, knew of it, and
// may have been made before it was used.
func TestRoomIsUsedAfterContactsThatCameLater(t *testing.T) {
	narrow, wide, uncapped := worldDefinitions(), worldDefinitions(), worldDefinitions()
	narrow.Policies[0].Limits, narrow.Policies[0].Gap = []Limit{{Max: 1, Rolling: 2 * time.Hour}}, time.Hour
	wide.Policies[0].Limits, wide.Policies[0].Gap = []Limit{{Max: 2, Rolling: 2 * time.Hour}}, 0
	uncapped.Policies[0].Limits, uncapped.Policies[0].Gap = nil, 0
	for _, then := range []string{"wide", "uncapped"} {
		w := goodWorld(t)
		w.tick(3 * time.Hour)
		revision := func(name string, facts ...encoder) {
			w.decide(suppression, 0, is{key: ann, facts: facts}).record.Revision = name
			w.tick(time.Second)
		}
		revision("narrow", roomTaken("first"))
		revision(then, roomTaken("second"))
		revision(then, roomUsed("second"))
		revision(then, roomUsed("first"))
		h := w.history()
		h.Definitions = map[string]*Definitions{"r1": worldDefinitions(), "narrow": narrow, "wide": wide, "uncapped": uncapped}
		if broken := Verify(h).Broken; broken[ContactCap]+broken[ContactGap] > 0 {
			t.Errorf("%s: broken: got %v, want neither %s nor %s", then, broken, ContactCap, ContactGap)
		}
	}
}

// An id whose room was freed may take room again.
func TestRoomIsTakenAnew(t *testing.T) {
	w := goodWorld(t)
	w.decide(suppression, 0, is{key: ann, facts: []encoder{roomTaken("first"), roomFreed("first"), roomTaken("first"), roomFreed("first")}})
	if n := Verify(w.history()).Broken[ContactRoom]; n > 0 {
		t.Errorf("broken %s: got %d, want 0", ContactRoom, n)
	}
}
