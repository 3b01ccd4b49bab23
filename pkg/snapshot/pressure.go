package snapshot

import (
	"context"
	"fmt"
	"time"

	"refrain.dev/pkg/log"
)

// What is kept for its age alone is kept whole while a stream is less full than EasyUntil, and not at all from
// PressedFrom on; between them, in proportion. From PressedFrom on the newest snapshot alone has to do. Both are
// below where ingest opens a lane again: with nothing taken there are no newer snapshots, and what waits for one
// would stay full for good.
const (
	EasyUntil   = 0.4
	PressedFrom = 0.6
)

// used is how full the stream of a subject is, from 0 to 1; 0 if it has no bound.
func used(ctx context.Context, broker log.Broker, subject string) (float64, error) {
	u, err := broker.Usage(ctx, subject)
	if err != nil {
		return 0, fmt.Errorf("read the usage of the stream of %s: %w", subject, err)
	}
	if u.MaxBytes == 0 {
		return 0, nil
	}
	return float64(u.Bytes) / float64(u.MaxBytes), nil
}

// pressure is how pressing it is to make room in the stream of a subject: 0 while it is easy, 1 when it is pressed.
func pressure(ctx context.Context, broker log.Broker, subject string) (float64, error) {
	share, err := used(ctx, broker, subject)
	return pressed(share), err
}

// pressed is the pressure in a stream that is so full.
func pressed(share float64) float64 {
	return min(1, max(0, (share-EasyUntil)/(PressedFrom-EasyUntil)))
}

// eased is what is left of a time under pressure.
func eased(whole time.Duration, pressure float64) time.Duration {
	return time.Duration(float64(whole) * (1 - pressure))
}

// Capacity is what streams of a size can carry.
type Capacity struct {
	// MaxBytes of a stage: of its streams together.
	MaxBytes int64
	// PerEvent is how many bytes an event takes in the stage's chain.
	PerEvent int64
}

// Rate is how many events a second a stage can take, for long, if what they led to is to be kept for so long.
func (c Capacity) Rate(history time.Duration) float64 {
	share := EasyUntil
	if history < (Settings{}).WithDefaults().History {
		share = PressedFrom // the history gives way
	}
	return share * float64(c.MaxBytes) / float64(c.PerEvent) / history.Seconds()
}

// Bytes is how large a stage's streams together have to be to keep what so many events a second lead to for so long.
func (c Capacity) Bytes(rate float64, history time.Duration) int64 {
	return int64(rate * float64(c.PerEvent) * history.Seconds() / EasyUntil)
}
