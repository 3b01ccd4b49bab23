package ledger

import (
	"fmt"
	"testing"
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
)

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
				entry := &contactv1.LedgerEntry{Id: id, Channel: "email", Action: "call", Purpose: "marketing", Counts: true}
				w.decide(suppression, 0, is{key: ann, facts: []encoder{
					&contactv1.Fact{Fact: &contactv1.Fact_ReservationMade{ReservationMade: &contactv1.ReservationMade{Entry: entry}}},
				}}).record.Revision = c.taken
				w.tick(time.Minute)
				w.decide(suppression, 0, is{key: ann, facts: []encoder{
					&contactv1.Fact{Fact: &contactv1.Fact_ReservationCommitted{ReservationCommitted: &contactv1.ReservationCommitted{Id: id}}},
				}}).record.Revision = "r2"
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
