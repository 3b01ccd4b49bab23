package log_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
)

func memory(tb testing.TB, opts ...log.MemoryOption) *log.Memory {
	tb.Helper()
	m, _, err := log.ProvisionMemory(tb.Context(), log.Generation{Number: 1, Partitions: 2, Streams: 1, Replicas: 1}, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func TestMemoryFeedSeesAtOnce(t *testing.T) {
	m := memory(t)
	f, err := m.Feed(t.Context(), map[string]uint64{"evt.live.0": 0})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 3 {
		at, err := m.Publish(t.Context(), "evt.live.0", []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		got, ok := f.Tail("evt.live.0").Peek()
		if !ok || got.Sequence != at {
			t.Fatalf("right after the publish: got %d, %v, want %d", got.Sequence, ok, at)
		}
		f.Tail("evt.live.0").Pop()
	}
}

func TestMemoryClock(t *testing.T) {
	want := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m := memory(t, log.WithClock(func() time.Time { return want }))
	if _, err := m.Publish(t.Context(), "evt.live.0", nil); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Last(t.Context(), "evt.live.0"); err != nil || !got.Time.Equal(want) {
		t.Fatalf("stored at %s (%v), want %s", got.Time, err, want)
	}
}

func TestMemoryFaults(t *testing.T) {
	for _, test := range []struct {
		name   string
		fault  log.Fault
		want   error
		stored int
		landed int
	}{
		{"lost before", log.Fault{Effect: log.LostBefore}, log.ErrUnknown, 0, 0},
		{"lost after", log.Fault{Effect: log.LostAfter}, log.ErrUnknown, 1, 0},
		{"late", log.Fault{Effect: log.Late}, log.ErrUnknown, 0, 1},
		{"pending", log.Fault{Effect: log.Pending}, log.ErrPending, 0, 0},
		{"full", log.Fault{Effect: log.Full}, log.ErrFull, 0, 0},
		{"refused", log.Fault{Err: context.DeadlineExceeded}, context.DeadlineExceeded, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := memory(t)
			m.SetFaults(func(log.Op) log.Fault { return test.fault })
			_, err := m.Publish(t.Context(), "evt.live.0", []byte("x"))
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			m.SetFaults(nil)
			stored := func() int {
				u, err := m.Usage(t.Context(), "evt.live.0")
				if err != nil {
					t.Fatal(err)
				}
				return int(u.Messages) //nolint:gosec // few
			}
			if got := stored(); got != test.stored {
				t.Errorf("%d stored, want %d", got, test.stored)
			}
			if landed := m.Land(); landed != test.landed || stored() != test.stored+landed {
				t.Errorf("%d landed, %d stored; want %d landed", landed, stored(), test.landed)
			}
		})
	}
}

// After a lost answer only the same append may be repeated, and it finds its record although it landed late.
func TestChainStaysOpenAfterLostAnswer(t *testing.T) {
	m := memory(t)
	genesis, err := m.Last(t.Context(), "prf.0")
	if err != nil {
		t.Fatal(err)
	}
	chain := log.OpenChain(m, "prf.0", clock.Wall{})
	m.SetFaults(func(op log.Op) log.Fault {
		if op.Name == "append" {
			return log.Fault{Effect: log.Late}
		}
		return log.Fault{}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = chain.Append(ctx, genesis.Sequence, []byte("a"))
	if !errors.Is(err, log.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want an unknown answer and the deadline", err)
	}
	if _, err = chain.Append(t.Context(), genesis.Sequence, []byte("b")); !errors.Is(err, log.ErrBusy) {
		t.Fatalf("another append: got %v, want busy", err)
	}
	m.SetFaults(nil)
	m.Land()
	got, err := chain.Append(t.Context(), genesis.Sequence, []byte("a"))
	if err != nil || got != genesis.Sequence+2 { // two chains share the stream
		t.Fatalf("repeat: got %d, %v", got, err)
	}
	if _, err := chain.Append(t.Context(), got, []byte("b")); err != nil {
		t.Fatalf("the next append: %v", err)
	}
}

// A refusal after a lost answer does not prove that nothing was stored.
func TestChainFullAfterLostAnswer(t *testing.T) {
	m := memory(t)
	genesis, err := m.Last(t.Context(), "prf.0")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	m.SetFaults(func(op log.Op) log.Fault {
		if op.Name != "append" {
			return log.Fault{}
		}
		n++
		return []log.Fault{{Effect: log.LostAfter}, {Effect: log.Full}, {}}[min(n-1, 2)]
	})
	got, err := log.OpenChain(m, "prf.0", clock.Wall{}).Append(t.Context(), genesis.Sequence, []byte("a"))
	if err != nil || got == 0 || n != 2 {
		t.Fatalf("got %d, %v after %d attempts; want it found after 2", got, err, n)
	}
}

// Whatever answers are lost, late or refused, each append that Chain reports is in the chain once, in order,
// and nothing else is.
func TestChainProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := memory(t)
		at, err := m.Last(t.Context(), "act.1")
		if err != nil {
			rt.Fatal(err)
		}
		effects := rapid.SliceOfN(rapid.IntRange(0, int(log.Pending)), 1, 30).Draw(rt, "effects")
		m.SetFaults(func(op log.Op) log.Fault {
			f := log.Fault{Effect: log.Effect(effects[op.Number%uint64(len(effects))]), After: 1}
			if op.Name != "append" && f.Effect == log.Pending {
				return log.Fault{}
			}
			return f
		})
		chain := log.OpenChain(m, "act.1", clock.Wall{})
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Millisecond)
		defer cancel()
		done, tried, sequence := 0, 0, at.Sequence
		for i := range 5 {
			tried++
			next, err := chain.Append(ctx, sequence, []byte{byte(i)})
			if err != nil {
				break
			}
			done, sequence = done+1, next
		}
		m.SetFaults(nil)
		m.Land()
		position := at.Sequence
		for i := range tried {
			got, err := m.Next(t.Context(), "act.1", position)
			if i >= done && errors.Is(err, log.ErrNotFound) {
				continue // the append whose answer nobody got
			}
			if err != nil || len(got.Data) != 1 || int(got.Data[0]) != i {
				rt.Fatalf("record %d after %d: %v, %v", i, position, got, err)
			}
			position = got.Sequence
		}
		if got, err := m.Next(t.Context(), "act.1", position); err == nil {
			rt.Fatalf("record too many: %v", got)
		}
	})
}

