package overload

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"refrain.dev/pkg/clock"
)

func customer(n uint64) []byte {
	rng := rand.New(rand.NewPCG(n, 1)) //nolint:gosec // a test's customers
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, rng.Uint64()), rng.Uint64())
}

func TestAHotCustomerIsHeldToItsRate(t *testing.T) {
	c := NewCustomers(10, 50)
	taken := 0
	var last *RefusedError
	for n := range 1000 { // 100 events/s for 10 s
		if r := c.Take(customer(0), time.Duration(n)*10*time.Millisecond); r != nil {
			last = r
			continue
		}
		taken++
	}
	if taken < 148 || taken > 151 { // the burst, and ten seconds of the rate
		t.Errorf("took %d of 1000, want about 150", taken)
	}
	if last == nil || last.Reason != CustomerRate || last.After != soonest {
		t.Errorf("the refusal is %+v", last)
	}
	if r := c.Take(customer(0), 20*time.Second); r != nil {
		t.Errorf("after a rest: %v", r)
	}
}

// "Two customers hinder each other only if they share both": a thousand hot ones leave the others alone.
func TestHotCustomersLeaveTheOthersAlone(t *testing.T) {
	c := NewCustomers(10, 50)
	for n := range uint64(1000) {
		for range 60 {
			c.Take(customer(n), 0)
		}
		if c.Take(customer(n), 0) == nil {
			t.Fatalf("customer %d is not hot", n)
		}
	}
	hindered := 0
	for n := range uint64(10_000) {
		if c.Take(customer(n+1_000_000), 0) != nil {
			hindered++
		}
	}
	if hindered > 30 {
		t.Errorf("%d of 10000 others are refused", hindered)
	}
}

func TestNoRateBoundsNothing(t *testing.T) {
	c := NewCustomers(0, 0)
	for range 10_000 {
		if r := c.Take(customer(0), 0); r != nil {
			t.Fatal(r)
		}
	}
}

// "Spread evenly however many there are", and the same in every run.
func TestTimesToComeAgainAreSpread(t *testing.T) {
	var a, b Spread
	var all []time.Duration
	for range 100 {
		d := a.After(10 * time.Second)
		if d != b.After(10*time.Second) {
			t.Fatal("two runs differ")
		}
		all = append(all, d)
	}
	slices.Sort(all)
	if all[0] < 5*time.Second || all[99] > 15*time.Second {
		t.Errorf("from %s to %s, want within half to one and a half of 10 s", all[0], all[99])
	}
	for n := 1; n < len(all); n++ {
		if gap := all[n] - all[n-1]; gap > 300*time.Millisecond {
			t.Errorf("a gap of %s among a hundred", gap)
		}
	}
}

func refusalOf(err error) Reason {
	if r, ok := errors.AsType[*RefusedError](err); ok {
		return r.Reason
	}
	return ""
}

func TestMemoryIsBoundedAndATenthIsForUrgentRequests(t *testing.T) {
	g := NewGate(clock.Wall{}, GateConfig{Memory: 10 << 20, Turns: 1, Within: time.Second})
	enter := func(class Class) (all []*Visit) {
		for {
			v, err := g.Enter(100<<10, class)
			if err != nil {
				if refusalOf(err) != IngestBusy {
					t.Fatal(err)
				}
				return all
			}
			all = append(all, v)
		}
	}
	normal := enter(Normal)
	urgent := enter(Urgent)
	if len(normal) != 22 || len(urgent) != 2 { // of 416 KiB each: 9 MiB, and the last one
		t.Fatalf("%d normal and then %d urgent requests fit", len(normal), len(urgent))
	}
	for _, v := range append(normal, urgent...) {
		v.Leave()
		v.Leave()
	}
	if g.held.Load() != 0 {
		t.Errorf("%d bytes are held by nobody", g.held.Load())
	}
}

func visit(t *testing.T, g *Gate) *Visit {
	t.Helper()
	v, err := g.Enter(0, Normal)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A standing queue makes everybody late: then nobody waits for long, and the first free turn ends it.
func TestAStandingQueueHasLittlePatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(clock.Wall{}, GateConfig{Memory: 10 << 20, Turns: 1, Within: 100 * time.Millisecond})
		holder := visit(t, g)
		if err := holder.Begin(t.Context(), Normal); err != nil {
			t.Fatal(err)
		}
		waited := func(class Class) time.Duration {
			v := visit(t, g)
			defer v.Leave()
			began := time.Now()
			if err := v.Begin(t.Context(), class); refusalOf(err) != IngestBusy && class == Normal {
				t.Fatalf("got %v", err)
			}
			return time.Since(began)
		}
		if got := waited(Normal); got != 100*time.Millisecond {
			t.Errorf("the first waited %s", got)
		}
		if got := waited(Normal); got != 100*time.Millisecond {
			t.Errorf("the second waited %s", got) // the queue stands for no longer than 100 ms yet
		}
		if got := waited(Normal); got != 5*time.Millisecond {
			t.Errorf("the third waited %s", got)
		}
		if got := waited(Urgent); got != 0 {
			t.Errorf("the urgent one waited %s", got)
		}
		holder.Rest()
		again := visit(t, g)
		if err := again.Begin(t.Context(), Normal); err != nil {
			t.Fatal(err)
		}
		if got := waited(Normal); got != 100*time.Millisecond {
			t.Errorf("after a free turn it waited %s", got)
		}
		again.Leave()
		holder.Leave()
	})
}

func TestATurnThatComesInTimeIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(clock.Wall{}, GateConfig{Memory: 10 << 20, Turns: 1, Within: 100 * time.Millisecond})
		holder, next := visit(t, g), visit(t, g)
		if err := holder.Begin(t.Context(), Normal); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(50*time.Millisecond, holder.Leave)
		if err := next.Begin(t.Context(), Normal); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := visit(t, g).Begin(ctx, Normal); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller who left got %v", err)
		}
		next.Leave()
	})
}
