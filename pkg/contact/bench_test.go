package contact

import (
	"testing"
	"time"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/window"
)

// A customer with ten contacts under three caps, a gap and quiet hours.
func BenchmarkCheck(b *testing.B) {
	now := instant("2026-03-02T12:00:00Z")
	p, problems := Compile("cadence", &definitionv1.ContactPolicy{
		Caps: []*definitionv1.Cap{
			{Max: 20, Per: rolling("P28D")}, {Max: 1, Per: calendar("day", "recipient"), Channel: "email"}, {Max: 12, Per: calendar("month", "recipient")},
		},
		Gap: "PT6H", Quiet: &definitionv1.Quiet{From: "20:00", To: "08:00"},
	})
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	s := reachable("America/New_York")
	for i := range 10 {
		sent(s, "welcome-mail", "email", now.Add(-time.Duration(i+2)*36*time.Hour))
	}
	zones, policies, c := &window.Zones{}, []*Policy{p}, mail("p")
	for b.Loop() {
		if v := Check(s, c, policies, Env{Now: now.Add(3 * time.Hour), Zones: zones}, Fast); kind(v) != "APPROVED" {
			b.Fatalf("%s %s", kind(v), codes(v.Reasons))
		}
	}
}
