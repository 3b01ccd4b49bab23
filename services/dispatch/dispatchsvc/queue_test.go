package dispatchsvc

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/delivery"
	"refrain.dev/pkg/stage"
)

// line is a queue and how its waits ended, in order.
type line struct {
	*queue

	mu    sync.Mutex
	ended []string
}

func newLine(rate float64, size int) *line {
	c := clock.Wall{}
	var p *pacer
	if rate > 0 {
		p = newPacer(rate, c)
	}
	return &line{queue: newQueue(newBreaker(3, 10*time.Second, c), p, newSlots(size, 10*time.Second, c), c)}
}

// ask lets a key wait; what is called so also holds its room.
func (l *line) ask(ctx context.Context, w *waiter) {
	if w.until == 0 {
		w.until = clock.Forever
	}
	w.then = func(err error, why string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		switch {
		case err == nil:
			l.ended = append(l.ended, w.key)
		case errors.Is(err, errLate):
			l.ended = append(l.ended, w.key+" late: "+why)
		default:
			l.ended = append(l.ended, w.key+" stopped")
		}
	}
	l.enter(ctx, w)
	synctest.Wait()
}

func (l *line) turn(ctx context.Context, key string) { l.ask(ctx, &waiter{waits: waits{key: key}}) }

func (l *line) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.ended, want) {
		t.Errorf("ended: %q, want %q", l.ended, want)
	}
	l.ended = nil
}

// However many deliveries wait for a channel, a handful of goroutines does.
func TestManyWaitWithoutAGoroutineEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 2000
		def := fileChannel()
		def.Rate = 0.001
		e := testEngine(t, acceptAll(), def)
		ending, end := context.WithCancel(t.Context())
		e.pacing = ending
		before := runtime.NumGoroutine()
		results := make(chan any, many)
		for n := range many {
			e.Call(t.Context(), 3, stage.Call{Request: paceRequest{testJob(fmt.Sprint(n))}}, func(r any) { results <- r })
		}
		synctest.Wait()
		if got := runtime.NumGoroutine() - before; got > 10 {
			t.Errorf("%d goroutines while %d deliveries wait, want at most 10", got, many)
		}
		p, _ := e.found(t.Context(), testJob(""))
		if got := p.queue.waiting(); got != many-1 || len(results) != 1 {
			t.Errorf("%d wait and %d have room, want %d and 1", got, len(results), many-1)
		}
		end()
		synctest.Wait()
		if len(results) != many {
			t.Errorf("%d ended with the service, want all %d", len(results), many)
		}
	})
}

// A round of calls under the replay clock has no more goroutines than room either.
func TestManyCallsOfARoundShareTheirRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 500
		adapter := acceptAll()
		hold := make(chan struct{})
		send := adapter.send
		adapter.send = func() (r delivery.Result) { <-hold; return send() }
		e := testEngine(t, adapter, fileChannel())
		e.stepped = func() bool { return true }
		e.freshness.released = e.stepped
		before := runtime.NumGoroutine()
		results := make(chan any, many)
		for n := range many {
			e.Call(t.Context(), 3, stage.Call{Request: sendRequest{testJob(fmt.Sprint(n))}}, func(r any) { results <- r })
		}
		synctest.Wait()
		if got := runtime.NumGoroutine() - before; got > 20 {
			t.Errorf("%d goroutines for %d calls, want at most 20", got, many)
		}
		close(hold)
		synctest.Wait()
		if len(results) != many {
			t.Errorf("%d calls were made, want %d", len(results), many)
		}
	})
}

func TestTurnsComeInTheOrderOfAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(2, 100)
		for _, k := range []string{"a", "b", "c", "d"} {
			l.turn(t.Context(), k)
		}
		l.want(t, "a", "b") // a burst is what a second allows
		wait(499 * time.Millisecond)
		l.want(t)
		wait(time.Millisecond)
		l.want(t, "c")
		wait(time.Hour)
		l.want(t, "d")
		for _, k := range []string{"e", "f", "g"} {
			l.turn(t.Context(), k)
		}
		l.want(t, "e", "f") // idle time is not saved up
		wait(500 * time.Millisecond)
		l.want(t, "g")
	})
}

func TestRoomIsBoundedAndLeased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		l := newLine(0, 2)
		for _, k := range []string{"a", "b", "a"} { // asking again takes no more room
			l.turn(ctx, k)
		}
		l.want(t, "a", "b", "a")
		if !l.slots.holds("a") {
			t.Fatal("the lease is not there for the call")
		}
		l.turn(ctx, "c")
		wait(10*time.Second - 1)
		l.want(t)
		wait(1) // b's call never came: its lease ends; a call that runs keeps its room however long it takes
		l.want(t, "c")
		l.turn(ctx, "d")
		l.ask(ctx, &waiter{waits: waits{key: "call", call: true}})
		l.want(t)
		l.slots.drop("a")
		l.want(t, "call") // whose INTENT is declared goes first
		l.slots.drop("c")
		l.want(t, "d")
	})
}

func TestAWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(0.1, 9)
		ctx, end := context.WithCancel(t.Context())
		l.turn(ctx, "first")
		var lost atomic.Bool
		l.turn(ctx, "a")
		l.ask(ctx, &waiter{waits: waits{key: "lost"}, wanted: func() bool { return !lost.Load() }})
		l.ask(ctx, &waiter{waits: waits{key: "short"}, until: l.clock.Elapsed() + 3*time.Second})
		l.turn(ctx, "b")
		l.turn(ctx, "a") // asked again: it keeps its place
		l.want(t, "first", "a stopped")
		wait(3 * time.Second)
		l.want(t, "short late: "+noRoom)
		lost.Store(true)
		wait(7 * time.Second)
		l.want(t, "a", "lost stopped") // and it takes no turn of the others
		wait(10 * time.Second)
		l.want(t, "b")
		l.turn(ctx, "c")
		for n := range 9 {
			l.slots.hold(fmt.Sprint(n))
		}
		l.ask(ctx, &waiter{waits: waits{key: "call", call: true}, until: l.clock.Elapsed() + 5*time.Second})
		end()
		l.want(t, "c stopped") // a call is not cut off
		wait(5 * time.Second)
		l.want(t, "call late: "+noRoom)
	})
}

// While the provider is left alone, or the log has no room for reports, all wait; whose time is over hears why.
func TestWhatKeepsAllWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(0, 9)
		for range 3 {
			l.breaker.failed()
		}
		l.ask(t.Context(), &waiter{waits: waits{key: "a"}, until: l.clock.Elapsed() + time.Second})
		l.turn(t.Context(), "b")
		wait(time.Second)
		l.want(t, "a late: "+leftAlone)
		wait(9 * time.Second)
		l.want(t, "b")
		var full atomic.Bool
		full.Store(true)
		l.ask(t.Context(), &waiter{waits: waits{key: "c"}, log: func(context.Context) error {
			if full.Load() {
				return errFull
			}
			return nil
		}})
		l.turn(t.Context(), "d")
		wait(time.Minute)
		l.want(t)
		full.Store(false)
		wait(lookAtLog)
		l.want(t, "c", "d")
	})
}
