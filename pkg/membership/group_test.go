package membership

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

func TestANewcomerGetsItsShareAfterTheHold(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		c.wantSplit("a")
		if !a.ready.Load() {
			t.Error("a has joined and is not ready")
		}
		c.pass(3*time.Second, nothing)
		changed := a.Changed()
		b := c.start("b")
		c.pass(6*time.Second, func() {
			if got := len(a.owned()); got != testPartitions {
				t.Fatalf("a owns %d partitions within the hold, want all", got)
			}
		})
		if !b.Present("a") || !a.Present("b") || a.Present("c") {
			t.Error("who is there is not known")
		}
		if got := b.Locate(5); got != "a:7400" || a.Locate(5) != "" {
			t.Errorf("partition 5 is located at %q and %q, want a's address and none", got, a.Locate(5))
		}
		select {
		case <-changed:
			t.Error("a was told of a change that does not concern it")
		default:
		}
		c.pass(3*time.Second, func() { c.split("a", "b") })
		c.wantSplit("a", "b")
		select {
		case <-changed:
		default:
			t.Error("a was not told that it owns less")
		}
		// What was acquired long ago is given up at once.
		c.pass(testHold, nothing)
		c.start("c") // for a moment both c and who gives up mean to own what moves; the stage waits for its end
		c.pass(2*time.Second, nothing)
		c.wantSplit("a", "b", "c")
	})
}

func TestWhoLeavesIsReplacedAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		for _, name := range []string{"a", "b", "c"} {
			c.start(name)
		}
		c.pass(2*testHold, nothing)
		c.wantSplit("a", "b", "c")
		b := c.members["b"]
		b.Leaving()
		c.pass(1200*time.Millisecond, func() {
			if got := b.owned(); c.split("a", "b", "c") == nil || !c.members["a"].Present("b") {
				t.Errorf("b, which is leaving, owns %v, present to a: %v", got, c.members["a"].Present("b"))
			}
		})
		c.wantSplit("a", "c")
		b.leave(t)
		c.pass(1200*time.Millisecond, nothing)
		if c.members["a"].Present("b") {
			t.Error("b has left and is still present")
		}
		if err := b.Leave(t.Context()); err != nil {
			t.Errorf("b leaves again: %v", err)
		}
		c.wantSplit("a", "c")
	})
}

// The store's own time stands still here: a lost replica is noticed by the others' clocks alone.
func TestWhoIsLostIsReplacedAfterTheTTL(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		for _, name := range []string{"a", "b", "c"} {
			c.start(name)
		}
		c.pass(2*testHold, nothing)
		before := c.split("a", "b", "c")
		c.members["c"].kill()
		c.pass(testTTL-3*time.Second, func() {
			if got := c.split("a", "b"); slices.Contains(got, "c") || !sameBut("c", before, got) {
				t.Fatalf("within c's time a and b own %v, had %v", got, before)
			}
		})
		c.pass(5*time.Second, nothing)
		c.wantSplit("a", "b")
	})
}

// sameBut says whether all partitions that name did not own have the same owner.
func sameBut(name string, before, after []string) bool {
	for p := range before {
		if before[p] != name && before[p] != after[p] || before[p] == name && after[p] != "" {
			return false
		}
	}
	return true
}

func TestWhoCannotRenewOwnsNothingBeforeOthersTakeIt(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a"), c.start("b")
		c.pass(2*testHold, nothing)
		had := a.owned()
		changed := a.Changed()
		a.blocked.Store(true)
		// c.split fails if both own one at any time.
		c.pass(testTTL+3*time.Second, func() {
			c.split("a", "b")
			select {
			case <-changed:
			default:
				if len(a.owned()) == 0 || len(b.owned()) == testPartitions {
					t.Fatal("a was not told at once that it owns nothing")
				}
			}
		})
		if len(a.owned()) > 0 || len(b.owned()) != testPartitions {
			t.Fatalf("a owns %v, b %d", a.owned(), len(b.owned()))
		}
		if a.ready.Load() || a.said.Count("lease ran out") != 1 || a.said.Count("cannot be kept") != 1 {
			t.Error("a did not say, once, that its lease ran out, or is still ready")
		}
		c.pass(30*time.Second, nothing)
		a.blocked.Store(false)
		c.pass(7*time.Second, func() { c.split("a", "b") })
		if !a.ready.Load() || !slices.Equal(a.owned(), had) {
			t.Errorf("a, long after, owns %v, want %v again", a.owned(), had)
		}
		c.wantSplit("a", "b")
	})
}

// What counts is when a renewal was sent: it may have been stored long before its answer came.
func TestALeaseCountsFromWhenItsRenewalWasSent(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		a.slow.answer.Store(int64(testTTL/5 - 100*time.Millisecond))
		c.pass(testTTL, nothing)
		a.blocked.Store(true)
		c.pass(2*testTTL, func() {
			over := time.Unix(0, a.slow.sent.Load()).Add(testTTL - testTTL/10)
			if owns := len(a.owned()) > 0; owns != time.Now().Before(over) {
				t.Fatalf("a owns anything: %v, %s after its lease was over", owns, time.Since(over))
			}
		})
	})
}

// A replica that is stopped and goes on after its time has nothing done for it meanwhile: Owns knows all the
// same.
func TestAPausedReplicaKnowsThatItOwnsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		a.kill() // its loop stands still; the process may go on at any time
		c.pass(testTTL-testTTL/10-100*time.Millisecond, func() {
			if len(a.owned()) != testPartitions {
				t.Fatal("a owns nothing within its time")
			}
		})
		c.pass(200*time.Millisecond, nothing)
		if got := a.owned(); len(got) > 0 {
			t.Errorf("a owns %v after its time", got)
		}
	})
}

