package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"refrain.dev/services/ingest/ingestsvc"
	"refrain.dev/tools/ledger"
)

// A small mesh under more than it takes: one customer has half of all live events, far over its rate. What
// is acknowledged is there, what restricts contact is never refused, and in the end everything is taken again.
func TestNothingAcknowledgedIsLostUnderOverload(t *testing.T) {
	p := plan{
		times: []float64{1, 4}, each: time.Second, workspace: "../bench/testdata/shop", redis: "memory",
		partitions: 2, batch: 20, customers: 200, hot: 0.5, seed: 1, capacity: 500,
		ingest: func(c *ingestsvc.Config) { c.CustomerRate, c.CustomerBurst = 1, 20 },
	}
	m, err := startMesh(t.Context(), t.TempDir(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.close(); err != nil {
			t.Error(err)
		}
	}()
	r, err := newRun(m, p, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out := &report{plan: p}
	if err := r.all(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	if out.ledger.Count > 0 || !strings.Contains(out.last(), "control_and_receipts_refused=0 lost=0 violations=0") {
		t.Errorf("got\n%s", out)
	}
	hot := 0
	for _, ph := range out.phases {
		for _, c := range ph.classes {
			hot += c.reasons["CUSTOMER_RATE"]
			if c.nOffered != c.nAccepted+c.nRefused+c.nFailed+c.nUnanswered {
				t.Errorf("%s: %d offered, but %d accepted, %d refused, %d without an answer", c.name, c.nOffered, c.nAccepted, c.nRefused, c.nFailed+c.nUnanswered)
			}
		}
	}
	if hot == 0 {
		t.Errorf("the hot customer was never refused:\n%s", out)
	}
	if events := out.ledger.Totals.Events; events < 400 {
		t.Errorf("the check saw %d events, which is hardly anything", events)
	}
}

// The check must be able to fail: an acknowledgement of what is not there.
func TestALostEventIsFound(t *testing.T) {
	p := plan{each: time.Second, workspace: "../bench/testdata/shop", redis: "memory", partitions: 1, batch: 5, customers: 10}
	m, err := startMesh(t.Context(), t.TempDir(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.close() }()
	r, err := newRun(m, p, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.introduce(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.acknowledged(request{events: []ledger.Sent{sent("never-stored", "order_placed", "customer-1")}}, answer{}, time.Now())
	got, err := r.verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Totals.Lost != 1 || (&report{ledger: got}).problem() == nil {
		t.Errorf("got %+v", got.Totals)
	}
}

// offerTo runs a generator against a fake ingest in fake time.
func offerTo(t *testing.T, gap time.Duration, send func(context.Context) (answer, error)) *tally {
	t.Helper()
	tally := newTally("live")
	g := &generator{
		class: class{per: 2, one: func(*rand.Rand, int) request { return request{events: make([]ledger.Sent, 2)} }},
		next:  func() int { return 0 }, rng: rand.New(rand.NewPCG(1, 1)), gap: gap, tally: tally, //nolint:gosec // the same each time
		send: func(ctx context.Context, _ request) (answer, error) { return send(ctx) }, open: &atomic.Int64{},
		acknowledged: func(request, answer, time.Time) {},
	}
	begin := time.Now()
	g.offer(t.Context(), begin, begin.Add(10*time.Second))
	return tally
}

// "Whether or not anything is answered": the schedule is the same against an ingest that answers at once, one
// that refuses and one that hangs, and a hang is in the latencies of all that it delays.
func TestTheScheduleDoesNotDependOnAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quick := offerTo(t, 10*time.Millisecond, func(context.Context) (answer, error) { return answer{status: http.StatusOK}, nil })
		if quick.nOffered < 1700 || quick.nOffered > 2300 || quick.nAccepted != quick.nOffered {
			t.Errorf("%d offered, %d accepted; want about 2000 of both", quick.nOffered, quick.nAccepted)
		}
		refusing := offerTo(t, 10*time.Millisecond, func(context.Context) (answer, error) {
			return answer{status: http.StatusTooManyRequests, reason: "PARTITION_LAGS"}, nil
		})
		if refusing.nOffered != quick.nOffered || refusing.reasons["PARTITION_LAGS"] != quick.nOffered {
			t.Errorf("refused: %d offered, %v", refusing.nOffered, refusing.reasons)
		}
		opens := time.Now().Add(5 * time.Second)
		hanging := offerTo(t, 10*time.Millisecond, func(context.Context) (answer, error) {
			timer := time.NewTimer(time.Until(opens))
			defer timer.Stop()
			<-timer.C
			return answer{status: http.StatusOK}, nil
		})
		if hanging.nOffered != quick.nOffered || hanging.nAccepted != quick.nOffered {
			t.Errorf("hanging: %d offered, %d accepted", hanging.nOffered, hanging.nAccepted)
		}
		if quarter := time.Duration(hanging.answers.ValueAtPercentile(75)) * time.Microsecond; quarter < 2*time.Second || quarter > 3*time.Second {
			t.Errorf("a hang of 5 of 10 s makes a quarter of all wait for more than %s, want about 2.5 s", quarter)
		}
	})
}

func TestMoreThanCanBeOpenIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := offerTo(t, time.Millisecond, func(ctx context.Context) (answer, error) {
			timer := time.NewTimer(time.Minute)
			defer timer.Stop()
			<-timer.C
			return answer{}, errors.New("no answer")
		})
		if never.nFailed != 2*mostOpen || never.nUnanswered != never.nOffered-2*mostOpen || never.example == nil {
			t.Errorf("%d offered, %d failed, %d not sent", never.nOffered, never.nFailed, never.nUnanswered)
		}
	})
}

func TestPlan(t *testing.T) {
	good := plan{each: time.Second, batch: 1, customers: 1}
	for _, times := range []string{"", "0", "-1", "x", "1,,2"} {
		if p := good; p.parse(times) == nil {
			t.Errorf("--times %q passes", times)
		}
	}
	if p := good; p.parse("0.5, 10") != nil || len(p.times) != 2 || p.times[1] != 10 {
		t.Errorf("got %v", p.times)
	}
	for name, change := range map[string]func(*plan){
		"for": func(p *plan) { p.each = 0 }, "batch": func(p *plan) { p.batch = 0 }, "customers": func(p *plan) { p.customers = 0 }, "hot": func(p *plan) { p.hot = 2 },
	} {
		p := good
		change(&p)
		if p.parse("1") == nil {
			t.Errorf("a bad --%s passes", name)
		}
	}
}
