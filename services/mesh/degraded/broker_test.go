package degraded

import (
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"refrain.dev/pkg/embed/embedtest"
	"refrain.dev/pkg/log"
)

// "1 broker node lost": three servers, each stream on all of them; one is killed. Publishers may have to come
// again; everything goes on.
func TestABrokerNodeIsLost(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED with -short: one of three broker nodes is lost")
	}
	cluster := embedtest.Cluster(t)
	nc, err := cluster.Connect(nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	w := newTown(t)
	w.open(nc, 3)
	w.delivers("ann", "order-0")
	w.offered("ann")
	if err := cluster.Nodes()[1].Kill(); err != nil {
		t.Fatal(err)
	}
	w.cell("everything", func(*testing.T) { w.delivers("bob", "order-1") })
	w.cell("query", func(*testing.T) { w.offered("bob") })
}

// "Broker quorum lost": events are refused with Retry-After, never kept and acknowledged; queries are answered
// from what is there; nobody is contacted; then all goes on.
func TestTheBrokerIsLost(t *testing.T) {
	w := build(t, func(_ *town, text *words) { (*text)["THINK"] = "PT3S" })
	w.delivers("ann", "order-0")
	w.offered("ann")
	w.publish("track", object{"userId": "ann", "messageId": "cart-1", "event": "cart_started", "properties": object{"item": "hat-1"}})
	w.arrives("hook", "hat-1") // and again three seconds later
	w.stopBroker()
	w.store.due.Store(0)
	w.cell("ingest", func(t *testing.T) {
		code, after := w.post("track", order("ann", "order-1"))
		if code != http.StatusServiceUnavailable || after == "" {
			t.Errorf("an event was answered with %d, Retry-After %q", code, after)
		}
	})
	w.cell("query", func(t *testing.T) {
		res, err := w.ask("ann")
		if err != nil || len(res.GetItems()) != 1 {
			t.Errorf("answered %v, %v", res, err)
		}
	})
	w.cell("suppression/reserve", func(t *testing.T) {
		_, err := w.reserve("ann", "reserve-1")
		unavailable(t, err)
	})
	w.cell("decision, suppression, dispatch", func(t *testing.T) {
		w.eventually("the second reminder is due", func() bool { return w.store.due.Load() > 0 })
		if _, err := w.reserve("ann", "reserve-2"); err == nil { // a round through a stage
			t.Error("room was given")
		}
		if n := w.lines("hook", "hat-1"); n != 1 {
			t.Errorf("%d reminders were sent, want the one before", n)
		}
	})
	w.startBroker()
	w.cell("all go on", func(*testing.T) {
		w.publish("track", order("ann", "order-2"))
		w.arrives("email", "order-2")
		w.eventually("the second reminder is sent", func() bool { return w.lines("hook", "hat-1") == 2 })
	})
}

// "Incarnation/last_seq regression": a chain ends before what was acknowledged. Its owner halts and says so; what
// comes after it in the mesh gets nothing to send; queries are answered from the states that there are.
func TestTheLogWentBack(t *testing.T) {
	w := build(t)
	w.delivers("ann", "order-0")
	w.offered("ann")
	w.remake("PROFILES")
	w.cell("ingest", func(t *testing.T) { // its own stream is whole
		for _, who := range []string{"ann", "bob", "cid", "dora"} {
			if code, _ := w.post("track", order(who, "order-1-"+who)); code != http.StatusOK {
				t.Errorf("an event was answered with %d", code)
			}
		}
	})
	w.cell("profile", func(*testing.T) {
		w.eventually("the profile stage halts", func() bool { return w.logs.Count(`msg="partition halted" service=profile`) > 0 })
	})
	w.cell("decision", func(*testing.T) {
		w.eventually("who reads the chain halts too", func() bool { return w.logs.Count(`msg="partition halted" service=decision`) > 0 })
	})
	w.cell("query", func(t *testing.T) {
		res, err := w.ask("ann")
		if err != nil || len(res.GetItems()) != 1 {
			t.Errorf("answered %v, %v", res, err)
		}
	})
	w.cell("dispatch", func(t *testing.T) {
		if n := w.sent("email", "order-1"); n > 0 {
			t.Errorf("%d mails were sent", n)
		}
	})
	w.cell("stays so", func(t *testing.T) { // also for the next process
		halted := w.logs.Count("partition halted")
		w.stop("profile")
		w.start("profile")
		w.eventually("it halts again", func() bool { return w.logs.Count("partition halted") > halted })
		if _, err := w.site.Last(t.Context(), log.Subject("prf", 0)); err == nil {
			t.Error("somebody began a second history")
		}
	})
}

// remake deletes the streams of a family, with everything in them, and makes them again.
func (w *town) remake(family string) {
	w.t.Helper()
	for _, cfg := range w.gen.StreamConfigs(64 << 20) {
		if !strings.HasPrefix(cfg.Name, family+"-") {
			continue
		}
		if err := w.site.DeleteStream(w.t.Context(), cfg.Name); err != nil {
			w.t.Fatal(err)
		}
		if err := w.site.CreateStream(w.t.Context(), cfg); err != nil {
			w.t.Fatal(err)
		}
	}
}

// "Every stream has an identity. Owners and readers halt when it changes": what EVENTS lost is not skipped in silence,
// and nothing more is taken that would be read by nobody.
func TestEventsIsMadeAnew(t *testing.T) {
	w := build(t)
	w.delivers("ann", "order-0")
	w.offered("ann")
	w.remake("EVENTS")
	w.cell("ingest", func(t *testing.T) {
		w.eventually("ingest refuses", func() bool {
			code, _ := w.post("track", order("ann", "order-1"))
			return code == http.StatusServiceUnavailable
		})
		if w.logs.Count("nothing more is taken for a stream") == 0 {
			t.Error("it does not say why")
		}
	})
	w.cell("profile", func(*testing.T) {
		w.eventually("the profile stage halts", func() bool { return w.logs.Count(`msg="partition halted" service=profile`) > 0 })
	})
	w.cell("query", func(t *testing.T) {
		res, err := w.ask("ann")
		if err != nil || len(res.GetItems()) != 1 {
			t.Errorf("answered %v, %v", res, err)
		}
	})
	w.cell("stays so", func(t *testing.T) { // also for the next process
		halted := w.logs.Count("partition halted")
		w.stop("profile")
		w.start("profile")
		w.eventually("it halts again", func() bool { return w.logs.Count("partition halted") > halted })
		if n := w.sent("email", "order-1"); n > 0 {
			t.Errorf("%d mails were sent", n)
		}
	})
}
