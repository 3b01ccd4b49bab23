package log_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// firstWait is how soon a client connects again.
const firstWait = 20 * time.Millisecond

// wipeWithin bounds the removal of all streams, also where three servers have to agree on it.
const wipeWithin = 2 * time.Minute

// wipe removes all streams.
func wipe(t *testing.T, nc *nats.Conn) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), wipeWithin)
	defer cancel()
	names := js.StreamNames(ctx)
	for name := range names.Name() {
		if err := js.DeleteStream(ctx, name); err != nil {
			t.Fatalf("remove stream %s: %v", name, err)
		}
	}
	if err := names.Err(); err != nil {
		t.Fatalf("list streams: %v", err)
	}
}
