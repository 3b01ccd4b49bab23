package cli

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/event"
)

// TestEveryAnswerHasItsJSON prints numbers that JSON cannot write, wherever they may stand.
func TestEveryAnswerHasItsJSON(t *testing.T) {
	odd := func(f float64) *eventv1.Value { return &eventv1.Value{Kind: &eventv1.Value_Number{Number: f}} }
	list := &eventv1.Value{Kind: &eventv1.Value_List{List: &eventv1.List{Values: []*eventv1.Value{odd(math.Inf(-1)), event.Integer(1)}}}}
	res := &profilev1.GetProfileResponse{Profile: &profilev1.Profile{Leaves: []*profilev1.Leaf{{
		Traits:     []*profilev1.Trait{{Name: "spent", Value: odd(math.Inf(1)), OutOfRange: true}, {Name: "list", Value: list}},
		Quarantine: []*profilev1.Quarantined{{Name: "traits.age", Want: "int", Raw: odd(math.NaN()), Count: 2}},
	}}}}
	data, err := indented(plain(res))
	if err != nil || !json.Valid(data) {
		t.Fatalf("%s, %v", data, err)
	}
	for _, want := range []string{`"value": "Infinity"`, `"-Infinity"`, `"raw": "NaN"`, `"out_of_range": true`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("want %s in:\n%s", want, data)
		}
	}
	if _, err := asYAML(plain(res)); err != nil {
		t.Errorf("YAML: %v", err)
	}
	outcome := &eventv1.Event{Outcome: &eventv1.Outcome{Value: math.Inf(1)}, Properties: []*eventv1.Property{{Name: "x", Value: odd(math.NaN())}}}
	if data, err := indented(plain(outcome)); err != nil || strings.Count(string(data), "Inf")+strings.Count(string(data), "NaN") != 2 {
		t.Errorf("%s, %v", data, err)
	}
	shown := profileTable(res)
	text := string(shown.bytes())
	for _, want := range []string{"out of range: the sum stands at its bound", "quarantine  traits.age", "want int (2 so far)"} {
		if !strings.Contains(text, want) {
			t.Errorf("want %q in:\n%s", want, text)
		}
	}
}
