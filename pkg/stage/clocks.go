package stage

import (
	"context"
	"errors"
	"fmt"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

// untimelyError says that a partition must not be owned at present: this process does not know the time, or the
// chain's own time is ahead of it. It passes by itself when the clock is set right, or when time has come so far.
type untimelyError struct {
	reason string // skew or ahead
	err    error
}

func (e *untimelyError) Error() string { return e.err.Error() }
func (e *untimelyError) Unwrap() error { return e.err }

func (p *partition) untimely(ctx context.Context, reason string, err error) error {
	p.metrics.untimely(ctx, reason)
	if reason == skew {
		p.standBy()
	}
	p.ports.Points.At("stage.untimely")
	return &untimelyError{reason, fault.As(fault.Unavailable, fmt.Errorf("own %s: %w", p.chainName, err))}
}

// The reasons, for metrics.
const (
	skew  = "skew"  // this machine's clock
	ahead = "ahead" // the chain's time
)

// skewed is err if it proves the clock wrong, as a reason not to own.
func (p *partition) skewed(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*clock.SkewError](err); ok {
		return p.untimely(ctx, skew, err)
	}
	return err
}

// mayOpen says, before OPEN is appended, whether that would be in vain: the clock is proven wrong, or the chain is
// known to be ahead of the log's time. So a process whose clock is wrong fences no owner.
func (p *partition) mayOpen(ctx context.Context, chainNow time.Time) error {
	err := p.reference.Check()
	if errors.Is(err, clock.ErrUnread) {
		err = p.look(ctx) // if that cannot be had, OPEN itself tells
	}
	if err := p.skewed(ctx, err); isUntimely(err) {
		return err
	}
	if latest, ok := p.reference.Latest(); ok {
		return p.chainAhead(ctx, chainNow, latest)
	}
	return nil
}

// chainTimely is chainAhead of the chain as it stands.
func (p *partition) chainTimely(ctx context.Context) error {
	if latest, ok := p.reference.Latest(); ok {
		return p.chainAhead(ctx, p.lastNow, latest)
	}
	return nil
}

// chainAhead says that a chain's time is further on than the log's can be: what is decided in it would be decided then.
func (p *partition) chainAhead(ctx context.Context, chainNow, logTime time.Time) error {
	if by := chainNow.Sub(logTime); by > clock.MaxSkew {
		return p.untimely(ctx, ahead, fmt.Errorf(
			"its last record was decided at %s, %s ahead of the log's time; wait, or 'refrain clock mend'", chainNow.UTC().Format(time.RFC3339), by.Round(time.Second)))
	}
	return nil
}

// readBack compares the clock with the time at which a record that was begun at m is stored.
func (p *partition) readBack(ctx context.Context, m clock.Mark, sequence uint64) (stored time.Time, err error) {
	msg, err := p.ports.Broker.Get(ctx, p.chainName, sequence)
	if err != nil {
		return time.Time{}, fmt.Errorf("read back %s at %d: %w", p.chainName, sequence, err)
	}
	return msg.Time, p.skewed(ctx, p.reference.Read(m, msg.Time))
}

// timely makes sure that the time of day is proven right, before anything is decided on it. Where nothing proves it,
// it appends a record without content and reads that back.
func (p *partition) timely(ctx context.Context, lim limit) error {
	if lim.replay {
		return nil
	}
	if len(p.pending) > 0 {
		p.reference.Seen(p.pending[0].stored)
	}
	for range clockLooks {
		err := p.reference.Check()
		if err == nil {
			return p.chainTimely(ctx)
		}
		if !errors.Is(err, clock.ErrUnread) {
			return p.skewed(ctx, err)
		}
		if err := p.probe(ctx); err != nil {
			return err
		}
	}
	return p.untimely(ctx, skew, clock.ErrUnread)
}

// clockLooks bounds the readings before one decision: readings that take long, of a clock that is set again and again.
const clockLooks = 4

// probe appends a record that says nothing new and reads back when it was stored.
func (p *partition) probe(ctx context.Context) error {
	rec := p.blank(stagev1.RecordKind_RECORD_KIND_BATCH)
	if p.attempt.number > 0 { // whoever comes next must not forget it
		rec.Attempt = p.attempt.proto()
	}
	mark := p.reference.Mark()
	seq, err := p.append(ctx, rec)
	if err != nil {
		return err
	}
	p.relay.add(seq, rec)
	if err := p.apply(ctx, rec, nil, seq); err != nil {
		return err
	}
	_, err = p.readBack(ctx, mark, seq)
	return err
}

func isUntimely(err error) bool {
	_, ok := errors.AsType[*untimelyError](err)
	return ok
}

// standDown ends an ownership that is given up because of a clock. The next owner has no reason to be careful with what
// was not tried: nothing was, since this one gave up. Where the one before it left reasons, they stand as they did.
func (p *partition) standDown(ctx context.Context) {
	if p.torn {
		return
	}
	rec := p.blank(stagev1.RecordKind_RECORD_KIND_CLOSE)
	if p.careful.any() || len(p.suspects) > 0 {
		rec.Kind = stagev1.RecordKind_RECORD_KIND_BATCH // it names no attempt: one that was announced was not made
		rec.Unclean = max(rec.GetUnclean(), 1) - 1
	}
	if _, err := p.append(ctx, rec); err != nil {
		p.ports.Logger.Warn("the end of an ownership is not recorded", "stage", p.cfg.Spec.Name, "partition", p.number, "error", err)
	}
}

// look takes a reading without owning anything: by a ping in the control lane, which its readers pass over.
func (s *Stage) look(ctx context.Context) error {
	mark := s.reference.Mark()
	msg, err := log.Ping(ctx, s.ports.Broker, 0, s.cfg.Replica, s.reference.Time())
	if err != nil {
		return fmt.Errorf("compare the clock with the log's: %w", err)
	}
	return s.reference.Read(mark, msg.Time) //nolint:wrapcheck // says it all
}

// standBy says that this process is to own nothing, since its clock is proven wrong; see keepTime.
func (s *Stage) standBy() {
	if s.ports.Timely != nil {
		s.ports.Timely(false)
	}
	select {
	case s.wrong <- struct{}{}:
	default:
	}
}

// setRightLook is how often it is looked whether a clock that was proven wrong has been set right.
const setRightLook = time.Second

// keepTime finds out when a clock that was proven wrong has been set right: the process may own partitions again.
func (s *Stage) keepTime(ctx context.Context) {
	for {
		if _, err := s.ports.Clock.Wait(ctx, clock.Forever, s.wrong); err != nil {
			return
		}
		for err := s.reference.Check(); err != nil; err = s.reference.Check() {
			if clock.Sleep(ctx, s.ports.Clock, setRightLook) != nil {
				return
			}
			if errors.Is(s.reference.Check(), clock.ErrUnread) {
				_ = s.look(ctx) // what it proves Check says
			}
		}
		if s.ports.Timely != nil {
			s.ports.Timely(true)
		}
	}
}

// Clock is the stage's clock with the best that is known of the time, for stamps and reports: see clock.Reference.
func (s *Stage) Clock() clock.Clock { return s.reference.Clock() }
