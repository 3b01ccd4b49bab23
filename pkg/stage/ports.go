package stage

import (
	"context"
	"time"
)

// Clock says what time it is for a stage.
type Clock interface {
	// Now is the wall clock's time, or the instant that the replay clock has released.
	Now() time.Time
}

// Runner runs stages: each owned partition in a goroutine of its own on the wall clock, or step by step,
// driven from outside, under the replay clock. Stages do not know which.
type Runner interface {
	// Run runs s until ctx ends, then drains it; it returns the first error that ended it.
	Run(ctx context.Context, s *Stage) error
}
