package degraded

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
)

// object is a JSON object.
type object = map[string]any

// post publishes one Segment call and returns the status and when to come again.
func (w *town) post(kind string, body object) (status int, retryAfter string) {
	w.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	w.mu.Lock()
	url := w.url
	w.mu.Unlock()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/"+kind, bytes.NewReader(data))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth("key", "")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing is in it
	return resp.StatusCode, resp.Header.Get("Retry-After")
}

// publish is post that comes again until it is taken, as publishers do.
func (w *town) publish(kind string, body object) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%v is taken", body["messageId"]), func() bool {
		status, _ := w.post(kind, body)
		return status == http.StatusOK
	})
}

// customer introduces somebody with an address and consent to mail, and waits until all of the mesh knows.
func (w *town) customer(user string) {
	w.t.Helper()
	w.publish("identify", object{"userId": user, "messageId": "identify-" + user, "traits": object{"email": user + "@shop.example"}})
	w.publish("track", object{
		"userId": user, "messageId": "consent-" + user, "event": "consent_given",
		"properties": object{"channel": "email", "topic": "*", "basis": "opt_in"},
	})
	w.eventually(user+" has consented", func() bool {
		res, err := w.profile(user)
		return err == nil && slices.ContainsFunc(res.GetProfile().GetLeaves(), func(l *profilev1.Leaf) bool { return len(l.GetConsents()) > 0 })
	})
}

// order is what a mail of thanks follows, stock what a call of the webhook follows.
func order(user, id string) object {
	return object{"userId": user, "messageId": id, "event": "order_placed", "properties": object{"order_id": id, "total": 12.5}}
}

func stock(user, id string) object {
	return object{"userId": user, "messageId": id, "event": "stock_back", "properties": object{"item": "item-" + id}}
}

// sent counts what a file channel got that names an id.
func (w *town) sent(channel, id string) int {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, channel+".jsonl"))
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	return strings.Count(string(data), id)
}

// delivers proves that the mesh does its whole work, once.
func (w *town) delivers(user, id string) {
	w.t.Helper()
	w.customer(user)
	w.publish("track", order(user, id))
	w.arrives("email", id)
}

// arrives waits until a channel has got something.
func (w *town) arrives(channel, id string) {
	w.t.Helper()
	w.eventually(id+" is sent by "+channel, func() bool { return w.sent(channel, id) > 0 })
	if n := w.lines(channel, id); n != 1 {
		w.t.Errorf("%s was sent %d times", id, n)
	}
}

// lines counts the messages of a channel that name an id.
func (w *town) lines(channel, id string) int {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, channel+".jsonl"))
	if err != nil {
		w.t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, id) {
			n++
		}
	}
	return n
}

func ident(user string) *eventv1.Identifier { return &eventv1.Identifier{Kind: "user_id", Value: user} }

// ask asks for the next best actions of somebody.
func (w *town) ask(user string) (*decisionv1.NextBestActionsResponse, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	return decisionv1.NewDecisionServiceClient(w.conns["decision"]).NextBestActions(ctx, &decisionv1.NextBestActionsRequest{
		Identifier: ident(user), Placement: "web-banner",
	})
}

// offered waits until somebody is offered the banner, which needs one order.
func (w *town) offered(user string) {
	w.t.Helper()
	w.eventually("the banner is offered to "+user, func() bool {
		res, err := w.ask(user)
		return err == nil && len(res.GetItems()) == 1 && len(res.GetDegraded()) == 0
	})
}

// reserve asks suppression for room.
func (w *town) reserve(user, id string) (*contactv1.ReserveResponse, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Second)
	defer cancel()
	return contactv1.NewContactServiceClient(w.conns["suppression"]).Reserve(ctx, &contactv1.ReserveRequest{
		Tenant: "default", Identifier: ident(user), Id: id, Contact: &contactv1.Contact{Action: "thanks", Channel: "email", Purpose: "marketing", Topic: "news"},
	})
}

// profile reads somebody's profile.
func (w *town) profile(user string) (*profilev1.GetProfileResponse, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Second)
	defer cancel()
	return profilev1.NewProfileServiceClient(w.conns["profile"]).GetProfile(ctx, &profilev1.GetProfileRequest{Identifier: ident(user)})
}
