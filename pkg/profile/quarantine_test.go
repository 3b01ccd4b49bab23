package profile_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/profile"
)

func typedRules(t *testing.T, defs map[string]*definitionv1.TraitDef) *profile.Rules {
	t.Helper()
	types := map[string]profile.EventType{"Order Placed": {Name: "order_placed", Freshness: time.Hour, Properties: map[string]expr.Type{
		"total": expr.Double, "items": expr.Int, "paid": expr.Bool, "due": expr.Timestamp,
	}}}
	var rules []*profile.TraitRule
	for name, def := range defs {
		r, problems := profile.CompileTrait(name, def, testEnv(t))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		rules = append(rules, r)
	}
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return profile.NewRules(hasher(), event.DefaultKinds(), types, rules).In(zone)
}

func bought(id string, at int, properties ...*eventv1.Property) *eventv1.Event {
	e := happened(id, eventv1.Kind_KIND_TRACK, at)
	e.Type, e.Properties = "Order Placed", properties
	return e
}

// codes are the reasons on an input's lines.
func codes(c profile.Change) string {
	var out []string
	for _, l := range c.Timeline {
		for _, r := range l.GetReasons() {
			out = append(out, strings.TrimPrefix(r.GetCode().String(), "CODE_")+" "+strings.Join(r.GetEvidence(), ", "))
		}
	}
	return strings.Join(out, "; ")
}

func TestValuesOfAnotherTypeAreTakenForTheirsOrQuarantined(t *testing.T) {
	rules := typedRules(t, map[string]*definitionv1.TraitDef{
		"spent": aggregate(profile.Sum, "double", &definitionv1.Aggregate{Event: "order_placed", Value: "event.total"}),
		"age":   {Type: "int"}, "vip": {Type: "bool"}, "orders": aggregate(profile.Count, "int", &definitionv1.Aggregate{Event: "order_placed"}),
	})
	p, facts := applyAll(t, rules,
		bought("a", 1, word("total", "19.99"), word("items", "2"), word("paid", "true"), word("due", "2026-11-21"), word("other", "7")),
		bought("b", 2, prop("total", event.Integer(5))),
		identify("i", 3, word("age", "41"), prop("vip", event.Integer(1))))
	check(t, "spent", value(p, "spent"), 24.99)
	check(t, "age", value(p, "age"), int64(41))
	check(t, "vip", value(p, "vip"), true)
	check(t, "nothing is quarantined", len(p.GetLeaves()[0].GetQuarantine()), 0)
	check(t, "what decision gets", event.ToMap(applied(facts)[0].GetEvent().GetProperties()), map[string]any{
		"total": 19.99, "items": int64(2), "paid": true, "due": "2026-11-21T00:00:00+01:00", "other": "7",
	})

	c, err := profile.Apply(rules, p, bought("c", 4, word("total", "19,99 €"), word("items", "many")), profile.Moment{Now: hour(4)})
	if err != nil {
		t.Fatal(err)
	}
	check(t, "reasons", codes(c), "VALUE_QUARANTINED order_placed.total is a text, want double; VALUE_QUARANTINED order_placed.items is a text, want int")
	check(t, "counted", strings.Join(c.Quarantined, " "), "order_placed.total order_placed.items")
	check(t, "the event keeps what came", event.TextOf(applied(c.Facts)[0].GetEvent().GetProperties(), "total"), "19,99 €")
	check(t, "lines", len(c.Timeline), 1)

	c, err = profile.Apply(rules, c.Profile, identify("j", 5, word("age", "old"), prop("orders", event.Integer(99)), word("vip", "maybe")), profile.Moment{Now: hour(5)})
	if err != nil {
		t.Fatal(err)
	}
	check(t, "age stays", value(c.Profile, "age"), int64(41))
	check(t, "orders stay", value(c.Profile, "orders"), int64(3))
	check(t, "quarantine", c.Profile.GetLeaves()[0].GetQuarantine(), []*profilev1.Quarantined{
		{Name: "order_placed.items", Want: "int", Raw: event.Text("many"), Count: 1, LastAt: stamp(4), Cause: "c"},
		{Name: "order_placed.total", Want: "double", Raw: event.Text("19,99 €"), Count: 1, LastAt: stamp(4), Cause: "c"},
		{Name: "traits.age", Want: "int", Raw: event.Text("old"), Count: 1, LastAt: stamp(5), Cause: "j"},
		{Name: "traits.orders", Want: "computed", Raw: event.Integer(99), Count: 1, LastAt: stamp(5), Cause: "j"},
		{Name: "traits.vip", Want: "bool", Raw: event.Text("maybe"), Count: 1, LastAt: stamp(5), Cause: "j"},
	})
	c, err = profile.Apply(rules, c.Profile, identify("k", 6, word("age", "older")), profile.Moment{Now: hour(6)})
	if err != nil {
		t.Fatal(err)
	}
	check(t, "counted again", c.Profile.GetLeaves()[0].GetQuarantine()[2], &profilev1.Quarantined{
		Name: "traits.age", Want: "int", Raw: event.Text("older"), Count: 2, LastAt: stamp(6), Cause: "k",
	})
}