// Whatever answers are lost, a generation is ready only when every chain has its genesis and nothing else.
func TestProvisionProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		effects := rapid.SliceOfN(rapid.IntRange(0, 40), 20, 60).Draw(rt, "effects")
		m := log.NewMemory(log.WithFaults(func(op log.Op) log.Fault {
			f := log.Fault{Effect: log.Effect(effects[op.Number%uint64(len(effects))]), After: 2}
			if f.Effect > log.Late { // most operations pass
				return log.Fault{}
			}
			return f
		}))
		gen := log.Generation{Number: 1, Partitions: 2, Streams: 2, Replicas: 1}
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
		defer cancel()
		_, failed := log.Provision(ctx, m, gen, log.ProvisionConfig{})
		m.SetFaults(nil)
		found, err := log.FindGeneration(t.Context(), m.KV())
		if errors.Is(err, log.ErrNotFound) && failed != nil {
			return
		}
		if err != nil {
			rt.Fatalf("find: %v, provision: %v", err, failed)
		}
		if err := log.Assert(t.Context(), m, found); err != nil {
			rt.Fatal(err)
		}
		for _, spec := range log.Stages() {
			for p := range found.Partitions {
				subject := log.Subject(spec.Chain, p)
				if u, err := m.Usage(t.Context(), subject); err != nil || u.Messages != 1 || u.LastSequence != 1 {
					rt.Fatalf("%s: %+v, %v, want one genesis", subject, u, err)
				}
			}
		}
	})
}
