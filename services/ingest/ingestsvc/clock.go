package ingestsvc

import (
	"time"

	"refrain.dev/pkg/clock"
)

// wallStamper stamps arrivals with the wall clock and corrects publishers' clocks.
type wallStamper struct{ clock clock.Clock }

// Arrive implements run.Stamper.
func (w wallStamper) Arrive(at []time.Time) (received []time.Time, done func()) {
	now := w.clock.Now()
	received = make([]time.Time, len(at))
	for i := range received {
		received[i] = now
	}
	return received, func() {}
}

// Skew implements run.Stamper.
func (wallStamper) Skew() bool { return true }