func applied(facts []*profilev1.Fact) []*profilev1.EventApplied {
	var out []*profilev1.EventApplied
	for _, f := range facts {
		if a := f.GetEventApplied(); a != nil {
			out = append(out, a)
		}
	}
	return out
}

func TestWhatATraitIsComputedFromIsQuarantinedToo(t *testing.T) {
	rules := typedRules(t, map[string]*definitionv1.TraitDef{"size": aggregate(profile.Latest, "int", &definitionv1.Aggregate{Event: "seen", Value: "event.size"})})
	seen := func(id string, at int, v *eventv1.Value) *eventv1.Event {
		e := happened(id, eventv1.Kind_KIND_TRACK, at)
		e.Type, e.Properties = "seen", []*eventv1.Property{prop("size", v)}
		return e
	}
	p, _ := applyAll(t, rules, seen("a", 1, event.Text("42")), seen("b", 2, event.Text("XL")), seen("c", 3, nil))
	check(t, "size", value(p, "size"), int64(42))
	check(t, "quarantine", p.GetLeaves()[0].GetQuarantine(), []*profilev1.Quarantined{
		{Name: "traits.size", Want: "int", Raw: event.Text("XL"), Count: 1, LastAt: stamp(2), Cause: "b"},
	})
}

func TestTheQuarantineIsBounded(t *testing.T) {
	defs := map[string]*definitionv1.TraitDef{}
	var events []*eventv1.Event
	for i := range 40 {
		name := fmt.Sprintf("t%02d", i)
		defs[name] = &definitionv1.TraitDef{Type: "int"}
		events = append(events, identify(name, i, word(name, strings.Repeat("ü", 5000))))
	}
	p, _ := applyAll(t, typedRules(t, defs), events...)
	list := p.GetLeaves()[0].GetQuarantine()
	size := 0
	for _, q := range list {
		size += q.SizeVT()
	}
	if len(list) != 16 || list[0].GetName() != "traits.t24" || size > 4<<10 {
		t.Errorf("%d entries of %d bytes, the first %s", len(list), size, list[0].GetName())
	}
	var many []*eventv1.Property
	for name := range defs {
		many = append(many, word(name, "x"))
	}
	c, err := profile.Apply(typedRules(t, defs), p, identify("all", 50, many...), profile.Moment{Now: hour(50)})
	if err != nil {
		t.Fatal(err)
	}
	check(t, "reasons", len(c.Timeline[0].GetReasons()), 8)
	check(t, "counted", len(c.Quarantined), 40)
}

func TestRemarksOfIngestAreOnTheTimeline(t *testing.T) {
	e := happened("a", eventv1.Kind_KIND_TRACK, 1)
	e.Remarks = []*eventv1.Remark{{Field: "sentAt", Why: "is not a time; it was set aside"}, {Why: "and 3 more"}}
	p := &profilev1.Profile{Tenant: "default", Id: hasher().ID("default", ann())}
	c, err := profile.Apply(profile.DefaultRules(hasher()), p, e, profile.Moment{Now: hour(1)})
	if err != nil {
		t.Fatal(err)
	}
	check(t, "reasons", codes(c), "FIELD_SET_ASIDE sentAt: is not a time; it was set aside; FIELD_SET_ASIDE and 3 more")
}

