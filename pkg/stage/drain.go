package stage

import (
	"context"
	"errors"
	"fmt"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
)

// drain ends a partition gracefully: calls under way get their time, their results are recorded, letters
// are delivered, and CLOSE tells the next owner that it need not be careful. A kill is as safe, only slower
// to recover from, and is how a partition ends whose last append is not known to have happened.
func (p *partition) drain(ctx context.Context, lim limit) error {
	if p.torn {
		p.rejectAll()
		return nil
	}
	p.doors.mu.Lock()
	p.doors.results = append(p.round, p.doors.results...)
	p.doors.mu.Unlock()
	p.round, p.inRound = nil, false
	p.rejectAll()
	for {
		calls, results := p.inFlight()
		if calls == 0 && results == 0 {
			break
		}
		if results == 0 {
			if _, err := p.ports.Clock.Wait(ctx, clock.Forever, p.doors.wake); err != nil {
				return fmt.Errorf("drain partition %d: %d calls still under way: %w", p.number, calls, err)
			}
			continue
		}
		p.gatherResults(p.cfg.Batch)
		for len(p.pending) > 0 { // a record may not hold all of them
			if _, err := p.stepPending(ctx, lim); err != nil {
				return err
			}
		}
	}
	if _, err := p.relay.flush(ctx); err != nil {
		return err
	}
	rec := p.blank(stagev1.RecordKind_RECORD_KIND_CLOSE)
	seq, err := p.append(ctx, rec)
	if err != nil {
		return err
	}
	p.relay.add(seq, rec)
	if err := p.apply(ctx, rec, nil, seq); err != nil {
		return err
	}
	if _, err := p.relay.flush(ctx); err != nil {
		return err
	}
	return p.relay.save(ctx, 1)
}

// stop drains all partitions and closes the inputs, within StopWithin, for whoever drives them step by step.
func (s *Stage) stop(ctx context.Context, lim limit) error {
	within, cancel := s.ports.Clock.Within(context.WithoutCancel(ctx), s.cfg.StopWithin)
	defer cancel()
	var errs []error
	for _, p := range s.owned() {
		if p.readers != nil {
			if err := p.drain(within, lim); !errors.Is(err, errLost) { // the other owner goes on
				errs = append(errs, err)
			}
		}
	}
	s.end(ctx)
	for _, p := range s.owned() {
		p.close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts = map[int]*partition{}
	return errors.Join(errs...)
}
