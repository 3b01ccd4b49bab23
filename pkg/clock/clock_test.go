package clock

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestWallWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Wall{}
		wake := make(chan struct{}, 1)
		began := time.Now()
		if n, err := c.Wait(t.Context(), time.Minute); n != -1 || err != nil || time.Since(began) != time.Minute {
			t.Errorf("a wait without a wake ended with %d, %v after %s", n, err, time.Since(began))
		}
		wake <- struct{}{}
		if n, err := c.Wait(t.Context(), Forever, nil, wake); n != 1 || err != nil {
			t.Errorf("the second wake gave %d, %v", n, err)
		}
		ctx, cancel := c.Within(t.Context(), time.Second)
		defer cancel()
		if n, err := c.Wait(ctx, Forever, wake); n != -1 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a context that ended gave %d, %v", n, err)
		}
		wake <- struct{}{}
		if _, err := c.Wait(ctx, time.Hour, wake); err == nil {
			t.Error("a wake won over a context that had ended")
		}
	})
}

func TestWallWaitsForAnyNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Wall{}
		for _, many := range []int{1, 8, 9, 40} {
			wakes := make([]<-chan struct{}, many)
			last := make(chan struct{}, 1)
			wakes[many-1] = last
			last <- struct{}{}
			if n, err := c.Wait(t.Context(), time.Minute, wakes...); n != many-1 || err != nil {
				t.Errorf("the last of %d wakes gave %d, %v", many, n, err)
			}
			if n, err := c.Wait(t.Context(), time.Minute, wakes...); n != -1 || err != nil {
				t.Errorf("a wait for %d wakes that do not come gave %d, %v", many, n, err)
			}
			ctx, cancel := c.Within(t.Context(), time.Second)
			if n, err := c.Wait(ctx, Forever, wakes...); n != -1 || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("with %d wakes a context that ended gave %d, %v", many, n, err)
			}
			cancel()
		}
	})
}

func TestGroupKeepsItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(Wall{}, 2)
		var running, most atomic.Int32
		wrong := errors.New("wrong")
		for n := range 6 {
			g.Go(func() error {
				most.Store(max(most.Load(), running.Add(1)))
				_ = Sleep(t.Context(), Wall{}, time.Second)
				running.Add(-1)
				if n == 3 {
					return wrong
				}
				return nil
			})
		}
		began := time.Now()
		if err := g.Wait(t.Context()); !errors.Is(err, wrong) {
			t.Errorf("the error of a function is %v", err)
		}
		if most.Load() != 2 || time.Since(began) != 3*time.Second {
			t.Errorf("%d ran at once, for %s", most.Load(), time.Since(began))
		}
	})
}

func TestLockIsHeldByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLock()
		release, err := l.Take(t.Context(), Wall{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Take(ctx, Wall{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a lock that is held was taken: %v", err)
		}
		release()
		if release, err = l.Take(t.Context(), Wall{}); err != nil {
			t.Fatal(err)
		}
		release()
	})
}
