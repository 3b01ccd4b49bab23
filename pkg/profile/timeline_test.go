package profile_test

import (
	"strings"
	"testing"

	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/profile"
)

func TestATimelineHasRoomForAMonthAndIsBoundedInBytes(t *testing.T) {
	if profile.TimelineLength < 30*30 {
		t.Errorf("%d lines are not a month of thirty events a day", profile.TimelineLength)
	}
	reason := func(n int) *reasonv1.Reason {
		return &reasonv1.Reason{
			Code: reasonv1.Code_CODE_CAP_REACHED, Rule: strings.Repeat("r", n), Revision: strings.Repeat("v", n), Until: stamp(1),
			Evidence: []string{strings.Repeat("é", n), strings.Repeat("f", n)}, Remedy: strings.Repeat("m", n),
		}
	}
	for name, e := range map[string]*profilev1.TimelineEntry{
		"usual":        {At: stamp(1), Stage: "profile", What: "event_applied", Subject: "order_placed", Id: "1"},
		"many reasons": {At: stamp(1), Stage: "suppression", What: "contact_suppressed", Reasons: []*reasonv1.Reason{reason(50), reason(50), reason(50), reason(50), reason(50), reason(50), reason(50), reason(50)}},
		"long reason":  {At: stamp(1), Stage: "suppression", What: "contact_suppressed", Reasons: []*reasonv1.Reason{reason(5000)}},
		"all long": {
			At: stamp(1), OccurredAt: stamp(0), Stage: "profile", What: strings.Repeat("w", 5000), Subject: strings.Repeat("s", 5000),
			Channel: strings.Repeat("c", 5000), Id: strings.Repeat("i", 5000), Reasons: []*reasonv1.Reason{reason(5000), reason(5000)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := e.CloneVT()
			raw, err := profile.EncodeLine(e)
			if err != nil {
				t.Fatal(err)
			}
			if len(raw) > profile.MaxLine || !e.EqualVT(before) {
				t.Errorf("%d bytes, more than %d; or the line was changed", len(raw), profile.MaxLine)
			}
			got := &profilev1.TimelineEntry{}
			if err := got.UnmarshalVT(raw); err != nil {
				t.Fatal(err)
			}
			if e.SizeVT() <= profile.MaxLine {
				check(t, "a short line", got, e)
			}
			if len(e.GetReasons()) > 0 && got.GetReasons()[0].GetCode() != e.GetReasons()[0].GetCode() {
				t.Errorf("the reason is lost: %v", got)
			}
		})
	}
}
