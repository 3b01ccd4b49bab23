//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/identity"
	"refrain.dev/tools/internal/fleet"
	"refrain.dev/tools/ledger"
)

// traffic is what customers do. One goroutine makes it; clients send it.
type traffic struct {
	clients *clients
	random  *rand.Rand
	rate    int
	// shared is the part of links in which two customers share an address.
	shared float64

	customers, number int
}

// run lets customers do something at a rate until ctx ends. life is that of the requests.
func (t *traffic) run(ctx, life context.Context) {
	tick := time.NewTicker(time.Second / time.Duration(t.rate))
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		t.act(life)
	}
}

// act lets one customer do something.
func (t *traffic) act(ctx context.Context) {
	if t.customers < 30 {
		t.send(ctx, t.introduce())
		return
	}
	switch k := t.random.IntN(100); {
	case k < 8:
		t.send(ctx, t.introduce())
	case k < 50:
		t.send(ctx, t.track("order_placed"))
	case k < 58:
		t.send(ctx, t.track("order_cancelled"))
	case k < 64:
		t.send(ctx, t.track("product_returned"))
	case k < 71:
		t.send(ctx, t.consent(eventv1.ConsentState_CONSENT_STATE_WITHDRAWN))
	case k < 78:
		t.send(ctx, t.consent(eventv1.ConsentState_CONSENT_STATE_GIVEN))
	case k < 83:
		t.send(ctx, t.link())
	case k < 85:
		t.send(ctx, t.bulk())
	case k < 92:
		t.reserve(ctx)
	default:
		t.query(ctx)
	}
}

// send sends a request, now and then twice at once.
func (t *traffic) send(ctx context.Context, r request) {
	times := 1
	if t.random.IntN(10) == 0 {
		times = 2
		t.clients.world.tally.add("clients: requests sent twice", 1)
	}
	for range times {
		random := rand.New(rand.NewPCG(t.random.Uint64(), 1)) //nolint:gosec // choices of a test
		t.clients.do(func() { t.clients.send(ctx, random, r) })
	}
}

func (t *traffic) next() int {
	t.number++
	return t.number
}

func (t *traffic) someone() int { return 1 + t.random.IntN(t.customers) }

func userOf(n int) string      { return fmt.Sprintf("user-%d", n) }
func emailOf(n int) string     { return fmt.Sprintf("user-%d@chaos.example", n) }
func anonymousOf(n int) string { return fmt.Sprintf("anonymous-%d", n) }

// batch makes a request of Segment messages, each about the identifiers that stand beside it.
func batch(lane string, messages ...map[string]any) request {
	r := request{path: "/v1/batch", lane: lane}
	for _, m := range messages {
		e := ledger.Sent{ID: fmt.Sprint(m["messageId"]), Kind: fmt.Sprint(m["type"], " ", m["event"])}
		for _, id := range []struct{ field, kind string }{{"userId", "user_id"}, {"anonymousId", "anonymous_id"}} {
			if v, ok := m[id.field].(string); ok {
				e.Identifiers = append(e.Identifiers, id.kind+":"+v)
			}
		}
		r.events = append(r.events, e)
	}
	r.body = encode(map[string]any{"batch": messages})
	return r
}

// encode gives the JSON of texts, numbers, and maps and lists of them.
func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic("a message has no JSON: " + err.Error())
	}
	return data
}

func now() string { return time.Now().UTC().Format(time.RFC3339Nano) }

// introduce brings a new customer, who may have looked around without a name first; most give consent.
func (t *traffic) introduce() request {
	t.customers++
	n := t.customers
	identify := map[string]any{
		"type": "identify", "messageId": fmt.Sprint("identify-", n), "userId": userOf(n), "timestamp": now(),
		"traits": map[string]any{"email": emailOf(n)},
	}
	var all []map[string]any
	if n%3 == 0 {
		all = append(all, t.view(n))
		identify["anonymousId"] = anonymousOf(n)
	}
	all = append(all, identify)
	if n%10 != 0 {
		all = append(all, map[string]any{
			"type": "track", "event": "consent_given", "messageId": fmt.Sprint("consent-", n), "userId": userOf(n), "timestamp": now(),
			"properties": map[string]any{"channel": "email", "topic": "*", "basis": "express", "evidence": "chaos"},
		})
	}
	return batch("", all...)
}

// view is a product that somebody without a name looked at.
func (t *traffic) view(n int) map[string]any {
	return map[string]any{
		"type": "track", "event": "product_viewed", "messageId": fmt.Sprint("view-", t.next()), "anonymousId": anonymousOf(n),
		"timestamp": now(), "properties": map[string]any{"product": "thing"},
	}
}

