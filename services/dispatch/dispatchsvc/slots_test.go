package dispatchsvc

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"refrain.dev/pkg/clock"
)

func TestRoomIsBoundedAndLeased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(2, 10*time.Second, clock.Wall{})
		ctx := t.Context()
		for _, k := range []string{"a", "b", "a"} { // asking again takes no more room
			if err := s.take(ctx, k, nil); err != nil {
				t.Fatal(err)
			}
		}
		release, err := s.use(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := s.take(short, "c", nil); err == nil {
			t.Fatal("a third took room for two")
		}
		began := time.Now()
		if err := s.take(ctx, "c", nil); err != nil { // b's call never came: its lease ends
			t.Fatal(err)
		}
		if waited := time.Since(began); waited != 9*time.Second {
			t.Errorf("waited %v for the lease to end, want 9 s", waited)
		}
		done := make(chan error, 1)
		go func() { done <- s.take(ctx, "d", nil) }()
		synctest.Wait()
		release() // a call that runs keeps its room however long it takes
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited != 9*time.Second {
			t.Errorf("room that was given back was not taken at once: %v", waited)
		}
	})
}
