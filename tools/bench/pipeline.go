package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"refrain.dev/pkg/log"
	"refrain.dev/tools/publish"
)

const (
	// wave is how many events are published, a full batch per publisher, before they are waited for.
	wave = 2000
	// customers place orders in turn; the caps let three mails pass for each.
	customers = 2000
)

// object is JSON.
type object map[string]any

// orders makes events: one order each, of the next customer in turn.
type orders struct{ next int }

func (o *orders) events(n int) ([]json.RawMessage, error) {
	var out []json.RawMessage
	for range n {
		id := fmt.Sprintf("order-%08d", o.next)
		e, err := json.Marshal(object{
			"type": "track", "userId": fmt.Sprint("customer-", o.next%customers), "messageId": id, "event": "order_placed",
			"properties": object{"order_id": id, "total": 12.5, "note": "leave it with the neighbours, please"},
		})
		if err != nil {
			return nil, fmt.Errorf("encode an order: %w", err)
		}
		out = append(out, e)
		o.next++
	}
	return out, nil
}

// publish sends events in full batches, several at a time.
func (r *running) publish(ctx context.Context, events []json.RawMessage) error {
	var senders sync.WaitGroup
	errs := make([]error, (len(events)+publish.MaxItems-1)/publish.MaxItems)
	for n := range errs {
		batch := events[n*publish.MaxItems : min((n+1)*publish.MaxItems, len(events))]
		senders.Go(func() {
			refused, err := r.client.Send(ctx, batch)
			if err == nil && len(refused) > 0 {
				err = fmt.Errorf("ingest refused %d events: %s %s", len(refused), refused[0].Field, refused[0].Why)
			}
			errs[n] = err
		})
	}
	senders.Wait()
	return errors.Join(errs...)
}

// newCustomers lets the mesh know somebody who may be mailed.
func (r *running) newCustomers(ctx context.Context, names []string) error {
	var all []json.RawMessage
	for _, name := range names {
		for _, o := range []object{
			{"type": "identify", "messageId": "identify-" + name, "traits": object{"email": name + "@shop.example", "spent": spent}},
			{"type": "track", "messageId": "consent-" + name, "event": "consent_given", "properties": object{"channel": "email", "topic": "*", "basis": "opt_in"}},
		} {
			o["userId"] = name
			e, err := json.Marshal(o)
			if err != nil {
				return fmt.Errorf("encode a customer: %w", err)
			}
			all = append(all, e)
		}
	}
	if err := r.publish(ctx, all); err != nil {
		return err
	}
	return r.rest(ctx)
}

// pipeline compares events that are decided with events that are stored.
func pipeline(ctx context.Context, m *running, dir string) (*suite, error) {
	var names []string
	for n := range customers {
		names = append(names, fmt.Sprint("customer-", n))
	}
	if err := m.newCustomers(ctx, names); err != nil {
		return nil, err
	}
	b, err := startBroker(ctx, filepath.Join(dir, "bare"))
	if err != nil {
		return nil, err
	}
	ours, bare := &orders{}, &orders{}
	return &suite{close: func() error { b.close(); return nil }, figures: []figure{{
		name: "pipeline, HTTP to verdict", unit: "event",
		ours: side{what: "a mesh that takes orders over HTTP (batches of 500, four at a time), folds profiles, runs a journey, ranks, and checks caps", rest: m.rest, step: func(ctx context.Context) (int, error) {
			events, err := ours.events(wave)
			if err != nil {
				return 0, err
			}
			if err := m.publish(ctx, events); err != nil {
				return 0, err
			}
			return wave, m.covered(ctx, "profile", "decision", "suppression")
		}},
		bare: side{what: "nats.go PublishAsync of the same events, one message each, to the same kind of server", step: b.storeAll(bare)},
		note: func() string {
			mails, err := m.mails()
			if err != nil {
				return err.Error()
			}
			return fmt.Sprintf("ONE DECIDES, THE OTHER ONLY STORES: of %d orders %d were answered with a mail, the caps said no to the rest.", ours.next, mails)
		},
	}}}, nil
}

// storeAll publishes a wave without waiting for each, and waits for all.
func (b *broker) storeAll(from *orders) step {
	return func(ctx context.Context) (int, error) {
		events, err := from.events(wave)
		if err != nil {
			return 0, err
		}
		var refused atomic.Int64
		js, err := jetstream.New(b.nc, jetstream.WithPublishAsyncErrHandler(func(jetstream.JetStream, *nats.Msg, error) { refused.Add(1) }))
		if err != nil {
			return 0, fmt.Errorf("open JetStream: %w", err)
		}
		for n, e := range events {
			if _, err := js.PublishAsync(log.Subject(log.Lane(log.LaneLive), n%benchPartitions), e); err != nil {
				return 0, err
			}
		}
		select {
		case <-js.PublishAsyncComplete():
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		js.CleanupPublisher()
		if n := refused.Load(); n > 0 {
			return 0, fmt.Errorf("%d events were not stored", n)
		}
		return wave, nil
	}
}
