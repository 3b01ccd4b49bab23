package log_test

import (
	"errors"
	"testing"

	"refrain.dev/pkg/log"
)

// A reader that has seen what the stream lost says so, as long as nothing new stands in its place.
func TestMemoryLoses(t *testing.T) {
	m := memory(t)
	var last uint64
	for range 5 {
		at, err := m.Publish(t.Context(), "evt.live.0", []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		last = at
	}
	f, err := m.Feed(t.Context(), map[string]uint64{"evt.live.0": last, "evt.live.1": 0})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stream := m.StreamOf("evt.live.0")
	if got := m.Lose(stream, 2); got != 2 {
		t.Fatalf("lost %d, want 2", got)
	}
	if _, ok := f.Tail("evt.live.0").Peek(); ok || !errors.Is(f.Tail("evt.live.0").Err(), log.ErrLogLostData) {
		t.Errorf("got %v, %v, want lost data", ok, f.Tail("evt.live.0").Err())
	}
	if _, ok := f.Tail("evt.live.1").Peek(); ok || f.Tail("evt.live.1").Err() != nil {
		t.Errorf("a reader at the beginning: got %v, %v", ok, f.Tail("evt.live.1").Err())
	}
	at, err := m.Publish(t.Context(), "evt.live.0", []byte("y"))
	if err != nil || at != last-1 {
		t.Errorf("the next message is at %d (%v), want %d", at, err, last-1)
	}
	if got := m.Recreate(stream); got != 4 {
		t.Errorf("recreated: lost %d, want 4", got)
	}
	if _, err := m.Last(t.Context(), "evt.live.0"); !errors.Is(err, log.ErrNotFound) {
		t.Errorf("recreated: got %v, want nothing", err)
	}
	if at, err := m.Publish(t.Context(), "evt.live.0", []byte("z")); err != nil || at != 1 {
		t.Errorf("recreated: the first message is at %d (%v)", at, err)
	}
	if m.StreamOf("nobody.0") != "" || m.Lose("nobody", 1) != 0 || m.Recreate("nobody") != 0 {
		t.Error("a stream that is not there lost something")
	}
}
