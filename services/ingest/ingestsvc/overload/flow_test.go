package overload

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const second = time.Second

func testFlows(change func(*Limits)) *Flows {
	l := Limits{Reason: PartitionLags, Wait: 2 * second, Lag: 60 * second, Burst: 100, Least: 10}
	if change != nil {
		change(&l)
	}
	return NewFlows(2, l)
}

// put takes and stores n events one by one, as long as they are taken, and returns how many were.
func put(t *testing.T, f *Flow, n int, sequence *uint64, now time.Duration) int {
	t.Helper()
	for i := range n {
		if r := f.Take(1, now); r != nil {
			return i
		}
		*sequence++
		f.Stored(1, *sequence, now)
	}
	return n
}

// "An idle mesh takes that many at once", also after it was slow, and a look before anything can have come through
// says nothing about the pace.
func TestAnIdleFlowTakesABurst(t *testing.T) {
	flows, seq := testFlows(nil), uint64(0)
	f := flows.Of(0)
	if got := put(t, f, 60, &seq, 0); got != 60 {
		t.Fatalf("%d events were taken, want 60", got)
	}
	for look := range 4 {
		f.Covered(0, time.Duration(look+1)*200*time.Millisecond)
	}
	if got := put(t, f, 40, &seq, 800*time.Millisecond); got != 40 {
		t.Errorf("%d more events were taken after looks at which nothing had come through, want 40", got)
	}
	f.Covered(5, 10*second) // they are slow: 5 in 10 s
	if got := put(t, f, 1, &seq, 10*second); got != 0 {
		t.Error("a slow partition with much to do took one more")
	}
	f.Covered(seq, 200*second)
	if got := put(t, f, 100, &seq, 300*second); got != 100 {
		t.Errorf("%d events were taken when all was through, want 100", got)
	}
}

// The time to come again is in proportion to what waits, also while the pace is not known.
func TestTheTimeToComeAgainIsThatOfTheWork(t *testing.T) {
	refused := func(f *Flow, now time.Duration) time.Duration {
		t.Helper()
		r := f.Take(1, now)
		if r == nil {
			t.Fatalf("at %s one more was taken", now)
		}
		return r.After
	}
	flows, seq := testFlows(nil), uint64(0)
	f := flows.Of(0)
	put(t, f, 100, &seq, 0)
	if after := refused(f, 10*time.Millisecond); after != soonest {
		t.Errorf("with 100 events that have just come: after %s, want %s", after, soonest)
	}
	if after := refused(f, 10*second); after != 10*second {
		t.Errorf("after nothing came through for 10 s: after %s, want as long again", after)
	}
	f.Covered(20, 10*second) // 2 a second
	if after := refused(f, 10*second); after < 25*second || after > 31*second {
		t.Errorf("with 80 under way, 15 allowed, at 2 a second: after %s", after)
	}
	f.Covered(60, 12*second)
	if after := refused(f, 12*second); after > 10*second {
		t.Errorf("with 40 under way at more than 7 a second: after %s", after)
	}
}

// "Before the pace is known."
func TestAFlowBeginsWithTheBurst(t *testing.T) {
	flows, seq := testFlows(nil), uint64(0)
	if got := put(t, flows.Of(0), 1000, &seq, second); got != 100 {
		t.Errorf("%d events were taken before any came through, want 100", got)
	}
	if got := put(t, flows.Of(1), 50, &seq, second); got != 50 {
		t.Errorf("the other partition took %d of 50", got)
	}
}

// "Its window is what the stages did in Limits.Wait of late", and what is offered does not matter.
func TestAFlowTakesWhatTheStagesDo(t *testing.T) {
	for _, offered := range []int{200, 1000, 5000} {
		flows, seq, done := testFlows(nil), uint64(0), uint64(0)
		f, taken := flows.Of(0), 0
		const pace, looks = 100, 400 // events each look, every 200 ms: 500 events/s
		for n := range looks {
			now := time.Duration(n) * 200 * time.Millisecond
			got := put(t, f, offered, &seq, now)
			if n >= looks/2 {
				taken += got
			}
			done = min(seq, done+pace)
			f.Covered(done, now)
			if n > looks/2 && (seq-done) > 1300 {
				t.Fatalf("offered %d a look: %d are on their way at look %d, which is much more than 2 s of work", offered, seq-done, n)
			}
		}
		if want := pace * looks / 2; taken < want*8/10 || taken > want*12/10 {
			t.Errorf("offered %d a look: took %d in the second half, the stages did %d", offered, taken, want)
		}
	}
}

