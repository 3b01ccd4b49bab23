package crash

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// random returns a source that follows from a printed seed; REFRAIN_CRASH_SEED gives one to repeat.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any number will do
	if text := os.Getenv("REFRAIN_CRASH_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("REFRAIN_CRASH_SEED: %v", err)
		}
	}
	t.Logf("REFRAIN_CRASH_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // choices of a test
}

// between is a random duration in [from, to).
func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

// plannedBy gives a source of its own to a second goroutine.
func plannedBy(r *rand.Rand) *rand.Rand {
	return rand.New(rand.NewPCG(r.Uint64(), r.Uint64())) //nolint:gosec // choices of a test
}
