package dispatchsvc

import (
	"testing"
	"testing/synctest"
	"time"

	"refrain.dev/pkg/clock"
)

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
