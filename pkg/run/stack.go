package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"refrain.dev/pkg/telemetry"
)

// Stack holds what has to be undone, last in first out. It is safe for concurrent use; the zero Stack is
// empty and ready.
type Stack struct {
	mu    sync.Mutex
	steps []step
}

type step struct {
	name string
	undo func(context.Context) error
}

// Push adds a step. Its name is for logs and errors.
func (s *Stack) Push(name string, undo func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, step{name, undo})
}

// Stop undoes all steps in reverse order, each only after the one pushed later has ended or the time is
// over; later steps are still tried then. Errors are joined. Steps are taken off, so a second Stop does
// nothing.
func (s *Stack) Stop(ctx context.Context, within time.Duration, logger *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	var errs []error
	for {
		next, ok := s.pop()
		if !ok {
			return errors.Join(errs...)
		}
		logger.DebugContext(ctx, "stopping", telemetry.KeyComponent, next.name)
		if err := next.run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", next.name, err))
		}
	}
}

func (s *Stack) pop() (step, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.steps) == 0 {
		return step{}, false
	}
	last := s.steps[len(s.steps)-1]
	s.steps = s.steps[:len(s.steps)-1]
	return last, true
}

// run gives up on a step that does not heed its context.
func (s step) run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- s.undo(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		select {
		case err := <-done:
			return err
		case <-time.After(100 * time.Millisecond):
			return fmt.Errorf("not done in time: %w", ctx.Err())
		}
	}
}
