package meshsvc

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// bound is how long after an acknowledged opt-out a send may still start.
const bound = 5 * time.Second

// No send starts later than 5 s after an acknowledged opt-out, though it came under another identifier, whose home
// is another partition, and an import of thousands of events fills the bulk lane.
func TestAnOptOutUnderAnotherIdentifierEndsTheMailsWhileTheBulkLaneIsFull(t *testing.T) {
	r := start(t, words{"CAP": "200"})
	const customers = 12
	for n := range customers {
		r.introduce(n)
		r.order(shopper(n), "first-"+shopper(n))
	}
	for n := range customers {
		r.waitFor(user(shopper(n)), "delivery_accepted", 1)
	}
	stopFilling := r.fillBulk()
	r.eventually("the bulk lane is full", r.bulkWaits)
	full, out := 0, map[string]time.Time{}
	pace := time.NewTicker(25 * time.Millisecond)
	defer pace.Stop()
	for n := range int((bound + 3*time.Second) / (25 * time.Millisecond)) {
		<-pace.C
		r.order(shopper(n%customers), fmt.Sprintf("order-%d", n))
		if n < customers/2 {
			out[r.key(shopper(n))] = r.optOutByMail(n)
			if r.bulkWaits() {
				full++
			}
		}
		if n == customers/2 {
			stopFilling()
		}
	}
	last := customers - 1 // who never said no still gets mails
	r.order(shopper(last), "last-one")
	r.eventually("the last mail is written", func() bool { return strings.Contains(r.mails(), "zu last-one") })
	after := 0
	for raw := range strings.Lines(r.mails()) {
		var l struct {
			Customer, Subject string
			At                time.Time
		}
		if err := json.Unmarshal([]byte(raw), &l); err != nil {
			t.Fatal(err)
		}
		acked, ok := out[l.Customer]
		if ok && l.At.Sub(acked) > bound {
			t.Errorf("%s was sent %v after the opt-out was acknowledged", l.Subject, l.At.Sub(acked))
		}
		if !ok && len(l.Customer) > 0 {
			after++
		}
	}
	if full < len(out) || after <= customers {
		t.Errorf("the bulk lane was full at %d of %d opt-outs, and %d mails went to others: the test shows little", full, len(out), after)
	}
}

func shopper(n int) string { return fmt.Sprintf("shopper-%d", n) }

func mailOf(n int) *eventv1.Identifier {
	return &eventv1.Identifier{Kind: "email", Value: shopper(n) + "@shop.example"}
}

// key is a user's customer id as channels show it.
func (r *running) key(name string) string {
	g := r.Generation()
	return hex.EncodeToString(identity.NewHasher(g.Secret, g.Partitions).ID("default", user(name)))
}

// publish stores events by gRPC.
func (r *running) publish(events ...*eventv1.Event) {
	r.t.Helper()
	if _, err := r.ingest.PublishEvents(r.t.Context(), &eventv1.PublishEventsRequest{Events: events}); err != nil {
		r.t.Fatal(err)
	}
}

// introduce makes a customer with two identifiers and consent to mail.
func (r *running) introduce(n int) {
	r.t.Helper()
	r.publish(
		&eventv1.Event{
			Id: "who-" + shopper(n), Tenant: "default", Type: "identify", Kind: eventv1.Kind_KIND_IDENTIFY, At: timestamppb.Now(),
			Identifiers: []*eventv1.Identifier{user(shopper(n)), mailOf(n)},
		},
		&eventv1.Event{
			Id: "yes-" + shopper(n), Tenant: "default", Type: "consent_given", Kind: eventv1.Kind_KIND_CONSENT, At: timestamppb.Now(),
			Identifiers: []*eventv1.Identifier{user(shopper(n))},
			Consent:     &eventv1.Consent{State: eventv1.ConsentState_CONSENT_STATE_GIVEN, Channel: "email", Topic: "*", Basis: "opt_in"},
		},
	)
}

// optOutByMail withdraws consent under the address alone and returns when that was acknowledged.
func (r *running) optOutByMail(n int) time.Time {
	r.t.Helper()
	r.publish(&eventv1.Event{
		Id: "no-" + shopper(n), Tenant: "default", Type: "consent_withdrawn", Kind: eventv1.Kind_KIND_CONSENT, At: timestamppb.Now(),
		Identifiers: []*eventv1.Identifier{mailOf(n)},
		Consent:     &eventv1.Consent{State: eventv1.ConsentState_CONSENT_STATE_WITHDRAWN, Channel: "email", Topic: "*"},
	})
	return time.Now()
}

// fillBulk stores events of strangers in the bulk lanes, as an import does, faster than they can be taken, until it
// is stopped.
func (r *running) fillBulk() (stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() {
		for n := 0; ctx.Err() == nil; n++ {
			data, err := strangers(n).MarshalVT()
			if err == nil {
				_, err = r.Site().Publish(ctx, log.Subject(log.Lane(log.LaneBulk), n%r.Generation().Partitions), data)
			}
			if err != nil && ctx.Err() == nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	return func() {
		r.t.Helper()
		cancel()
		if err := <-done; err != nil {
			r.t.Fatal(err)
		}
	}
}

// strangers is the n-th message of an import: 500 events of customers who are in no other.
func strangers(n int) *stagev1.Arrivals {
	const batch = 500
	now := timestamppb.Now()
	all := &stagev1.Arrivals{}
	for i := range batch {
		who := user(fmt.Sprintf("stranger-%d-%d", n, i))
		payload, err := (&eventv1.Event{
			Id: who.GetValue(), Tenant: "default", Type: "page_seen", Kind: eventv1.Kind_KIND_TRACK, At: now, ReceivedAt: now,
			Identifiers: []*eventv1.Identifier{who},
		}).MarshalVT()
		if err != nil {
			panic(err) // a message that we made
		}
		all.Items = append(all.Items, &stagev1.Arrival{ReceivedAt: now, At: now, Item: &stagev1.Arrival_Payload{Payload: payload}})
	}
	return all
}

// bulkWaits says whether some partition has more in its bulk lane than it has taken.
func (r *running) bulkWaits() bool {
	r.t.Helper()
	for p := range r.Generation().Partitions {
		last, err := r.Site().Last(r.t.Context(), log.Subject(log.Lane(log.LaneBulk), p))
		if errors.Is(err, log.ErrNotFound) {
			continue
		}
		if err != nil {
			r.t.Fatal(err)
		}
		view, err := r.Store().Read(r.t.Context(), p, state.Query{Metas: []string{"profile"}})
		if err != nil {
			r.t.Fatal(err)
		}
		if view.Metas["profile"].Origins[log.LaneBulk] < last.Sequence {
			return true
		}
	}
	return false
}

// mails is what the file channel has written.
func (r *running) mails() string {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.cfg.Dir, "channels", "email.jsonl"))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(data)
}