// "A flow with little to do" is not taken for slow stages.
func TestAQuietFlowKeepsItsPace(t *testing.T) {
	flows, seq := testFlows(nil), uint64(0)
	f := flows.Of(0)
	for n := range 20 { // what is there always comes through until the next look
		now := time.Duration(n) * second
		put(t, f, 90, &seq, now)
		f.Covered(seq, now+second/2)
	}
	fast := f.window()
	for n := range 100 {
		now := 30*second + time.Duration(n)*second
		put(t, f, 1, &seq, now)
		f.Covered(seq-1, now+second/2)
	}
	if f.window() < fast {
		t.Errorf("the window went from %d to %d while there was hardly anything to do", fast, f.window())
	}
}

// "Once it does, it goes on until there is a quarter of the window free."
func TestAFlowReopensWithRoomToSpare(t *testing.T) {
	flows, seq := testFlows(func(l *Limits) { l.Wait = 0 }), uint64(0)
	f := flows.Of(0)
	flows.limits.Least, f.known = 100, true
	put(t, f, 101, &seq, 0)
	f.Covered(20, second)
	if f.Take(1, second) == nil {
		t.Error("it took one more with 80 of 100 under way")
	}
	f.Covered(28, second)
	if r := f.Take(1, second); r != nil {
		t.Errorf("with less than 75 of 100 under way: %v", r)
	}
}

func TestAFlowThatStandsStillRefusesByAge(t *testing.T) {
	flows, seq := testFlows(nil), uint64(0)
	f := flows.Of(0)
	put(t, f, 1, &seq, 0)
	if r := f.Take(1, 60*second); r != nil {
		t.Fatalf("after 60 s: %v", r)
	}
	f.Failed(1)
	r := f.Take(1, 61*second)
	if r == nil || r.Reason != PartitionLags || r.After != latest || !strings.Contains(r.Why, "partition 0") {
		t.Fatalf("after 61 s: %+v", r)
	}
	if flows.Of(1).Take(1, 61*second) != nil {
		t.Error("the other partition refuses too")
	}
	f.Covered(seq, 62*second)
	if r := f.Take(1, 62*second); r != nil {
		t.Errorf("after all came through: %v", r)
	}
}

func TestAllPartitionsClosedMeansClosed(t *testing.T) {
	flows, seq := testFlows(nil), uint64(0)
	for p := range 2 {
		if flows.Closed(0) != nil {
			t.Fatalf("closed with %d of 2 partitions full", p)
		}
		put(t, flows.Of(p), 101, &seq, 0)
	}
	if r := flows.Closed(0); r == nil || r.Reason != PartitionLags {
		t.Fatalf("open with both partitions full: %v", r)
	}
	flows.Of(1).Covered(seq, second)
	if flows.Closed(second) != nil {
		t.Error("closed with one partition free again")
	}
}

func TestWhatIsNotStoredIsNotUnderWay(t *testing.T) {
	f := testFlows(nil).Of(0)
	for range 10 {
		if r := f.Take(100, 0); r != nil {
			t.Fatal(r)
		}
		f.Failed(100)
	}
	f.Force(100)
	if f.Take(1, 0) == nil {
		t.Error("what was forced does not count")
	}
}

// "With more, two neighbours become one, which forgets when the first of them is through": never too early.
func TestMarksAreBounded(t *testing.T) {
	flows := testFlows(func(l *Limits) { l.Burst = 1 << 20 })
	f, seq := flows.Of(0), uint64(0)
	const n = 10_000
	for i := range n {
		now := time.Duration(i) * time.Millisecond
		put(t, f, 1, &seq, now)
		if len(f.marks) > maxMarks {
			t.Fatalf("%d marks", len(f.marks))
		}
	}
	if !slices.IsSortedFunc(f.marks, func(a, b mark) int { return int(a.sequence) - int(b.sequence) }) { //nolint:gosec // small
		t.Error("marks are out of order")
	}
	for _, at := range []uint64{1, 500, 5000, n - 1} {
		f.Covered(at, n*time.Millisecond)
		if f.through > at {
			t.Fatalf("%d events are through, but only %d were covered", f.through, at)
		}
		if age, known := f.Age(n*time.Millisecond), (n-time.Duration(at))*time.Millisecond; age < known {
			t.Fatalf("the oldest is said to be %s old, it is %s", age, known)
		}
	}
	f.Covered(n, n*time.Millisecond)
	if f.under() != 0 || f.Waiting() || f.Age(n*second) != 0 {
		t.Errorf("%d under way after all came through", f.under())
	}
}
