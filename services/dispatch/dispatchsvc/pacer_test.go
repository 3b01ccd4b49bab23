package dispatchsvc

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"refrain.dev/pkg/clock"
)

func TestATurnThatIsNotUsedIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(1, clock.Wall{})
		if err := p.wait(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		stopped := make(chan struct{})
		close(stopped)
		if err := p.wait(t.Context(), stopped); !errors.Is(err, errStopping) {
			t.Errorf("a wait that was stopped: %v", err)
		}
		soon, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if err := p.wait(soon, nil); !errors.Is(err, errLate) {
			t.Errorf("a turn after the deadline: %v", err)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if err := p.wait(ended, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("a wait that was given up: %v", err)
		}
		began := time.Now()
		if err := p.wait(t.Context(), nil); err != nil || time.Since(began) != time.Second {
			t.Errorf("the next turn came after %v (%v), want 1 s: three turns were given back", time.Since(began), err)
		}
	})
}

func TestABurstIsOneSecondsWorth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(4, clock.Wall{})
		began := time.Now()
		for range 8 {
			if err := p.wait(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("8 at 4 a second took %v, want 1 s", took)
		}
		time.Sleep(time.Hour) //nolint:forbidigo // in a bubble, where time is simulated
		began = time.Now()
		for range 5 {
			if err := p.wait(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 250*time.Millisecond {
			t.Errorf("after an hour 5 took %v, want 250 ms: idle time is not saved up", took)
		}
	})
}

func TestABreakerTriesWithOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(3, 10*time.Second, clock.Wall{})
		b.failed()
		b.failed()
		b.succeeded()
		b.failed()
		b.failed()
		if !b.try() {
			t.Fatal("two failures in a row opened it, want three")
		}
		b.failed()
		if b.try() || b.remaining() != 10*time.Second {
			t.Fatalf("three failures in a row left it closed; %v remain", b.remaining())
		}
		b.failed()                   // of a call that had begun before
		time.Sleep(10 * time.Second) //nolint:forbidigo // in a bubble, where time is simulated
		if b.remaining() != 0 || !b.try() || b.try() {
			t.Fatal("after its delay it lets one call through, and no second one")
		}
		b.failed()
		if b.try() || b.remaining() != 10*time.Second {
			t.Fatal("the trial failed and it did not open again")
		}
		time.Sleep(10 * time.Second) //nolint:forbidigo // in a bubble, where time is simulated
		if !b.try() {
			t.Fatal("no second trial")
		}
		b.succeeded()
		if first, second := b.try(), b.try(); !first || !second {
			t.Error("a trial that succeeded did not close it")
		}
	})
}
