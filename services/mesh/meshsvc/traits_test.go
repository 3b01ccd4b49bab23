package meshsvc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
)

// rep is a channel to the customer's rep, whose address many customers share.
const rep = `apiVersion: refrain/v1
kind: Event
metadata: {name: visit_wanted}
spec: {properties: {n: int}}
---
apiVersion: refrain/v1
kind: Trait
metadata: {name: rep_email}
spec: {type: string}
---
apiVersion: refrain/v1
kind: Channel
metadata: {name: rep}
spec: {adapter: file, endpoint: rep_email, config: {path: rep.jsonl}}
---
apiVersion: refrain/v1
kind: Action
metadata: {name: visit}
spec:
  purpose: marketing
  value: "5.0"
  treatments: [{id: mail, channel: rep, topic: news, subject: "Please call", body: {text: "Please call."}}]
---
apiVersion: refrain/v1
kind: Placement
metadata: {name: visits}
spec: {filled: by_mesh, takes: {channel: [rep]}, size: 5}
---
apiVersion: refrain/v1
kind: Journey
metadata: {name: visits}
spec:
  entry: {event: visit_wanted}
  key: string(event.n)
  reentry: always
  steps: [{id: visit, action: visit, until: P1D}]
---
apiVersion: refrain/v1
kind: ContactPolicy
metadata: {name: all}
spec: {applies: {purpose: [marketing]}, consent: required, caps: [{max: 1, per: P7D}]}
`

// "A trait as a channel's endpoint": many customers share the rep's address, and what goes there neither asks for their
// permission nor uses up their caps. Nor is it refused for having learned the address before the channel was applied.
func TestManyCustomersShareTheAddressOfARep(t *testing.T) {
	r := start(t, nil)
	customers := []string{"ada", "bea", "cid"}
	for _, name := range customers { // nobody gave permission
		r.call("identify", object{"userId": name, "messageId": "rep-" + name, "traits": object{"rep_email": "rep@shop.example"}})
		r.waitFor(user(name), "event_applied", 1)
	}
	dir := workspace(t, t.TempDir(), nil)
	if err := os.WriteFile(filepath.Join(dir, "rep.yaml"), []byte(rep), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Apply(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range customers {
		for n := range 2 {
			r.call("track", object{"userId": name, "messageId": fmt.Sprint(name, n), "event": "visit_wanted", "properties": object{"n": n}})
		}
	}
	for _, name := range customers {
		r.waitFor(user(name), "delivery_accepted", 2)
	}
	data, err := os.ReadFile(filepath.Join(r.cfg.Dir, "channels", "rep.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(data, []byte(`"address":"rep@shop.example"`)); n != 6 {
		t.Errorf("the rep got %d mails, want 6:\n%s", n, data)
	}
	r.customer("ada")
	r.eventually("the customer's own mail is allowed", func() bool {
		return r.check(user("ada"), &contactv1.Contact{Action: "thanks", Channel: "email"}).GetKind() == approved
	})
	r.call("track", object{"userId": "dan", "messageId": "dan-1", "event": "visit_wanted", "properties": object{"n": 1}})
	no := r.waitFor(user("dan"), "contact_suppressed", 1)
	if text := no[0].GetReasons()[0].String(); !strings.Contains(text, "rep_email") {
		t.Errorf("a customer without a rep: %s", text)
	}
}