// track is something that a customer did, over HTTP or gRPC.
func (t *traffic) track(event string) request {
	n, number := t.someone(), t.next()
	id := fmt.Sprint(event, "-", number)
	if t.random.IntN(3) > 0 {
		return batch("", map[string]any{
			"type": "track", "event": event, "messageId": id, "userId": userOf(n), "timestamp": now(),
			"properties": map[string]any{"order_id": fmt.Sprint("o", number), "total": 10.5},
		})
	}
	return t.message(&eventv1.Event{
		Id: id, Type: event, Kind: eventv1.Kind_KIND_TRACK, Identifiers: []*eventv1.Identifier{{Kind: "user_id", Value: userOf(n)}},
		Properties: []*eventv1.Property{{Name: "order_id", Value: &eventv1.Value{Kind: &eventv1.Value_Text{Text: fmt.Sprint("o", number)}}}},
	})
}

// message makes a request over gRPC.
func (t *traffic) message(e *eventv1.Event) request {
	e.Tenant, e.At = "default", timestamppb.Now()
	sent := ledger.Sent{ID: e.GetId(), Kind: e.GetType()}
	for _, i := range e.GetIdentifiers() {
		sent.Identifiers = append(sent.Identifiers, i.GetKind()+":"+i.GetValue())
	}
	return request{messages: []*eventv1.Event{e}, events: []ledger.Sent{sent}}
}

// consent gives permission or takes it away, under the primary or under a secondary identifier.
func (t *traffic) consent(to eventv1.ConsentState) request {
	n := t.someone()
	who := &eventv1.Identifier{Kind: "user_id", Value: userOf(n)}
	if t.random.IntN(2) == 0 {
		who = &eventv1.Identifier{Kind: "email", Value: emailOf(n)}
	}
	event := "consent_given"
	if to == eventv1.ConsentState_CONSENT_STATE_WITHDRAWN {
		event = "consent_withdrawn"
	}
	r := t.message(&eventv1.Event{
		Id: fmt.Sprint(event, "-", t.next()), Type: event, Kind: eventv1.Kind_KIND_CONSENT, Identifiers: []*eventv1.Identifier{who},
		Consent: &eventv1.Consent{State: to, Channel: "email", Topic: "*", Basis: "express", Evidence: "chaos"},
	})
	if to == eventv1.ConsentState_CONSENT_STATE_WITHDRAWN {
		r.events[0].OptOut = &ledger.OptOut{Channel: "email", Topic: "*"}
		t.clients.world.tally.add("clients: opt-outs by "+who.GetKind(), 1)
	}
	return r
}

// link says that somebody without a name was a customer after all, or that two customers share an address.
func (t *traffic) link() request {
	n, other := t.someone(), t.someone()
	m := map[string]any{
		"type": "identify", "messageId": fmt.Sprint("link-", t.next()), "userId": userOf(n), "timestamp": now(),
	}
	if t.random.Float64() < t.shared {
		m["traits"] = map[string]any{"email": emailOf(other)}
		return batch("", m)
	}
	m["anonymousId"] = anonymousOf(other)
	return batch("", t.view(other), m)
}

// bulkSize is how many events an import has.
const bulkSize = 30

// bulk imports what happened long ago.
func (t *traffic) bulk() request {
	var all []map[string]any
	at := time.Now().AddDate(0, 0, -2).UTC().Format(time.RFC3339)
	for range bulkSize {
		number := t.next()
		all = append(all, map[string]any{
			"type": "track", "event": "order_placed", "messageId": fmt.Sprint("import-", number), "userId": userOf(t.someone()),
			"timestamp": at, "properties": map[string]any{"order_id": fmt.Sprint("o", number), "total": 1},
		})
	}
	return batch("bulk", all...)
}

// receipts reports what the provider accepted, as providers do: some of it, several times, to any replica.
func (t *traffic) receipts(ctx, life context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-t.clients.world.provider.reported:
			kind := "delivered"
			switch k := t.random.IntN(40); {
			case k >= 20:
				continue
			case k == 0:
				kind = "complained"
			case k == 1:
				kind = "bounced"
			}
			r := receipt(d, kind, fmt.Sprint("receipt-", t.next()))
			for range 1 + t.random.IntN(3) {
				t.send(life, r)
			}
			fleet.Pause(ctx, 10*time.Millisecond)
		}
	}
}

// receipt is the report of one delivery.
func receipt(d delivered, kind, id string) request {
	body := encode(map[string]any{"token": d.token, "kind": kind, "id": id})
	return request{
		path: "/v1/receipts/" + d.channel, body: body,
		events: []ledger.Sent{{ID: identity.Derive("receipt", d.token, kind, id), Kind: kind}},
	}
}
