package journey_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/journey"
)

// What a step's template or expression uses of the event travels with the enrollment, up to 16 KiB. What is larger
// is refused with a reason before anything is sent.
func TestWhatStepsUseOfAnEventTravelsWithTheEnrollment(t *testing.T) {
	env, err := expr.NewEnv(expr.Schema{})
	if err != nil {
		t.Fatal(err)
	}
	d, problems := journey.Compile("j", &definitionv1.Journey{
		Entry: &definitionv1.Entry{Event: "order"},
		Steps: []*definitionv1.Step{
			{Id: "a", Wait: "PT1H"},
			{Id: "b", Branch: []*definitionv1.Case{{When: `event.note != "" && event["extra"] != ""`, Exit: true}}},
		},
	}, env)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	d.Need(expr.Reads{Properties: []string{"items"}})
	enter := func(sizes map[string]int) journey.Result {
		e := &eventv1.Event{Id: "e", Type: "order", At: timestamppb.New(time.Unix(0, 0))}
		for _, name := range []string{"unused", "items", "note", "extra", "small"} {
			if n := sizes[name]; n > 0 {
				e.Properties = append(e.Properties, &eventv1.Property{Name: name, Value: event.Text(strings.Repeat("x", n))})
			}
		}
		r, _ := d.Enter(journey.Event{Name: "order", Event: e}, journey.Past{}, journey.Env{Now: time.Unix(0, 0), Tenant: "t"})
		return r
	}
	r := enter(map[string]int{"unused": 5000, "items": 12000, "note": 1500, "extra": 1500, "small": 10})
	var kept []string
	for _, p := range r.Enrollment.GetEvent() {
		kept = append(kept, p.GetName())
	}
	if got := strings.Join(kept, " "); got != "items note extra small" {
		t.Errorf("kept %q, want items note extra small", got)
	}
	r = enter(map[string]int{"items": 15000, "note": 1500})
	reason := r.Facts[0].GetEntryRefused().GetReason()
	if r.Enrollment != nil || reason.GetCode() != reasonv1.Code_CODE_EVENT_TOO_LARGE || !strings.Contains(strings.Join(reason.GetEvidence(), "; "), "the property items has 15") {
		t.Errorf("an event that is too large: %v", r)
	}
}
