package ingestsvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
)

func testCommitter(t *testing.T, s store) *committer {
	t.Helper()
	m, err := newMetrics(metricnoop.NewMeterProvider())
	if err != nil {
		t.Fatal(err)
	}
	c := newCommitter(Default(), run.Deps{Clock: clock.Wall{}, Logger: slog.New(slog.DiscardHandler)}, m)
	c.store, c.times.store, c.within = s, s, time.Minute
	return c
}

func mustWait(t *testing.T, c *committer) {
	t.Helper()
	if err := c.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func ticketOf(lane string, payload string) *ticket {
	t := newTicket(address{lane, 0})
	t.add(0, &stagev1.Arrival{Item: &stagev1.Arrival_Payload{Payload: []byte(payload)}}, len(payload))
	return t
}

func TestWhatComesWhileAnAppendIsOpenSharesTheNextOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlowStore()
		c := testCommitter(t, s)
		done := 0
		var all []*ticket
		for i := range 50 {
			tick := ticketOf("live", fmt.Sprint(i))
			all = append(all, tick)
			c.submit([]*ticket{tick}, func() { done++ })
			if i == 0 {
				<-s.entered
			}
		}
		s.release <- nil
		s.release <- nil
		mustWait(t, c)
		if len(s.batches) != 2 || s.most != 1 || done != 50 {
			t.Fatalf("%d appends, %d at once, %d done; want 2, 1, 50", len(s.batches), s.most, done)
		}
		second := &stagev1.Arrivals{}
		if err := second.UnmarshalVT(s.batches[1]); err != nil || len(second.GetItems()) != 49 {
			t.Fatalf("the second append has %d items, %v", len(second.GetItems()), err)
		}
		for i, a := range second.GetItems() {
			if string(a.GetPayload()) != fmt.Sprint(i+1) {
				t.Fatalf("item %d is %s: order is lost", i, a.GetPayload())
			}
		}
		for i, tick := range all {
			if sequence, err := tick.wait(t.Context(), clock.Wall{}); err != nil || sequence != uint64(min(i, 1)+1) { //nolint:gosec // small
				t.Fatalf("ticket %d: %d, %v", i, sequence, err)
			}
		}
	})
}

func TestLanesDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlowStore()
		c := testCommitter(t, s)
		c.submit([]*ticket{ticketOf("live", "a"), ticketOf("control", "b")}, func() {})
		first, second := <-s.entered, <-s.entered
		if first == second {
			t.Fatalf("both are in %s", first)
		}
		s.release <- nil
		s.release <- nil
		mustWait(t, c)
	})
}

func TestAMessageIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlowStore()
		c := testCommitter(t, s)
		big := make([]byte, 30<<10)
		for i := range 40 {
			c.submit([]*ticket{ticketOf("live", string(big))}, func() {})
			if i == 0 {
				<-s.entered
			}
		}
		for range 40 {
			s.release <- nil
		}
		mustWait(t, c)
		items := 0
		for _, data := range s.batches {
			if len(data) > maxArrivalBytes {
				t.Errorf("a message has %d bytes", len(data))
			}
			a := &stagev1.Arrivals{}
			_ = a.UnmarshalVT(data)
			items += len(a.GetItems())
		}
		if items != 40 || len(s.batches) > 5 {
			t.Errorf("%d items in %d appends", items, len(s.batches))
		}
	})
}

func TestNobodyIsAnsweredBeforeTheAcknowledgement(t *testing.T) {
	for name, failure := range map[string]error{"acknowledged": nil, "unknown": log.ErrUnknown, "full": log.ErrFull, "other": errors.New("boom")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSlowStore()
				c := testCommitter(t, s)
				tick := ticketOf("live", "a")
				resolved := false
				c.submit([]*ticket{tick}, func() { resolved = true })
				synctest.Wait()
				select {
				case <-tick.resolved:
					t.Fatal("answered while the append was open")
				default:
				}
				s.release <- failure
				_, err := tick.wait(t.Context(), clock.Wall{})
				mustWait(t, c)
				if !resolved || !errors.Is(err, failure) || (failure != nil && fault.Of(err) != fault.Unavailable) {
					t.Fatalf("got %v, kind %v", err, fault.Of(err))
				}
			})
		})
	}
}

func TestACallerWhoLeavesDoesNotCutTheAppendOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlowStore()
		c := testCommitter(t, s)
		tick := ticketOf("live", "a")
		done := false
		c.submit([]*ticket{tick}, func() { done = true })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := tick.wait(ctx, clock.Wall{}); !errors.Is(err, log.ErrUnknown) || fault.Of(err) != fault.Unavailable || done {
			t.Fatalf("got %v, done %v", err, done)
		}
		s.release <- nil
		mustWait(t, c)
		if sequence, err := tick.wait(t.Context(), clock.Wall{}); err != nil || sequence != 1 || !done {
			t.Fatalf("got %d, %v, done %v", sequence, err, done)
		}
	})
}

func TestAfterTheEndNothingIsTaken(t *testing.T) {
	c := testCommitter(t, newSlowStore())
	mustWait(t, c)
	tick, done := ticketOf("live", "a"), false
	c.submit([]*ticket{tick}, func() { done = true })
	if _, err := tick.wait(t.Context(), clock.Wall{}); fault.Of(err) != fault.Unavailable || !done {
		t.Fatalf("got %v, done %v", err, done)
	}
}

// failing is a broker that stores nothing on some subjects.
type failing struct {
	log.Broker
	fail func(subject string) error
}

func (f failing) Publish(ctx context.Context, subject string, data []byte) (uint64, error) {
	if err := f.fail(subject); err != nil {
		return 0, err
	}
	return f.Broker.Publish(ctx, subject, data) //nolint:wrapcheck // a fake
}

func TestAnythingNotStoredIs503(t *testing.T) {
	for name, prefix := range map[string]string{"an event": "evt.", "a dead letter": "dlq."} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(_ *Config, d *run.Deps) {
				d.Broker = failing{d.Broker, func(subject string) error {
					if len(subject) > 4 && subject[:4] == prefix {
						return log.ErrUnknown
					}
					return nil
				}}
			})
			code, a, header := f.post("/v1/batch", `{"batch":[{"type":"track","userId":"u","event":"a"},{"type":"track"}]}`)
			if code != http.StatusServiceUnavailable || a.Success || header.Get("Retry-After") == "" {
				t.Fatalf("got %d %+v", code, a)
			}
		})
	}
}

func TestManyPublishersAtOnceLoseNothing(t *testing.T) {
	f := newFixture(t)
	const publishers, each = 16, 25
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				items, _, err := parseSegment("track", fmt.Appendf(nil, `{"userId":"u%d","event":"a","messageId":"%d-%d"}`, i, p, i))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := f.door.take(t.Context(), submission{tenant: "default", via: viaSegment, items: items}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, e := range f.stored("live") {
		seen[e.GetId()] = true
	}
	if len(seen) != publishers*each {
		t.Fatalf("%d events, want %d", len(seen), publishers*each)
	}
}
