package ingestsvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/telemetry"
	"refrain.dev/services/ingest/ingestsvc/overload"
)

// door is where all entrances meet: it accepts or refuses each item and answers when all are stored.
type door struct {
	hasher     identity.Hasher
	generation log.Generation
	kinds      kinds
	pressure   pressure
	stamper    run.Stamper
	clock      clock.Clock
	committer  *committer
	flows      *flows
	customers  *overload.Customers
	gate       *overload.Gate
	recent     recent
	spread     overload.Spread
	maxQueue   time.Duration
	letters    *letters
	tracer     trace.Tracer
	metrics    *metrics
	logger     *slog.Logger
}

// take stores a submission. An error means that not everything is certain to be stored, or that not
// everything was taken because the mesh is overloaded (*overload.RefusedError); sending the same again is harmless.
func (d *door) take(ctx context.Context, s submission) (receipt, error) {
	ctx, span := d.tracer.Start(ctx, "ingest.accept")
	defer span.End()
	if span.IsRecording() {
		span.SetAttributes(attribute.String("refrain.via", s.via), attribute.Int("messaging.batch.message_count", len(s.items)))
	}
	if err := d.know(ctx); err != nil {
		span.RecordError(err)
		return receipt{}, err
	}
	now := d.clock.Now()
	for _, it := range s.items {
		d.times(s.tenant, it)
		d.prepare(s.tenant, it, d.expiry(it, now))
	}
	d.checkNames(ctx, s)
	s.timed = d.stamper.Skew()
	d.recent.recall(s)
	refused := d.admit(s)
	done := d.stamp(s)
	tickets, err := d.submit(ctx, s, done)
	if err != nil {
		return receipt{}, err
	}
	s.visit.Rest()
	r := receipt{results: make([]result, len(s.items)), replay: !s.timed}
	err = errors.Join(d.refuse(ctx, s, r.results, now), d.await(ctx, tickets, s, r.results))
	if err == nil {
		d.metrics.took(ctx, s)
		if refused != nil {
			d.recent.note(s, r.results)
			err = fault.As(fault.Unavailable, refused)
		}
	}
	if err != nil {
		span.RecordError(err)
		return receipt{}, err
	}
	return r, nil
}

// know sees to it that the time and the definitions are known by which items are judged.
func (d *door) know(ctx context.Context) error {
	if err := d.committer.times.know(ctx); err != nil {
		return err
	}
	return d.kinds.Know(ctx)
}

// expiry is the time by which an item's token may have expired: now, or the item's own under a clock
// that takes times as they are.
func (d *door) expiry(it *item, now time.Time) time.Time {
	switch {
	case it.forever:
		return time.Time{}
	case !d.stamper.Skew() && it.event.GetAt() != nil:
		return it.event.GetAt().AsTime()
	}
	return now
}

// stamp gives items their arrival, corrects times for the publisher's clock and completes missing ids.
// The returned function is to be called when the items are stored or given up.
func (d *door) stamp(s submission) (done func()) {
	var at []time.Time
	for _, it := range s.items {
		if !it.skipped() {
			at = append(at, timeOf(it.event.GetAt()))
		}
	}
	if len(at) == 0 {
		return func() {}
	}
	received, done := d.stamper.Arrive(at)
	next := 0
	for i, it := range s.items {
		if it.skipped() {
			continue
		}
		d.stampItem(it, received[next], i)
		next++
	}
	return done
}

// stampItem says when an item arrived and when it happened: as its publisher claims, corrected for a clock of which
// the publisher says how it goes, and never later than the arrival. What was claimed is kept where it does not count.
func (d *door) stampItem(it *item, received time.Time, index int) {
	e := it.event
	claimed := timeOf(e.GetAt())
	happened := claimed
	switch {
	case happened.IsZero() && received.IsZero():
		it.problem("timestamp", "is missing, and the replay clock has not begun: the first event says when it happened")
		return
	case happened.IsZero():
		happened = received
	case d.stamper.Skew() && !it.sentAt.IsZero():
		happened = corrected(happened, it.sentAt, received)
	}
	if happened.After(received) {
		happened = received
	}
	e.ClaimedAt = nil
	if !claimed.IsZero() && !claimed.Equal(happened) {
		e.ClaimedAt = timestamppb.New(claimed.UTC())
	}
	e.At, e.ReceivedAt = timestamppb.New(happened.UTC()), timestamppb.New(received.UTC())
	if e.GetId() == "" {
		e.Id = identity.Derive("event", e.GetTenant(), string(it.raw), received.UTC().Format(time.RFC3339Nano), strconv.Itoa(index))
	}
}

// corrected moves a time by the difference of the publisher's clock, unless that clock is absurd.
func corrected(happened, sentAt, received time.Time) time.Time {
	at := received.Add(-sentAt.Sub(happened))
	if at.Year() < 1900 || at.Year() > 2200 {
		return happened
	}
	return at
}

func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// submit hands accepted items to the committer, grouped by lane and partition in their order. done is
// called when the last of them is resolved, whether or not anybody still waits.
func (d *door) submit(ctx context.Context, s submission, done func()) ([]*ticket, error) {
	traceparent := telemetry.Traceparent(ctx)
	open := map[address]*ticket{}
	var tickets []*ticket
	for i, it := range s.items {
		if it.skipped() {
			continue
		}
		payload, err := it.event.MarshalVT()
		if err != nil {
			d.giveBack(s, s.items)
			done()
			return nil, fmt.Errorf("encode event: %w", err)
		}
		t := open[it.to]
		if t == nil || !t.fits(len(payload)) {
			t = newTicket(it.to)
			t.counted = s.timed
			open[it.to] = t
			tickets = append(tickets, t)
		}
		t.add(i, &stagev1.Arrival{
			ReceivedAt: it.event.GetReceivedAt(), At: it.event.GetAt(), Traceparent: traceparent,
			Item: &stagev1.Arrival_Payload{Payload: payload},
		}, len(payload))
	}
	d.committer.submit(tickets, done)
	return tickets, nil
}

// await collects the positions of accepted items.
func (d *door) await(ctx context.Context, tickets []*ticket, s submission, results []result) error {
	for i, it := range s.items {
		if it.stored != nil {
			results[i] = result{id: it.event.GetId(), madeID: it.madeID, position: it.stored, remarks: it.remarks}
		}
	}
	var errs []error
	for _, t := range tickets {
		sequence, err := t.wait(ctx, d.clock)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		position := &eventv1.Position{Partition: uint32(t.to.partition), Lane: t.to.lane, Sequence: sequence} //nolint:gosec // at most 1024
		for _, i := range t.items {
			e := s.items[i]
			results[i] = result{id: e.event.GetId(), madeID: e.madeID, position: position, remarks: e.remarks}
		}
	}
	return errors.Join(errs...)
}

// refuse keeps refused items as dead letters.
func (d *door) refuse(ctx context.Context, s submission, results []result, now time.Time) error {
	var all []*stagev1.DeadLetter
	for i, it := range s.items {
		if len(it.problems) == 0 || it.refusal != nil {
			continue
		}
		letter := deadLetter(s, it, now)
		all = append(all, letter)
		results[i] = result{id: it.event.GetId(), refused: it.problems, deadLetter: letter.GetId()}
		d.metrics.refused(ctx, s.via)
	}
	return d.letters.keep(ctx, all)
}
