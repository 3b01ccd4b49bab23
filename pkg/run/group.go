package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"refrain.dev/pkg/telemetry"
)

// Component is something that runs until its context ends.
type Component interface {
	// Run blocks until ctx ends or it fails. After ctx ends it finishes what it owes and returns nil.
	Run(ctx context.Context) error
}

// Func makes a Component of a function.
type Func func(ctx context.Context) error

// Run implements Component.
func (f Func) Run(ctx context.Context) error { return f(ctx) }

// Part is a named component.
type Part struct {
	Name string
	Component
}

// Together runs parts until ctx ends or one of them ends; then it stops all, the last given first, each
// after the one before has ended, all within the given time. A part that ends by itself before it was
// told to is an error, even if it returned none.
func Together(ctx context.Context, logger *slog.Logger, within time.Duration, parts ...Part) error {
	ended := make(chan *runningPart, len(parts))
	running := make([]*runningPart, len(parts))
	for i, p := range parts {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r := &runningPart{name: p.Name, cancel: cancel, done: make(chan struct{})}
		running[i] = r
		go func() {
			defer close(r.done)
			r.err = p.Run(own)
			ended <- r
		}()
	}
	var errs []error
	select {
	case <-ctx.Done():
	case e := <-ended:
		if e.err == nil {
			errs = append(errs, fmt.Errorf("%s ended by itself", e.name))
		}
		logger.ErrorContext(ctx, "part ended, stopping the rest", telemetry.KeyComponent, e.name, telemetry.KeyError, e.err)
	}
	return errors.Join(append(errs, stopParts(running, within)...)...)
}

type runningPart struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func stopParts(parts []*runningPart, within time.Duration) []error {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	over := false
	var errs []error
	var late []string
	for _, p := range slices.Backward(parts) {
		p.cancel()
		if !over {
			select {
			case <-p.done:
			case <-deadline.C:
				over = true
			}
		}
		select {
		case <-p.done:
			if p.err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", p.name, p.err))
			}
		default:
			late = append(late, p.name)
		}
	}
	if len(late) > 0 {
		errs = append(errs, fmt.Errorf("still running after %s: %s", within, strings.Join(late, ", ")))
	}
	return errs
}
