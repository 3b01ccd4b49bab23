package ledger

import (
	"slices"
	"testing"
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"
)

// eve is another customer of ann's partition.
const eve = "default/c/ee33"

// inBritain says that the workspace has a region.
func inBritain(h *History) {
	for _, d := range h.Definitions {
		d.Tenant, d.Region = "default", "GB"
	}
}

// named publishes an event about some user_ids.
func (w *world) named(id string, kind eventv1.Kind, users ...string) *eventv1.Event {
	e := w.event(id, "something")
	e.Kind = kind
	for _, u := range users {
		e.Identifiers = append(e.Identifiers, &eventv1.Identifier{Kind: "user_id", Value: u})
	}
	w.publish("live", 0, e)
	return e
}

// refusedAlias lets ann and eve be known, and an alias of both be refused in the timelines of some.
func (w *world) refusedAlias(told ...string) {
	for n, key := range []string{ann, eve} {
		e := w.named([]string{"k1", "k2"}[n], eventv1.Kind_KIND_TRACK, []string{"ann", "eve"}[n])
		w.decide(profile, 0, is{key: key, state: profileIn("Europe/London", 4), facts: []encoder{applied(e, false)}})
	}
	w.tick(time.Minute)
	alias := w.named("al", eventv1.Kind_KIND_ALIAS, "ann", "eve")
	w.decide(profile, 0, is{key: ann, state: profileIn("Europe/London", 5), facts: []encoder{applied(alias, false)}})
	for _, key := range told {
		line := must((&profilev1.TimelineEntry{Stage: "profile", What: "alias_refused", Id: "al"}).MarshalVT())
		w.decide(profile, 0, is{key: key, state: profileIn("Europe/London", 6), deltas: []*stagev1.Delta{
			{Name: key + "/timeline", Kind: stagev1.DeltaKind_DELTA_KIND_APPEND, Value: line},
		}})
	}
}

// What is as it is documented is not wrong: an alias that both customers hear of, two spellings of one customer's number, an
// address whose profile was closed for its person.
func TestWhoIsWho(t *testing.T) {
	phoned := func(w *world, id, number, key string) {
		e := w.event(id, "product_viewed")
		e.Identifiers = []*eventv1.Identifier{{Kind: "phone", Value: number}}
		w.publish("live", 0, e)
		w.decide(profile, 0, is{key: key, state: profileIn("Europe/London", 4), facts: []encoder{applied(e, false)}})
	}
	for name, during := range map[string]func(w *world){
		"both hear of it": func(w *world) { w.refusedAlias(ann, eve) },
		"two spellings of one number": func(w *world) {
			phoned(w, "p1", "+447700900001", eve)
			phoned(w, "p2", "+447700900001", eve)
		},
		"closed for its person": func(w *world) {
			phoned(w, "p1", "+447700900001", eve)
			w.decide(profile, 0, is{key: eve, state: profileIn("Europe/London", 5), facts: []encoder{&profilev1.Fact{
				Fact: &profilev1.Fact_IdentityLinked{IdentityLinked: &profilev1.IdentityLinked{LinkedTo: []byte{0xaa, 0x11}}},
			}}})
			phoned(w, "p2", "+447700900001", "default/c/aa11")
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := goodWorld(t, during).history()
			inBritain(h)
			if got := rulesOf(Verify(h).Violations); len(got) > 0 {
				t.Errorf("broken are %v: %v", got, Verify(h).Violations)
			}
		})
	}
}

// A withdrawal under one spelling of a number holds for the other; without a region a number without country code is nobody's.
func TestAWithdrawalHoldsForEverySpelling(t *testing.T) {
	for name, tt := range map[string]struct {
		said, region string
		want         bool
	}{
		"as it is dialled":   {"+44 7700 900001", "GB", true},
		"without a country":  {"(07700) 900-001", "GB", true},
		"from abroad":        {"0044 7700 900001", "GB", true},
		"of another country": {"07700 900001", "DE", false},
		"without a region":   {"07700 900001", "", false},
	} {
		w := goodWorld(t)
		w.sent = append(w.sent, Sent{
			ID: "o1", Identifiers: []string{"phone:" + tt.said}, Acknowledged: noon.Add(-time.Hour), OptOut: &OptOut{Channel: "*", Topic: "*"},
		})
		for n := range w.received {
			w.received[n].Address = "+447700900001"
		}
		h := w.history()
		h.AllSent = false
		inBritain(h)
		h.Definitions[""].Region = tt.region
		if got := slices.Contains(rulesOf(Verify(h).Violations), ContactOptOut); got != tt.want {
			t.Errorf("%s: the opt-out is broken: %v, want %v", name, got, tt.want)
		}
	}
}

// An event is one customer's by the first of its identifiers, as it is stored.
func TestTheFirstIdentifierNamesTheCustomer(t *testing.T) {
	e := &eventv1.Event{Identifiers: []*eventv1.Identifier{{Kind: "user_id", Value: "Ann"}, {Kind: "email", Value: "ann@shop.example"}}}
	if got := customerOf(must(e.MarshalVT())); got != "user_id:ann" {
		t.Errorf("got %q, want user_id:ann", got)
	}
}
