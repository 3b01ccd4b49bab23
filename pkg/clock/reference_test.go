package clock

import (
	"errors"
	"testing"
	"time"
)

// setClock is a clock that the test sets.
type setClock struct {
	Wall

	wall    time.Time
	elapsed time.Duration
}

func (c *setClock) Now() time.Time         { return c.wall }
func (c *setClock) Elapsed() time.Duration { return c.elapsed }

// pass lets time pass, everywhere.
func (c *setClock) pass(d time.Duration) { c.wall, c.elapsed = c.wall.Add(d), c.elapsed+d }

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// A clock is proven wrong only outside of [time before the append - 2 s, time after its acknowledgement + 2 s].
func TestWhatAReadingProves(t *testing.T) {
	for _, c := range []struct {
		name         string
		stored, took time.Duration // since the begin
		wrong        bool
	}{
		{"equal", 0, 0, false},
		{"two seconds ahead", -2 * time.Second, 0, false},
		{"more than two seconds ahead", -2*time.Second - 1, 0, true},
		{"two seconds behind", 2 * time.Second, 0, false},
		{"more than two seconds behind", 2*time.Second + 1, 0, true},
		{"stalled for a minute", 30 * time.Second, time.Minute, false},
		{"stalled, stored at once", 0, time.Minute, false},
		{"stalled and ahead", -3 * time.Second, time.Minute, true},
		{"a week ahead", -7 * 24 * time.Hour, time.Second, true},
		{"a week behind", 7 * 24 * time.Hour, time.Second, true},
	} {
		clk := &setClock{wall: noon}
		r := NewReference(clk)
		m := r.Mark()
		clk.pass(c.took)
		err := r.Read(m, noon.Add(c.stored))
		if _, skewed := errors.AsType[*SkewError](err); skewed != c.wrong {
			t.Errorf("%s: %v, want wrong = %v", c.name, err, c.wrong)
		}
		for range looks - 1 { // of a broker that is always so slow
			m := r.Mark()
			clk.pass(c.took)
			_ = r.Read(m, m.wall.Add(c.stored))
		}
		if _, err := r.Now(); (err != nil) != c.wrong {
			t.Errorf("%s: now: %v, want wrong = %v", c.name, err, c.wrong)
		}
	}
}

// A time of day that is set is noticed before the next reading, which then decides; set right it counts at once.
func TestATimeOfDayThatIsSetIsNoticedAtOnce(t *testing.T) {
	for _, step := range []time.Duration{3 * time.Second, -3 * time.Second, 9 * 24 * time.Hour, -9 * 24 * time.Hour} {
		clk := &setClock{wall: noon}
		r := NewReference(clk)
		if err := r.Check(); !errors.Is(err, ErrUnread) {
			t.Fatalf("before the first reading: %v", err)
		}
		_ = r.Read(r.Mark(), noon)
		clk.pass(time.Minute)
		if now, err := r.Now(); err != nil || !now.Equal(noon.Add(time.Minute)) {
			t.Fatalf("a minute later: %s, %v", now, err)
		}
		clk.wall = clk.wall.Add(step)
		if err := r.Check(); !errors.Is(err, ErrUnread) {
			t.Errorf("step %s: %v, want a reading first", step, err)
		}
		if off := r.Time().Sub(noon.Add(time.Minute)).Abs(); off > time.Second {
			t.Errorf("step %s: the best that is known is off by %s", step, off)
		}
		_ = r.Read(r.Mark(), noon.Add(time.Minute))
		if _, skewed := errors.AsType[*SkewError](r.Check()); !skewed {
			t.Errorf("step %s: after a reading: %v", step, r.Check())
		}
		clk.pass(refusedFor)
		if err := r.Check(); !errors.Is(err, ErrUnread) {
			t.Errorf("step %s: a proof stands without end: %v", step, err)
		}
		clk.wall = clk.wall.Add(-step)
		if err := r.Check(); err != nil {
			t.Errorf("step %s: set right: %v", step, err)
		}
	}
}

// A monotonic clock that stood still, as in a machine that was suspended, makes no clock wrong: a reading tells.
func TestAMachineThatWasSuspended(t *testing.T) {
	clk := &setClock{wall: noon}
	r := NewReference(clk)
	_ = r.Read(r.Mark(), noon)
	clk.wall = clk.wall.Add(time.Hour)
	if err := r.Check(); !errors.Is(err, ErrUnread) {
		t.Errorf("after the machine woke up: %v", err)
	}
	if err := r.Read(r.Mark(), noon.Add(time.Hour)); err != nil || r.Check() != nil {
		t.Errorf("after a reading: %v, %v", err, r.Check())
	}
	// Both stood still: what the log has stored since tells.
	r.Seen(noon.Add(2 * time.Hour))
	if err := r.Check(); !errors.Is(err, ErrUnread) {
		t.Errorf("after something was stored an hour from now: %v", err)
	}
}

// A reading that took long narrows nothing that is known better.
func TestALongReadingForgetsNothing(t *testing.T) {
	clk := &setClock{wall: noon}
	r := NewReference(clk)
	_ = r.Read(r.Mark(), noon)
	m := r.Mark()
	clk.pass(20 * time.Second)
	_ = r.Read(m, noon.Add(time.Second))
	clk.wall = clk.wall.Add(10 * time.Second)
	if err := r.Check(); !errors.Is(err, ErrUnread) {
		t.Errorf("10 s ahead, after a reading that took 20 s: %v", err)
	}
}

func TestAReadingDoesNotLastForEver(t *testing.T) {
	clk := &setClock{wall: noon}
	r := NewReference(clk)
	_ = r.Read(r.Mark(), noon)
	if r.Due() {
		t.Error("the next append is to be read back right after a reading")
	}
	clk.pass(readEvery)
	if !r.Due() || r.Check() != nil {
		t.Errorf("after %s: due %v, %v", readEvery, r.Due(), r.Check())
	}
	clk.pass(readLasts)
	if err := r.Check(); !errors.Is(err, ErrUnread) {
		t.Errorf("after %s: %v", readLasts, err)
	}
}

type releasedClock struct{ setClock }

func (*releasedClock) Released() bool { return true }

// The replay clock's time is no time of day: nothing is compared.
func TestAReleasedClockIsComparedWithNothing(t *testing.T) {
	clk := &releasedClock{setClock{wall: noon}}
	r := NewReference(clk)
	if err := r.Read(r.Mark(), noon.AddDate(10, 0, 0)); err != nil || r.Due() {
		t.Errorf("read: %v, due %v", err, r.Due())
	}
	if now, err := r.Now(); err != nil || !now.Equal(noon) {
		t.Errorf("now: %s, %v", now, err)
	}
}
