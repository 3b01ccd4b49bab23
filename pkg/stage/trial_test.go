package stage

import (
	"log/slog"
	"strings"
	"testing"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/state"
	"refrain.dev/pkg/telemetry/telemetrytest"
)

func TestTrial(t *testing.T) {
	for name, tc := range map[string]struct {
		revision string
		outcomes string // f fails, . passes
		alarms   int
	}{
		"all fail":                {"r1", "ffffffffff", 1},
		"half fail":               {"r1", ".f.f.f.f.f.f", 1},
		"few fail":                {"r1", "....f....f....f....f....f....f", 0},
		"too few to say":          {"r1", "ffff", 0},
		"no catalog yet":          {"", "ffffffffff", 0},
		"long after it was fine":  {"r1", strings.Repeat(".", trialInputs) + strings.Repeat("f", 3*trialInputs), 0},
		"once, however many fail": {"r1", strings.Repeat("f", trialInputs), 1},
	} {
		t.Run(name, func(t *testing.T) {
			var tr trial
			tr.begin(tc.revision)
			alarms := 0
			for _, o := range tc.outcomes {
				if tr.judge(o == 'f') {
					alarms++
				}
			}
			if alarms != tc.alarms {
				t.Errorf("alarms: got %d, want %d", alarms, tc.alarms)
			}
		})
	}
}

// A bundle that fails many inputs right after it was applied raises an alarm that names it (RUNTIME, poison).
func TestABadCatalogRaisesAnAlarmThatNamesIt(t *testing.T) {
	m := newMesh(t, 1, 8)
	s := m.stage("profile", m.broker, clock.Wall{})
	var out telemetrytest.Log
	s.ports.Logger = slog.New(slog.NewTextHandler(&out, nil))
	stop := m.run(s)
	m.raw(m.broker, "evt.control.0", &stagev1.Arrivals{Items: []*stagev1.Arrival{{
		Item: &stagev1.Arrival_Catalog{Catalog: &stagev1.CatalogApplied{Revision: "bad-one"}},
	}}})
	eventually(t, "it is in force", func() bool { // nothing orders one lane before the other
		view, err := m.store.Read(t.Context(), 0, state.Query{Metas: []string{"profile"}})
		return err == nil && view.Metas["profile"].Revision == "bad-one"
	})
	for range trialFailures {
		a := m.add("ann", 1)
		a.e.Bad = true
		m.publish(m.broker, nil, a)
	}
	eventually(t, "the alarm", func() bool { return strings.Contains(out.String(), "revision=bad-one") })
	stop()
}
