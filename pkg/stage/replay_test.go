package stage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

var monday = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// replay runs two stages under the replay clock over the given arrivals, advances a day and settles.
func (m *mesh) replay(arrivals []arrival) {
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := NewReplay(ctx, m.broker, m.gen, 2)
	if err != nil {
		m.t.Fatal(err)
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, name := range []string{"decision", "profile"} {
		s := m.stage(name, r.Broker(), r)
		g.Go(func() error { return r.Run(gctx, s) })
	}
	g.Go(func() error { return r.Drive(gctx) })
	for _, a := range arrivals {
		m.publish(r.Broker(), r, a)
	}
	r.Advance(func(t time.Time) time.Time { return t.Add(24 * time.Hour) })
	eventually(m.t, "settled", func() bool { return r.Status().Settled })
	cancel()
	if err := g.Wait(); err != nil {
		m.t.Fatalf("run: %v", err)
	}
}

// randomArrivals makes many customers per instant, letters between them, timers, calls and lanes.
func randomArrivals(seed uint64, n int) []arrival {
	rnd := rand.New(rand.NewPCG(seed, 1))
	at := monday
	var out []arrival
	for i := range n {
		if rnd.IntN(4) == 0 {
			at = at.Add(time.Duration(rnd.IntN(1800)) * time.Second)
		}
		e := entry{Customer: fmt.Sprint("c", rnd.IntN(12)), Add: rnd.IntN(9) + 1, ID: fmt.Sprint("e", i-rnd.IntN(2))}
		switch rnd.IntN(6) {
		case 0:
			e.Letter = fmt.Sprint("c", rnd.IntN(12))
		case 1:
			e.Later = time.Duration(rnd.IntN(7200)) * time.Second
		case 2:
			e.Call = true
		case 3:
			e.Bad = rnd.IntN(8) == 0
		}
		a := arrival{at: at, e: e}
		if rnd.IntN(10) == 0 {
			a.lane = "control"
		}
		if rnd.IntN(15) == 0 {
			a.at = at.Add(-time.Duration(rnd.IntN(3600)) * time.Second) // late
		}
		out = append(out, a)
	}
	return out
}

// Facts do not depend on the number of partitions or on the borders of batches (DESIGN, what is fixed, 7).
func TestFactsDoNotDependOnPartitionsOrBatches(t *testing.T) {
	for seed := range uint64(8) {
		arrivals := randomArrivals(seed, 150)
		var want map[string]map[string][]string
		for _, shape := range []struct{ p, batch int }{{1, 500}, {32, 500}, {1, 1}, {32, 1}, {8, 7}} {
			m := newMesh(t, shape.p, shape.batch)
			m.replay(arrivals)
			got := map[string]map[string][]string{"prf": m.facts("prf"), "act": m.facts("act")}
			if len(got["prf"]) == 0 || len(got["act"]) == 0 {
				t.Fatalf("seed %d P=%d: no facts at all", seed, shape.p)
			}
			if want == nil {
				want = got
				continue
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d: P=%d batch=%d differs from P=1 batch=500 (-want +got):\n%s", seed, shape.p, shape.batch, diff)
			}
		}
	}
}

// The end of a replay that was killed and started again, with its store emptied, equals an undisturbed run.
func TestReplaySurvivesRestartWithAnEmptyStore(t *testing.T) {
	arrivals := randomArrivals(3, 120)
	calm := newMesh(t, 4, 50)
	calm.replay(arrivals)
	stormy := newMesh(t, 4, 50)
	stormy.replay(arrivals[:60])
	stormy.store = state.NewMemory()
	stormy.replay(arrivals[60:])
	for n := range 12 {
		c := fmt.Sprint("c", n)
		// The clock was advanced in the middle, so times differ; sums must not.
		if got, want := stormy.row("profile", c).Sum, calm.row("profile", c).Sum; got != want {
			t.Errorf("sum of %s: got %d, want %d", c, got, want)
		}
	}
}

// A timer fires at its own instant, also where events come before it and after it only.
func TestATimerFiresAtItsInstantUnderTheReplayClock(t *testing.T) {
	m := newMesh(t, 2, 500)
	m.replay([]arrival{
		{at: monday, e: entry{Customer: "c1", Add: 3, ID: "e1", Later: 30 * time.Minute}},
		{at: monday.Add(2 * time.Hour), e: entry{Customer: "c2", Add: 1, ID: "e2"}},
	})
	want := fmt.Sprint("timer 3 -> 6 at ", monday.Add(30*time.Minute).Format(time.RFC3339Nano))
	if got := m.facts("prf")[key("c1")]; len(got) != 2 || got[1] != want {
		t.Errorf("got %q, want the second to be %q", got, want)
	}
}

// Letters of one instant are more than a batch, and a record with all of them is refused for a while: the
// facts are the same as ever.
func TestRefusedAppendsChangeNothingUnderTheReplayClock(t *testing.T) {
	arrivals := randomArrivals(5, 60)
	calm := newMesh(t, 1, 1)
	calm.replay(arrivals)
	stormy := newMesh(t, 1, 1)
	appends := 0
	stormy.broker.SetFaults(func(op log.Op) log.Fault {
		if op.Name == "append" {
			if appends++; appends < 50 && appends%3 == 0 {
				return log.Fault{Effect: log.Full}
			}
		}
		return log.Fault{}
	})
	stormy.replay(arrivals)
	if diff := cmp.Diff(calm.facts("prf"), stormy.facts("prf")); diff != "" {
		t.Fatalf("refused appends lead to other facts (-calm +stormy):\n%s", diff)
	}
}

// stuck is a caller whose calls end when it is told.
type stuck chan struct{}

func (s stuck) Call(_ context.Context, _ int, c Call, done func(any)) {
	go func() { <-s; done(c.Request) }()
}

// The clock is settled when everything that was published is applied and led to what follows from it, the newest instant
// too, and not before; until then it says what is open.
func TestSettledTellsTheTruth(t *testing.T) {
	m := newMesh(t, 2, 500)
	calls := make(stuck)
	m.caller = calls
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := NewReplay(ctx, m.broker, m.gen, 2)
	if err != nil {
		t.Fatal(err)
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, name := range []string{"decision", "profile"} {
		s := m.stage(name, r.Broker(), r)
		g.Go(func() error { return r.Run(gctx, s) })
	}
	g.Go(func() error { return r.Drive(gctx) })
	here := func(at time.Time) time.Time { return at }

	m.publish(r.Broker(), r, arrival{at: monday, e: entry{Customer: "c1", Add: 3, ID: "e1", Call: true}})
	if st := r.Await(ctx); st.Settled || !st.Held.Equal(monday) || len(st.Open) != 1 {
		t.Fatalf("got %+v before the only event is applied; want it held", st)
	}
	r.Advance(here)
	over, end := context.WithCancel(ctx)
	end()
	if st := r.Await(over); st.Settled || len(st.Open) == 0 {
		t.Fatalf("got %+v at once after the advance; want what is open", st)
	}
	eventually(t, "the call is named", func() bool {
		st := r.Status()
		return !st.Settled && len(st.Open) == 2 && strings.Contains(st.Open[1], "1 calls are under way")
	})
	close(calls)
	if st := r.Await(ctx); !st.Settled || len(st.Open) > 0 || !st.Now.Equal(monday) {
		t.Fatalf("got %+v; want all settled at the event's time", st)
	}
	if got := m.row("profile", "c1").Sum; got < 3 {
		t.Errorf("got a sum of %d when all is settled; want the event in it", got)
	}
	m.publish(r.Broker(), r, arrival{at: monday, e: entry{Customer: "c1", Add: 4, ID: "e2"}})
	if st := r.Await(ctx); !st.Settled {
		t.Fatalf("got %+v; want that an event of an instant that was released is applied", st)
	}
	if got := m.row("profile", "c1").Sum; got < 7 {
		t.Errorf("got a sum of %d; want the second event in it", got)
	}
	cancel()
	if err := g.Wait(); err != nil {
		t.Fatalf("run: %v", err)
	}
}
