package meshsvc

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// opens has a journey that a person's open of the mail of thanks starts, and one that its bounce does.
const opens = `apiVersion: refrain/v1
kind: Action
metadata: {name: note}
spec:
  purpose: service
  treatments: [{id: call, channel: hook, subject: "{{ event.action }}", body: {text: "{{ event.treatment }} {{ event.channel }} {{ event.journey }} {{ event.step }} {{ event.placement }} {{ event.reason }}"}}]
---
apiVersion: refrain/v1
kind: Trait
metadata: {name: opens}
spec: {type: int, count: {event: opened, where: "has(event.machine) && !event.machine"}}
---
apiVersion: refrain/v1
kind: Journey
metadata: {name: opened}
spec:
  entry: {event: opened, where: event.action == "thanks" && event.step == "thank" && has(event.machine) && !event.machine}
  steps: [{id: note, action: note}]
---
apiVersion: refrain/v1
kind: Journey
metadata: {name: bounced}
spec:
  entry: {event: bounced, where: event.journey == "thanks" && event.placement == "outbound"}
  steps: [{id: note, action: note}]
`

func (r *running) receipt(channel string, body string) answer {
	r.t.Helper()
	code, a := r.post("/v1/receipts/"+channel, []byte(body))
	if code != http.StatusOK || !a.Success {
		r.t.Fatalf("receipt %s: answered %d %+v", body, code, a)
	}
	return a
}

func TestAJourneyWaitsForAnOpenByAPerson(t *testing.T) {
	r := start(t, nil)
	dir := workspace(t, t.TempDir(), nil)
	if err := os.WriteFile(filepath.Join(dir, "opens.yaml"), []byte(opens), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Apply(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	r.customer("ann")
	r.order("ann", "o1")
	r.waitFor(user("ann"), "delivery_accepted", 1)
	token := r.lines("email")[0].Token

	r.call("track", object{"userId": "ann", "messageId": "plain", "event": "opened", "properties": object{"action": "thanks", "step": "thank", "machine": false}})
	r.call("track", object{"userId": "ann", "messageId": "segment", "event": "Email Opened"})
	r.receipt("email", fmt.Sprintf(`{"token":%q,"kind":"opened","id":"1","user_agent":"Mozilla/5.0"}`, token))
	machine := r.waitFor(user("ann"), "opened_by_machine", 1)
	if got := machine[0].GetSubject() + " " + machine[0].GetChannel(); got != "thanks email" {
		t.Errorf("the machine's open is about %s", got)
	}
	r.receipt("email", fmt.Sprintf(`{"token":%q,"kind":"opened","id":"2","user_agent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)","ip":"203.0.113.9"}`, token))
	r.waitFor(user("ann"), "delivery_accepted", 2)
	calls := r.lines("hook")
	if len(calls) != 1 || calls[0].Subject != "thanks" || calls[0].Body != "mail email thanks thank outbound " {
		t.Errorf("the journey's calls are %+v", calls)
	}
	if n := trait(r.profile(user("ann")), "opens"); n != "1" {
		t.Errorf("%s opens are counted, want the person's", n)
	}

	r.receipt("email", fmt.Sprintf(`{"token":%q,"kind":"bounced","reason":"5.1.1 no such user"}`, token))
	r.waitFor(user("ann"), "delivery_accepted", 3)
	if calls = r.lines("hook"); calls[1].Body != "mail email thanks thank outbound 5.1.1 no such user" {
		t.Errorf("after the bounce the journey says %q", calls[1].Body)
	}
	if n := len(happened(r.timeline(user("ann")), "journey_entered")); n != 3 {
		t.Errorf("%d journeys were entered, want those of the order, of the open and of the bounce", n)
	}
}
