package ingestsvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/telemetry"
)

// wallStamper stamps arrivals with its clock, which follows the log's (timekeeper), and corrects publishers' clocks.
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

// timekeeper compares ingest's clock with the log's, so that what arrives is stamped by the log's time.
type timekeeper struct {
	store     store
	reference *clock.Reference
	clock     clock.Clock
	owner     string
	turn      clock.Lock
	logger    *slog.Logger
}

func newTimekeeper(deps run.Deps) *timekeeper {
	return &timekeeper{
		store: deps.Broker, reference: clock.NewReference(deps.Clock), clock: deps.Clock, owner: deps.Replica, turn: clock.NewLock(),
		logger: deps.Logger,
	}
}

// know makes sure that the log's time is known. A clock that is not the log's is no reason to refuse anything: what
// comes is stamped by the log's time, which the monotonic clock carries on. An error says that it is not known.
func (k *timekeeper) know(ctx context.Context) error {
	if !errors.Is(k.reference.Check(), clock.ErrUnread) {
		return nil
	}
	release, err := k.turn.Take(ctx, k.clock)
	if err != nil {
		return fmt.Errorf("compare the clock with the log's: %w", err)
	}
	defer release()
	if !errors.Is(k.reference.Check(), clock.ErrUnread) { // another one was faster
		return nil
	}
	mark := k.reference.Mark()
	stored, err := log.Ping(ctx, k.store, 0, k.owner, k.reference.Time())
	if err != nil {
		return unavailable(fmt.Errorf("compare the clock with the log's: %w", err))
	}
	k.compare(mark, stored)
	return nil
}

// read compares the clock by what was stored, begun at m. If that cannot be read now, the next one tells.
func (k *timekeeper) read(ctx context.Context, m clock.Mark, subject string, sequence uint64) {
	if stored, err := k.store.Get(ctx, subject, sequence); err == nil {
		k.compare(m, stored)
	}
}

func (k *timekeeper) compare(m clock.Mark, stored log.Message) {
	if skewed := k.reference.Read(m, stored.Time); skewed != nil {
		k.logger.Warn("arrivals are stamped by the log's time", telemetry.KeyError, skewed)
	}
}

// Skew implements run.Stamper.
func (wallStamper) Skew() bool { return true }
