package expr_test

import (
	"strings"
	"testing"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/expr"
)

func outcomeInput(kind eventv1.OutcomeKind, change func(*eventv1.Outcome)) expr.Input {
	o := &eventv1.Outcome{
		Kind: kind, Action: "welcome", Treatment: "mail", Channel: "email", Journey: "hello", Step: "greet", Placement: "outbound",
		SubjectId: "p1", Reason: "already_done",
	}
	if change != nil {
		change(o)
	}
	return expr.Input{Properties: event.Details(&eventv1.Event{
		Kind: eventv1.Kind_KIND_OUTCOME, Outcome: o, Properties: []*eventv1.Property{{Name: "page", Value: text("start")}},
	})}
}

func TestOutcomesAreReadByName(t *testing.T) {
	const about = `event.action == "welcome" && event.treatment == "mail" && event.channel == "email" && event.journey == "hello" &&
		event.step == "greet" && event.placement == "outbound" && event.subject_id == "p1" && event.reason == "already_done" &&
		event.properties.page == "start"`
	for _, word := range event.Outcomes() {
		p, err := env(t).Compile(about, expr.Scope{Event: word}, expr.WantBool)
		if err != nil {
			t.Errorf("%s: %v", word, err)
			continue
		}
		if got, err := p.Bool(outcomeInput(event.ReceiptKindOf(word), nil)); !got || err != nil {
			t.Errorf("%s: got %v, %v", word, got, err)
		}
	}
}

func TestAMachinesOpenIsToldFromAPersons(t *testing.T) {
	person, err := env(t).Compile("has(event.machine) && !event.machine", expr.Scope{Event: "opened"}, expr.WantBool)
	if err != nil {
		t.Fatal(err)
	}
	likely, err := env(t).Compile("!event.machine", expr.Scope{Event: "opened"}, expr.WantBool)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		machine        *bool
		person, likely bool
	}{"a machine": {new(true), false, false}, "a person": {new(false), true, true}, "nothing is told": {nil, false, true}} {
		in := outcomeInput(eventv1.OutcomeKind_OUTCOME_KIND_OPENED, func(o *eventv1.Outcome) { o.Machine = c.machine })
		if got, err := person.Bool(in); got != c.person || err != nil {
			t.Errorf("%s: a person %v, %v", name, got, err)
		}
		if got, err := likely.Bool(in); got != c.likely || err != nil {
			t.Errorf("%s: likely %v, %v", name, got, err)
		}
	}
}

func TestWhatAnOutcomeDoesNotHaveIsRefusedWithTheNearestName(t *testing.T) {
	for src, c := range map[string]struct{ word, want string }{
		"event.actoin == 'x'":  {"click", "event.actoin: no such property; did you mean action? click has: action, "},
		"event.chanel == 'x'":  {"bounced", "event.chanel: no such property; did you mean channel? bounced has: "},
		"event.machine":        {"delivered", "event.machine: no such property; "},
		"event.placement == 1": {"dismiss", "found no matching overload"},
		"event.value == 'x'":   {"convert", "found no matching overload"},
	} {
		_, err := env(t).Compile(src, expr.Scope{Event: c.word}, expr.WantBool)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s of %s: got %v, want %q", src, c.word, err, c.want)
		}
	}
}
