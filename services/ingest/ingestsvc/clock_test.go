package ingestsvc

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
)

// offClock is a wall clock whose time of day is off.
type offClock struct {
	clock.Wall

	mu  sync.Mutex
	off time.Duration
}

func (c *offClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Wall.Now().Add(c.off)
}

func (c *offClock) set(off time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = off
}

// Arrivals are stamped by the log's time, whatever this machine's clock says, from the first one on and also when
// it is set.
func TestArrivalsAreStampedByTheLogsTime(t *testing.T) {
	const week = 7 * 24 * time.Hour
	for _, off := range []time.Duration{week, -week} {
		c := &offClock{off: off}
		f := newFixture(t, func(_ *Config, d *run.Deps) { d.Clock = c })
		send := func() {
			t.Helper()
			code, a, _ := f.post("/v1/track", `{"userId":"u","event":"seen"}`)
			if code != 200 {
				t.Fatalf("answer %d: %+v", code, a)
			}
		}
		send()
		c.set(-off)
		send()
		for n, e := range f.stored(log.LaneLive) {
			if by := time.Since(e.GetReceivedAt().AsTime()).Abs(); by > time.Minute {
				t.Errorf("off by %s: event %d is stamped %s away from the log's time", off, n, by)
			}
		}
	}
}

// While the log's time is not known nothing is taken: it could not be said when it came.
func TestWithoutTheLogsTimeNothingIsTaken(t *testing.T) {
	f := newFixture(t, func(_ *Config, d *run.Deps) { d.Clock = clock.Wall{} })
	f.door.committer.times.store = failing{Broker: f.memory, fail: func(string) error { return errors.New("down") }}
	err := f.door.committer.times.know(context.Background())
	if fault.Of(err) != fault.Unavailable {
		t.Errorf("got %v, want unavailable", err)
	}
}
