package ingestsvc

import (
	"context"
	"errors"
	"testing"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/clock/clocktest"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
)

// Arrivals are stamped by the log's time, whatever this machine's clock says, from the first one on and also when
// it is set.
func TestArrivalsAreStampedByTheLogsTime(t *testing.T) {
	const week = 7 * 24 * time.Hour
	for _, off := range []time.Duration{week, -week} {
		c := clocktest.By(off)
		f := newFixture(t, func(_ *Config, d *run.Deps) { d.Clock = c })
		send := func() {
			t.Helper()
			code, a, _ := f.post("/v1/track", `{"userId":"u","event":"seen"}`)
			if code != 200 {
				t.Fatalf("answer %d: %+v", code, a)
			}
		}
		send()
		c.Set(-off)
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
