package dispatchsvc

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/clock/clocktest"
)

// lagging is a profile stage that covers a ping some time after it was stored, and a broker whose clock goes
// with ours.
func lagging(lag time.Duration, c clock.Clock) (*freshness, *lane) {
	view := &profileView{applied: 1}
	pings := &lane{now: c.Now, see: func(n uint64) {
		cover := func() { view.mu.Lock(); defer view.mu.Unlock(); view.covered = max(view.covered, n) }
		if lag == 0 {
			cover()
			return
		}
		time.AfterFunc(lag, cover)
	}}
	return newFreshness(view, newPings(pings, c, slog.New(slog.DiscardHandler)), testHasher(8), c), pings
}

func skewed(err error) bool {
	_, ok := errors.AsType[*clock.SkewError](err)
	return ok
}

func wait(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // in a bubble, where time is simulated

// "now - m0 of the newest covered ping", not "the time since something arrived": a profile stage that is
// always ten seconds behind answers every second and is never fresh.
func TestAConstantLagIsNotFresh(t *testing.T) {
	for lag, fresh := range map[time.Duration]bool{0: true, 2 * time.Second: true, 10 * time.Second: false} {
		synctest.Test(t, func(t *testing.T) {
			f, pings := lagging(lag, clock.Wall{})
			var err error
			began := time.Now()
			for time.Since(began) < 25*time.Second {
				_, err = f.profile(t.Context(), 3, key(), anyAge)
				wait(100 * time.Millisecond)
			}
			if (err == nil) != fresh || (err != nil && !errors.Is(err, errStale)) {
				t.Errorf("lag %v: %v, want fresh = %v", lag, err, fresh)
			}
			if n := pings.count.Load(); n > 30 {
				t.Errorf("lag %v: %d pings in 25 s, want one per second at most", lag, n)
			}
			wait(lag) // the last answers come
		})
	}
}

// Ages are measured by the monotonic clock: setting the time of day, by hours in either direction, together with
// the log's, makes no view younger or older.
func TestTheTimeOfDayMakesNoViewYoung(t *testing.T) {
	for _, step := range []time.Duration{-5 * time.Hour, 5 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			c := &clocktest.Off{}
			f, pings := lagging(0, c)
			v, err := f.profile(t.Context(), 3, key(), anyAge)
			if err != nil {
				t.Fatal(err)
			}
			c.Step(step)
			if !f.young(v) {
				t.Errorf("step %v: a view that was just read is old", step)
			}
			pings.see = func(uint64) {} // the profile stage stands still from now on
			wait(4 * time.Second)
			if v, err = f.profile(t.Context(), 3, key(), anyAge); err != nil {
				t.Errorf("step %v: after 4 s: %v", step, err)
			}
			c.Step(-2 * step)
			wait(1001 * time.Millisecond)
			if f.young(v) {
				t.Errorf("step %v: after 5 s the view is still young", step)
			}
			if _, err := f.profile(t.Context(), 3, key(), anyAge); !errors.Is(err, errStale) {
				t.Errorf("step %v: after 5 s: %v, want a stale view", step, err)
			}
		})
	}
}

// A clock that differs by more than two seconds from the time of our own fresh append contacts nobody, at once:
// what was proved before the clock was set does not count either.
func TestAClockThatIsNotTheLogsSendsNothing(t *testing.T) {
	for skew, fresh := range map[time.Duration]bool{0: true, time.Second: true, 3 * time.Second: false, -time.Hour: false} {
		synctest.Test(t, func(t *testing.T) {
			f, pings := lagging(0, clock.Wall{})
			if _, err := f.profile(t.Context(), 3, key(), anyAge); err != nil {
				t.Fatal(err)
			}
			pings.skew = skew
			wait(pingEvery)
			before := pings.count.Load()
			_, err := f.profile(t.Context(), 3, key(), anyAge)
			if (err == nil) != fresh || (err != nil && !skewed(err)) {
				t.Errorf("skew %v: got %v, want fresh = %v", skew, err, fresh)
			}
			if n := pings.count.Load() - before; n > 5 {
				t.Errorf("skew %v: %d pings in 4 s, want one per second", skew, n)
			}
			pings.skew = 0
			wait(pingEvery)
			if _, err := f.profile(t.Context(), 3, key(), anyAge); err != nil {
				t.Errorf("skew %v: after the clock was set right: %v", skew, err)
			}
		})
	}
}