func TestAFlappingReplicaDoesNotMakePartitionsPingPong(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		c.pass(2*testHold, nothing)
		moves, before := make([]int, testPartitions), a.owned()
		count := func() {
			now := a.owned()
			for p := range testPartitions {
				if slices.Contains(before, p) != slices.Contains(now, p) {
					moves[p]++
				}
			}
			before = now
		}
		const rounds = 15
		for range rounds { // there for two seconds, gone for two
			b := c.start("b")
			c.pass(2*time.Second, count)
			b.leave(t)
			c.pass(2*time.Second, count)
		}
		passed := 4 * rounds * time.Second
		// To b and back again, and then it is held.
		most := 2 * (1 + int(passed/testHold))
		if got := slices.Max(moves); got > most || got == 0 {
			t.Errorf("a partition moved %d times in %s, want at most %d: %v", got, passed, most, moves)
		}
	})
}

func TestARestartKeepsItsPartitionsAndTheOldProcessStandsBy(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		old, b := c.start("a"), c.start("b")
		c.pass(2*testHold, nothing)
		had := old.owned()
		fresh := c.start("a")
		if got := fresh.owned(); !slices.Equal(got, had) {
			t.Errorf("the new process owns %v, want %v", got, had)
		}
		c.pass(3*time.Second, func() {
			if len(b.owned()) != testPartitions-len(had) {
				t.Error("b's partitions changed because a was started again")
			}
		})
		if len(old.owned()) > 0 || old.ready.Load() || old.said.Count("needs a name of its own") != 1 {
			t.Errorf("the old process owns %v, ready %v; said so %d times", old.owned(), old.ready.Load(), old.said.Count("needs a name of its own"))
		}
		c.pass(time.Minute, func() { c.wantSplit("a", "b") })
		fresh.kill()
		c.pass(testTTL+testHold+7*time.Second, nothing) // b may have taken them, for a while
		if got := old.owned(); !slices.Equal(got, had) || !old.ready.Load() {
			t.Errorf("after the new process is gone the old one owns %v, want %v", got, had)
		}
		old.kill()
	})
}

// Answers that are lost, after the lease was stored or before, cost nothing.
func TestLostAnswersAreResolved(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		r := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // choices of a test
		c.memory.SetFaults(func(op log.Op) log.Fault {
			switch {
			case !strings.HasPrefix(op.Name, "lease."):
			case r.IntN(4) == 0:
				return log.Fault{Effect: log.LostAfter}
			case r.IntN(6) == 0:
				return log.Fault{Effect: log.LostBefore}
			}
			return log.Fault{}
		})
		c.start("a")
		c.start("b")
		c.pass(2*testHold, nothing)
		c.pass(2*time.Minute, func() { c.wantSplit("a", "b") })
		for _, m := range c.members {
			if m.said.Count("lease ran out") > 0 {
				t.Errorf("%s lost its lease", m.name)
			}
		}
	})
}

// After a time in which nobody could renew, whoever is back first does not take everything.
func TestAnOutageOfTheStoreMovesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		names := []string{"a", "b", "c"}
		for _, name := range names {
			c.start(name)
		}
		c.pass(2*testHold, nothing)
		c.wantSplit(names...)
		for _, m := range c.members {
			m.blocked.Store(true)
		}
		c.pass(3*testTTL, nothing)
		for _, m := range c.members {
			if len(m.owned()) > 0 {
				t.Errorf("%s owns %v without a lease", m.name, m.owned())
			}
		}
		want := assign("s", testPartitions, named(names...))
		for _, m := range c.members {
			m.blocked.Store(false)
		}
		c.pass(7*time.Second, func() {
			for p, owner := range c.split(names...) {
				if owner != "" && owner != want[p] {
					t.Fatalf("partition %d went to %s, want %s", p, owner, want[p])
				}
			}
		})
		c.wantSplit(names...)
	})
}

func TestWrongSettingsAreNamed(t *testing.T) {
	_, err := New(Config{Replica: "a b", TTL: time.Millisecond, Hold: -1}, Ports{Clock: clock.Wall{}, Meter: noop.NewMeterProvider()})
	if fault.Of(err) != fault.Invalid {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"service", "replica", "incarnation", "partitions", "ttl", "hold"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say what is wrong with %s", err, want)
		}
	}
}

// Who stands by is there and owns nothing; the others own what it did until it is able again.
func TestWhoStandsByIsThereAndOwnsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a"), c.start("b")
		c.pass(3*testHold, nothing)
		c.wantSplit("a", "b")
		a.Standby()
		if n := len(a.owned()); n > 0 {
			t.Errorf("a stands by and owns %d partitions", n)
		}
		c.pass(2*time.Second, nothing)
		c.wantSplit("b")
		if !b.Present("a") || !b.ready.Load() || !a.ready.Load() {
			t.Error("a is not there while it stands by")
		}
		c.pass(5*testTTL, nothing) // it goes on to renew its lease
		if !b.Present("a") || len(b.owned()) != testPartitions {
			t.Errorf("a is there: %v; b owns %d, want all", b.Present("a"), len(b.owned()))
		}
		a.Able()
		c.pass(2*time.Second, nothing)
		c.wantSplit("a", "b")
		a.Standby()
		a.leave(t) // also who stands by can leave
		delete(c.members, "a")
		c.pass(2*time.Second, nothing)
		c.wantSplit("b")
	})
}