func TestNullOrNothingForAnAddressTakesItAway(t *testing.T) {
	rules := profile.DefaultRules(hasher())
	for name, gone := range map[string]*eventv1.Value{"null": nil, "a null value": {}, "empty": event.Text(""), "blank": event.Text("  ")} {
		t.Run(name, func(t *testing.T) {
			first := identify("a", 1, word("email", "ann@shop.example"), word("phone", "+442079460000"))
			taken := identify("b", 3, prop("email", gone))
			p, facts := applyAll(t, rules, first, taken)
			check(t, "email", endpoint(p, "email"), (*profilev1.Endpoint)(nil))
			check(t, "sms", endpoint(p, "sms").GetAddress(), "+442079460000")
			check(t, "trait", value(p, "email"), nil)
			check(t, "facts", strings.HasSuffix(names(facts), "event_applied basis_changed event_applied"), true)
			check(t, "identities", len(p.GetLeaves()[0].GetIdentities()), 3)

			late, _ := applyAll(t, rules, first, taken, identify("late", 2, word("email", "old@shop.example")))
			check(t, "one of before", endpoint(late, "email"), (*profilev1.Endpoint)(nil))
			again, _ := applyAll(t, rules, first, taken, identify("c", 4, word("email", "ann@shop.example")))
			check(t, "given again", endpoint(again, "email").GetAddress(), "ann@shop.example")

			bounced, _ := applyAll(t, rules, first, outcome("o", 2, eventv1.OutcomeKind_OUTCOME_KIND_BOUNCED), taken,
				outcome("p", 4, eventv1.OutcomeKind_OUTCOME_KIND_BOUNCED), identify("c", 5, word("email", "ann@shop.example")))
			check(t, "blocked for good", endpoint(bounced, "email").GetDoNotContact().GetCode(), reasonv1.Code_CODE_SUPPRESSED_HARD_BOUNCE)
		})
	}
}

func TestSumsThatOverflowSaySo(t *testing.T) {
	rules := typedRules(t, map[string]*definitionv1.TraitDef{
		"spent": aggregate(profile.Sum, "double", &definitionv1.Aggregate{Event: "order_placed", Value: "event.total"}),
		"bits":  aggregate(profile.Sum, "int", &definitionv1.Aggregate{Event: "order_placed", Value: "event.items"}),
		"whole": aggregate(profile.Sum, "int", &definitionv1.Aggregate{Event: "order_placed", Value: "event.total"}),
	})
	huge := func(id string, at int) *eventv1.Event {
		return bought(id, at, prop("total", event.Number(math.MaxFloat64)), prop("items", event.Integer(math.MaxInt64)))
	}
	p, _ := applyAll(t, rules, huge("a", 1))
	c, err := profile.Apply(rules, p, huge("b", 2), profile.Moment{Now: hour(2)})
	if err != nil {
		t.Fatal(err)
	}
	check(t, "reasons", strings.Count(codes(c), "OUT_OF_RANGE"), 2)
	p, _ = applyAll(t, rules, huge("a", 1), huge("b", 2), bought("c", 3, prop("total", event.Integer(-5)), prop("items", event.Integer(-5))))
	check(t, "spent", value(p, "spent"), math.MaxFloat64)
	check(t, "bits", value(p, "bits"), int64(math.MaxInt64))
	check(t, "whole", value(p, "whole"), int64(math.MaxInt64))
	for _, trait := range profile.Traits(p) {
		if !trait.GetOutOfRange() || trait.GetCount() != 3 {
			t.Errorf("%v does not say so", trait)
		}
	}
	negative, _ := applyAll(t, rules, bought("a", 1, prop("items", event.Integer(math.MinInt64))), bought("b", 2, prop("items", event.Integer(-1))))
	check(t, "below", value(negative, "bits"), int64(math.MinInt64))

	half, _ := applyAll(t, rules, huge("a", 1))
	half.Leaves = append(half.Leaves, half.GetLeaves()[0].CloneVT())
	check(t, "two leaves", value(half, "spent"), math.MaxFloat64)
	check(t, "said of both", profile.Traits(half)[0].GetOutOfRange(), true)
}
