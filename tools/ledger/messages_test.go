package ledger

import (
	"slices"
	"testing"
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
)

// of is an event about somebody, and its line in the client's log, where the address is written in another way.
func (w *world) of(id, customer, written string) (*eventv1.Event, *Sent) {
	e := w.event(id, "product_viewed")
	e.Identifiers = []*eventv1.Identifier{{Kind: "email", Value: customer}}
	s := w.publish("live", 0, e)
	s.Identifiers = []string{"email:" + written}
	return e, s
}

func rulesOf(vs []Violation) (out []Rule) {
	for _, v := range vs {
		out = append(out, v.Rule)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// One message id of two customers is two events: each takes effect once, and neither stands for the other.
func TestOneMessageIDOfTwoCustomersIsTwoEvents(t *testing.T) {
	apply := func(w *world, key string, e *eventv1.Event, version uint64) {
		w.decide(profile, 0, is{key: key, state: profileIn("Europe/London", version), facts: []encoder{applied(e, false)}})
	}
	for name, tt := range map[string]struct {
		also func(w *world)
		want []Rule
	}{
		"both take effect": {func(w *world) {
			a, _ := w.of("m1", "ann@shop.example", "Ann@Shop.example")
			b, _ := w.of("m1", "cid@shop.example", "cid@shop.example")
			apply(w, ann, a, 4)
			apply(w, ann, b, 5)
		}, nil},
		"the second is taken for the first": {func(w *world) {
			a, s := w.of("m1", "ann@shop.example", "Ann@Shop.example")
			apply(w, ann, a, 4)
			second := *s
			second.Identifiers, second.Position = []string{"email:cid@shop.example"}, nil
			w.sent = append(w.sent, second)
		}, []Rule{EventLost}},
		"one takes effect twice": {func(w *world) {
			a, _ := w.of("m1", "ann@shop.example", "Ann@Shop.example")
			b, _ := w.of("m1", "cid@shop.example", "cid@shop.example")
			apply(w, ann, a, 4)
			apply(w, ann, b, 5)
			apply(w, ann, b, 6)
		}, []Rule{EventTwice}},
	} {
		t.Run(name, func(t *testing.T) {
			report := Verify(goodWorld(t, tt.also).history())
			if got := rulesOf(report.Violations); !slices.Equal(got, tt.want) {
				t.Errorf("broken are %v, want %v: %v", got, tt.want, report.Violations)
			}
		})
	}
}

// A tenant's customers are judged by its own rules: another tenant's allow and forbid them nothing.
func TestDefinitionsAreTheTenants(t *testing.T) {
	strict := worldDefinitions()
	strict.Policies = []Policy{{Name: "none", Limits: []Limit{{Max: 0, Rolling: time.Hour}}}}
	for name, tt := range map[string]struct {
		tenant string
		known  func(h *History)
		broken bool
	}{
		"for all":                    {"", nil, true},
		"of the customers' tenant":   {"default", nil, true},
		"of another tenant":          {"bank", nil, false},
		"of both, the other's first": {"bank", func(h *History) { h.Tenants = map[string]*Definitions{"default": worldDefinitions()} }, false},
		"of both, the own strict":    {"bank", func(h *History) { h.Tenants = map[string]*Definitions{"default": strict} }, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := goodWorld(t).history()
			rules := *strict
			rules.Tenant = tt.tenant
			h.Definitions = map[string]*Definitions{"": &rules}
			if tt.known != nil {
				tt.known(h)
			}
			if got := slices.Contains(rulesOf(Verify(h).Violations), ContactCap); got != tt.broken {
				t.Errorf("a cap is broken: %v, want %v", got, tt.broken)
			}
		})
	}
}
