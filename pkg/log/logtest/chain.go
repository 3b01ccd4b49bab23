package logtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
)

// Each position of a chain is won by exactly one writer, each writer knows which, and nothing of a writer
// that was told that it lost is in the chain.
func twoWriters(t *testing.T, s suite) {
	b := provisioned(t, s)
	const each = 40
	genesis := last(t, b, "prf.1")
	var mu sync.Mutex
	won, lost := map[uint64]string{}, map[string]bool{}
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 7)) //nolint:gosec // a test
			chain := log.OpenChain(Lossy{Broker: b, Lose: func() bool { return rng.IntN(3) == 0 }}, "prf.1", clock.Wall{})
			for n := 0; n < each; {
				at, err := b.Last(t.Context(), "prf.1")
				if err != nil {
					t.Errorf("last: %v", err)
					return
				}
				data := fmt.Sprintf("%d/%d/%d", w, n, rng.Uint64())
				sequence, err := chain.Append(t.Context(), at.Sequence, []byte(data))
				mu.Lock()
				switch {
				case err == nil && won[sequence] != "":
					t.Errorf("position %d was won twice: %s and %s", sequence, won[sequence], data)
				case err == nil:
					won[sequence] = data
					n++
				case errors.Is(err, log.ErrLost):
					lost[data] = true
				default:
					t.Errorf("append: %v", err)
					n = each
				}
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	at := genesis.Sequence
	for range 2 * each {
		m, err := b.Next(t.Context(), "prf.1", at)
		if err != nil {
			t.Fatalf("next after %d: %v", at, err)
		}
		if won[m.Sequence] != string(m.Data) || lost[string(m.Data)] {
			t.Fatalf("at %d is %q, reported was %q, lost %v", m.Sequence, m.Data, won[m.Sequence], lost[string(m.Data)])
		}
		at = m.Sequence
	}
	if end := last(t, b, "prf.1"); end.Sequence != at {
		t.Fatalf("the chain goes on to %d after the last success at %d", end.Sequence, at)
	}
}

func chainLostAnswer(t *testing.T, s suite) {
	b := provisioned(t, s)
	lose := 3
	lossy := Lossy{Broker: b, Lose: func() bool { lose--; return lose >= 0 }}
	genesis := last(t, b, "prf.1").Sequence
	chain := log.OpenChain(lossy, "prf.1", clock.Wall{})
	first, err := chain.Append(t.Context(), genesis, []byte("a"))
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	second, err := chain.Append(t.Context(), first, []byte("b"))
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	m, err := b.Next(t.Context(), "prf.1", genesis)
	if err != nil || m.Sequence != first {
		t.Fatalf("first record is at %d (%v), want %d", m.Sequence, err, first)
	}
	if m := last(t, b, "prf.1"); m.Sequence != second || string(m.Data) != "b" {
		t.Fatalf("last is %q at %d, want b at %d", m.Data, m.Sequence, second)
	}
	_, err = chain.Append(t.Context(), 0, []byte("c"))
	wantErr(t, "chain append with expectation 0", err, log.ErrZeroExpectation)
}

// Our record may be there although another's came after it, and another's may be there in our place.
func chainOvertaken(t *testing.T, s suite) {
	b := provisioned(t, s)
	genesis := last(t, b, "prf.1").Sequence
	ours := mustAppend(t, b, "prf.1", genesis, "ours")
	theirs := mustAppend(t, b, "prf.1", ours, "theirs")
	got, err := log.OpenChain(b, "prf.1", clock.Wall{}).Append(t.Context(), genesis, []byte("ours"))
	if err != nil || got != ours {
		t.Fatalf("our record, overtaken: got %d, %v, want %d", got, err, ours)
	}
	_, err = log.OpenChain(b, "prf.1", clock.Wall{}).Append(t.Context(), ours, []byte("mine"))
	wantErr(t, "append where another's record is", err, log.ErrLost)
	if end := last(t, b, "prf.1"); end.Sequence != theirs {
		t.Fatalf("last is %d, want %d", end.Sequence, theirs)
	}
}

func chainLostData(t *testing.T, s suite) {
	b := provisioned(t, s)
	genesis := last(t, b, "prf.1").Sequence
	_, err := log.OpenChain(b, "prf.1", clock.Wall{}).Append(t.Context(), genesis+10, []byte("a"))
	wantErr(t, "append after more than there is", err, log.ErrLogLostData)
	_, err = log.OpenChain(b, "evt.live.1", clock.Wall{}).Append(t.Context(), 3, []byte("a"))
	wantErr(t, "append to an empty chain", err, log.ErrLogLostData)
}

func chainBusy(t *testing.T, s suite) {
	b := provisioned(t, s)
	genesis := last(t, b, "prf.1").Sequence
	gate := gated{Broker: b, entered: make(chan struct{}), release: make(chan struct{})}
	chain := log.OpenChain(gate, "prf.1", clock.Wall{})
	first := make(chan error, 1)
	go func() {
		_, err := chain.Append(t.Context(), genesis, []byte("open"))
		first <- err
	}()
	<-gate.entered
	_, err := chain.Append(t.Context(), genesis, []byte("second"))
	wantErr(t, "append while one is open", err, log.ErrBusy)
	close(gate.release)
	if err := <-first; err != nil {
		t.Fatalf("the open append: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	at := last(t, b, "act.1").Sequence
	chain = log.OpenChain(b, "act.1", clock.Wall{})
	_, err = chain.Append(ended, at, []byte("x"))
	wantErr(t, "append with a context that has ended", err, context.Canceled)
	if _, err := chain.Append(t.Context(), at, []byte("y")); err != nil {
		t.Fatalf("nothing was sent, so another append is fine: %v", err)
	}
}

// gated holds an append until it is released.
type gated struct {
	log.Broker
	entered, release chan struct{}
}

// Append implements log.Broker.
func (g gated) Append(ctx context.Context, subject string, expect uint64, data []byte) (uint64, error) {
	close(g.entered)
	<-g.release
	return g.Broker.Append(ctx, subject, expect, data)
}