// A broker that is slow to store a ping, or a process that is paused meanwhile, is no skew; the view is as old
// as the begin of the ping.
func TestAPingThatTakesLong(t *testing.T) {
	for slow, fresh := range map[time.Duration]bool{3 * time.Second: true, 6 * time.Second: false} {
		synctest.Test(t, func(t *testing.T) {
			f, pings := lagging(0, clock.Wall{})
			pings.slow = slow
			v, got, err := f.look(t.Context(), 3, key())
			if got != fresh || errors.Is(err, errBehind) == fresh {
				t.Errorf("slow %v: fresh = %v (%v)", slow, got, err)
			}
			if age := f.clock.Elapsed() - v.asOf; fresh && age != slow {
				t.Errorf("slow %v: the view counts as %v old", slow, age)
			}
		})
	}
}

// The lane was lost and begun anew: a position that the profile stage has covered long ago proves nothing about
// a new ping with a smaller one.
func TestALaneThatBeganAnewProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := lagging(0, clock.Wall{})
		f.reader.(*profileView).covered = 3
		for range 3 {
			if _, err := f.profile(t.Context(), 3, key(), anyAge); !errors.Is(err, errStale) || !errors.Is(err, errForgot) {
				t.Errorf("got %v, want a lane that has lost messages", err)
			}
		}
	})
}

// The view is young when it is read, and the process is held up before the call: then the call is not made.
func TestNoCallOnAViewThatGrewOld(t *testing.T) {
	for pause, sent := range map[time.Duration]bool{4 * time.Second: true, 6 * time.Second: false} {
		synctest.Test(t, func(t *testing.T) {
			adapter := acceptAll()
			e := testEngine(t, adapter, fileChannel())
			e.points = func(name string) {
				if name == "dispatch.checked" {
					wait(pause)
				}
			}
			r := sendOne(e, testJob("p"))
			if (r.Status == dispatchv1.Status_STATUS_ACCEPTED) != sent || (adapter.calls.Load() == 1) != sent {
				t.Errorf("pause %v: %+v after %d calls, want sent = %v", pause, r, adapter.calls.Load(), sent)
			}
			if !sent && (!r.Transient || r.Reasons[0].GetCode() != reasonv1.Code_CODE_STALE_VIEW) {
				t.Errorf("pause %v: %+v, want STALE_VIEW, to be tried again", pause, r)
			}
		})
	}
}

// What a failed ping was for, an earlier one may still prove; a store that does not answer proves nothing.
func TestViewsWhileTheLogOrTheStoreIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, pings := lagging(0, clock.Wall{})
		if _, err := f.profile(t.Context(), 3, key(), anyAge); err != nil {
			t.Fatal(err)
		}
		pings.err = errors.New("the log is down")
		wait(2 * time.Second)
		if _, err := f.profile(t.Context(), 3, key(), anyAge); err != nil {
			t.Errorf("a view of 2 s while the log is down: %v", err)
		}
		wait(4 * time.Second)
		if _, err := f.profile(t.Context(), 3, key(), anyAge); !errors.Is(err, errStale) {
			t.Errorf("a view of 6 s while the log is down: %v", err)
		}
		pings.err = nil
		f.reader.(*profileView).err = errors.New("the store is down")
		if _, err := f.profile(t.Context(), 3, key(), anyAge); !errors.Is(err, errStale) {
			t.Errorf("while the store is down: %v", err)
		}
	})
}
