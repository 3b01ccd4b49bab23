package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/identity"
	"refrain.dev/tools/ledger"
)

// class is one kind of traffic.
type class struct {
	name string
	// share of all events that are offered, and events per request.
	share float64
	per   int
	// one makes a request; n is unique in the run.
	one func(rng *rand.Rand, n int) request
}

// request is one request, ready to be sent.
type request struct {
	path, lane string
	body       []byte
	// events it holds, as the client's log notes them.
	events []ledger.Sent
}

// traffic makes requests.
type traffic struct {
	customers int
	hot       float64
	hasher    identity.Hasher
	number    uint32
}

// classes of the mix. Most is live; an import runs beside it; opt-outs and receipts are few and go first.
func (t *traffic) classes(batch int) []class {
	return []class{
		{name: "control", share: 0.005, per: 1, one: t.optOut},
		{name: "receipt", share: 0.005, per: 1, one: t.receipt},
		{name: "live", share: 0.79, per: batch, one: func(rng *rand.Rand, n int) request { return t.orders(rng, n, batch, t.hot) }},
		{name: "bulk", share: 0.2, per: batch, one: t.history(batch)},
	}
}

// opted is the share of customers who ever opt out.
const opted = 0.1

func (t *traffic) customer(rng *rand.Rand) string {
	return fmt.Sprint("customer-", rng.IntN(t.customers))
}

const tenant = "default"

func sent(id, kind, user string) ledger.Sent {
	return ledger.Sent{ID: id, Tenant: tenant, Kind: kind, Identifiers: []string{"user_id:" + user}}
}

// history is what makes batches of an import.
func (t *traffic) history(batch int) func(*rand.Rand, int) request {
	return func(rng *rand.Rand, n int) request {
		r := t.orders(rng, n, batch, 0)
		r.lane = "bulk"
		return r
	}
}

// orders is a batch of orders, of which one customer has the hot share.
func (t *traffic) orders(rng *rand.Rand, n, batch int, hot float64) request {
	r := request{path: "/v1/batch"}
	at := time.Now().UTC().Format(time.RFC3339Nano)
	r.body = append(r.body, `{"batch":[`...)
	for i := range batch {
		user := t.customer(rng)
		if rng.Float64() < hot {
			user = "customer-hot"
		}
		id := fmt.Sprintf("order-%d-%d", n, i)
		if i > 0 {
			r.body = append(r.body, ',')
		}
		r.body = fmt.Appendf(r.body, `{"type":"track","event":"order_placed","userId":%q,"messageId":%q,"timestamp":%q,"properties":{"order_id":%q,"total":12.5}}`, user, id, at, id)
		r.events = append(r.events, sent(id, "order_placed", user))
	}
	r.body = append(r.body, `]}`...)
	return r
}

// optOut takes permission for mail away.
func (t *traffic) optOut(rng *rand.Rand, n int) request {
	user, id := fmt.Sprint("customer-", rng.IntN(max(1, int(opted*float64(t.customers))))), fmt.Sprint("out-", n)
	e := sent(id, "consent_withdrawn", user)
	e.OptOut = &ledger.OptOut{Channel: "email", Topic: "*"}
	return request{path: "/v1/track", events: []ledger.Sent{e}, body: fmt.Appendf(nil,
		`{"event":"consent_withdrawn","userId":%q,"messageId":%q,"timestamp":%q,"properties":{"channel":"email","topic":"*","basis":"settings"}}`,
		user, id, time.Now().UTC().Format(time.RFC3339Nano))}
}

// receipt reports a delivery as a provider would; the token is a customer's, and the delivery of long ago.
func (t *traffic) receipt(rng *rand.Rand, n int) request {
	customer := t.hasher.ID(tenant, &eventv1.Identifier{Kind: "user_id", Value: t.customer(rng)})
	token, err := t.hasher.Sign(&decisionv1.Token{
		Tenant: tenant, Generation: t.number, Customer: customer, Partition: uint32(t.hasher.Partition(customer)), //nolint:gosec // small
		Proposal: "of-long-ago", Action: "thank-you", Treatment: "mail", Channel: "email",
	})
	if err != nil {
		panic("a token cannot be signed: " + err.Error()) // it is ours, and well-formed
	}
	kind, id := "delivered", fmt.Sprint("receipt-", n)
	body := fmt.Appendf(nil, `{"token":%q,"kind":%q,"id":%q}`, token, kind, id)
	e := ledger.Sent{ID: identity.Derive("receipt", token, kind, id), Tenant: tenant, Kind: kind}
	return request{path: "/v1/receipts/email", body: body, events: []ledger.Sent{e}}
}

// requestWithin bounds one request, as a client would.
const requestWithin = 10 * time.Second

// answer is what became of a request.
type answer struct {
	status int
	// reason of a refusal.
	reason string
	// positions at which it is stored.
	positions []ledger.Position
}

// send sends a request and reads its answer.
func (m *running) send(ctx context.Context, r request) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL+r.path, strings.NewReader(string(r.body)))
	if err != nil {
		return answer{}, fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth("load", "")
	if r.lane != "" {
		req.Header.Set("X-Refrain-Lane", r.lane)
	}
	res, err := m.http.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("ask ingest: %w", err)
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, fmt.Errorf("read the answer: %w", err)
	}
	var got struct {
		Reason    string            `json:"reason"`
		Error     string            `json:"error"`
		Refused   []json.RawMessage `json:"refused"`
		Positions []ledger.Position `json:"positions"`
	}
	if err := json.Unmarshal(data, &got); err != nil {
		return answer{}, fmt.Errorf("read the answer %q: %w", data, err)
	}
	if len(got.Refused) > 0 || res.StatusCode == http.StatusBadRequest {
		return answer{}, fmt.Errorf("ingest says that events are wrong: %s %s", got.Error, got.Refused)
	}
	return answer{status: res.StatusCode, reason: got.Reason, positions: got.Positions}, nil
}
