package log_test

import (
	"testing"
	"time"
)

const (
	firstWait   = 20 * time.Millisecond
	startWithin = 20 * time.Second
)

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(firstWait)
	defer tick.Stop()
	deadline := time.After(startWithin)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
