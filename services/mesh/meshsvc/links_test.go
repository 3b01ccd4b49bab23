package meshsvc

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/event"
)

// "When a person takes an address, what was sent there counts": two mails to the address, and no more in the window,
// whoever it is that they are for.
func TestCapsHoldOverALink(t *testing.T) {
	r := start(t, words{"CAP": "2"})
	address := &eventv1.Identifier{Kind: "email", Value: "ada@shop.example"}
	byAddress := func(e *eventv1.Event) {
		t.Helper()
		e.Tenant, e.At, e.Identifiers = "default", timestamppb.Now(), []*eventv1.Identifier{address}
		res, err := r.ingest.PublishEvents(t.Context(), &eventv1.PublishEventsRequest{Events: []*eventv1.Event{e}})
		if err != nil || res.GetResults()[0].GetRefusal() != nil {
			t.Fatalf("publish %s: %v, %v", e.GetId(), res, err)
		}
	}
	byAddress(&eventv1.Event{Id: "consent", Type: "consent_given", Kind: eventv1.Kind_KIND_CONSENT, Consent: &eventv1.Consent{
		State: eventv1.ConsentState_CONSENT_STATE_GIVEN, Channel: "email", Topic: "*", Basis: "opt_in",
	}})
	r.waitFor(address, "consent_given", 1)
	for _, id := range []string{"order-1", "order-2"} {
		byAddress(&eventv1.Event{Id: id, Type: "order_placed", Kind: eventv1.Kind_KIND_TRACK, Properties: []*eventv1.Property{
			{Name: "order_id", Value: event.Text(id)},
		}})
	}
	r.waitFor(address, "contact_sent", 2)
	r.customer("ada")
	r.waitFor(user("ada"), "contacts_taken_over", 1)
	for _, id := range []string{"order-3", "order-4"} {
		r.order("ada", id)
	}
	no := r.waitFor(user("ada"), "contact_suppressed", 2)
	if code := no[0].GetReasons()[0].GetCode(); code != reasonv1.Code_CODE_CAP_REACHED {
		t.Errorf("the third mail is refused for %s", code)
	}
	data, err := os.ReadFile(filepath.Join(r.cfg.Dir, "channels", "email.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(data, []byte(`"address":"ada@shop.example"`)); n != 2 {
		t.Errorf("the address got %d mails, want 2:\n%s", n, data)
	}
}
