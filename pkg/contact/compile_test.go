package contact

import (
	"strings"
	"testing"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
)

func rolling(s string) *definitionv1.Window { return &definitionv1.Window{Rolling: s} }

func calendar(unit, zone string) *definitionv1.Window {
	return &definitionv1.Window{Calendar: unit, Zone: zone}
}

func TestCompileReportsEveryProblem(t *testing.T) {
	_, problems := Compile("bad", &definitionv1.ContactPolicy{
		Applies: &definitionv1.Applies{Purpose: []string{"marketing", "fun"}},
		Caps: []*definitionv1.Cap{
			{Max: 0, Per: rolling("P7D")},
			{Max: 999, Per: rolling("P7D")},
			{Max: 1},
			{Max: 1, Per: &definitionv1.Window{Rolling: "P1D", Calendar: "day"}},
			{Max: 1, Per: rolling("7 days")},
			{Max: 1, Per: rolling("P1M")},
			{Max: 1, Per: &definitionv1.Window{Rolling: "P7D", Zone: "recipient"}},
			{Max: 1, Per: calendar("year", "")},
			{Max: 1, Per: calendar("day", "Mars/Base")},
			{Max: 1, Per: rolling("P1D"), MaxDefer: "P1D"},
			{Max: 1, Per: rolling("P1D"), Blocked: "shout"},
			{Max: 1, Per: rolling("P1D"), Blocked: "defer", MaxDefer: "PT0S"},
		},
		Gap:      "P400D",
		Quiet:    &definitionv1.Quiet{From: "20:00", To: "20:00", UnknownZone: "utc"},
		Consent:  "maybe",
		Approval: "P30D",
	})
	want := []string{
		"spec.applies.purpose[1]", "spec.caps[0].max", "spec.caps[1].max", "spec.caps[2].per", "spec.caps[3].per", "spec.caps[4].per", "spec.caps[5].per",
		"spec.caps[6].per.zone", "spec.caps[7].per.calendar", "spec.caps[8].per.zone", "spec.caps[9].max_defer", "spec.caps[10].blocked",
		"spec.caps[11].max_defer", "spec.gap", "spec.quiet.to", "spec.quiet.unknown_zone", "spec.consent", "spec.approval",
	}
	got := make([]string, 0, len(problems))
	for _, p := range problems {
		got = append(got, p.Path)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("problems at\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCompileDefaults(t *testing.T) {
	p := compiled(t, &definitionv1.ContactPolicy{
		Caps:  []*definitionv1.Cap{{Max: 1, Per: calendar("day", "recipient")}},
		Quiet: &definitionv1.Quiet{From: "20:00", To: "08:00"},
	})
	if p.approval != defaultApproval || p.selects || p.quiet.useWorkspace {
		t.Errorf("got %+v, want the defaults", p)
	}
	if got := p.caps[0].onBlock; got != (onBlock{atMost: defaultCapDefer}) {
		t.Errorf("a cap does %+v, want it to drop", got)
	}
	if got := p.quiet.onBlock; got != (onBlock{deferred: true, atMost: defaultQuietDefer}) {
		t.Errorf("quiet hours do %+v, want them to defer", got)
	}
}
