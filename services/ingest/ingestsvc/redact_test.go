package ingestsvc

import (
	"strings"
	"testing"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
)

// TestNoAddressOfTheNetworkIsStored looks into everything that ingest stores, dead letters included.
func TestNoAddressOfTheNetworkIsStored(t *testing.T) {
	const ip, agent = "203.0.113.9", "Googlebot/2.1"
	f := newFixture(t)
	look := func(name string, letters int) {
		t.Helper()
		got := f.letters()
		if len(got) != letters {
			t.Errorf("%s: %d dead letters, want %d", name, len(got), letters)
		}
		text := ""
		for _, l := range got {
			text += string(l.GetPayload())
		}
		for _, e := range append(f.stored("live"), f.stored("control")...) {
			text += e.String()
		}
		if strings.Contains(text, ip) || strings.Contains(text, agent) {
			t.Errorf("%s: stored %s", name, text)
		}
	}
	f.post("/v1/track", `{"userId":"u","event":"click","properties":{"token":"v1.forged","user_agent":"`+agent+`","ip":"`+ip+`"}}`)
	look("a refused click", 1)
	if payload := string(f.letters()[0].GetPayload()); !strings.Contains(payload, `"machine":true`) {
		t.Errorf("the verdict is lost: %s", payload)
	}
	f.post("/v1/track", `{"event":"a","context":{"ip":"`+ip+`","userAgent":"`+agent+`"}}`)
	look("a context", 2)
	f.post("/cloudevents", `{"specversion":"1.0","id":"1","source":"/s","type":"click","subject":"u","data":{"token":"v1.forged","user_agent":"`+agent+`","ip":"`+ip+`"}}`, "Content-Type", "application/cloudevents+json")
	look("a CloudEvent", 3)
	proto := func(token string, kind eventv1.Kind) *eventv1.Event {
		e := &eventv1.Event{
			Id: "e" + kind.String(), Type: "click", Kind: kind, Identifiers: []*eventv1.Identifier{id("user_id", "u")},
			Properties: []*eventv1.Property{prop("user_agent", event.Text(agent)), prop("ip", event.Text(ip)), prop("page", event.Text("x"))},
		}
		if kind == eventv1.Kind_KIND_OUTCOME {
			e.Outcome = &eventv1.Outcome{Kind: eventv1.OutcomeKind_OUTCOME_KIND_CLICK, Token: token}
		} else {
			e.Properties = append(e.Properties, prop("token", event.Text(token)))
		}
		return e
	}
	for i, kind := range []eventv1.Kind{eventv1.Kind_KIND_OUTCOME, eventv1.Kind_KIND_TRACK} {
		items, err := protoItems(&eventv1.PublishEventsRequest{Events: []*eventv1.Event{proto(f.token(nil), kind), proto("v1.forged", kind)}}, viaGRPC)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.door.take(t.Context(), submission{tenant: "default", via: viaGRPC, items: items}); err != nil {
			t.Fatal(err)
		}
		look(kind.String(), 4+i)
		all := f.stored("live")
		if len(all) != i+1 || !all[i].GetOutcome().GetMachine() {
			t.Errorf("%s: stored %v, want the verdict", kind, all)
		}
	}
}
