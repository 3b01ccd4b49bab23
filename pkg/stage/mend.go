package stage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

// Mending is what was found of one chain.
type Mending struct {
	// Chain is its subject.
	Chain string
	// Was is the time of its last record, and By how far it is ahead; more than clock.MaxSkew is too much.
	Was time.Time
	By  time.Duration
	// Now is the time that the chain was given; zero: nothing was changed.
	Now time.Time

	record   *stagev1.Record
	sequence uint64
}

// Ahead looks at the time of a chain and changes nothing. It asks the clock for the time, and the log for a lower
// bound of it.
func Ahead(ctx context.Context, broker log.Broker, c clock.Clock, chain, _ string) (Mending, error) {
	msg, err := broker.Last(ctx, chain)
	if err != nil {
		return Mending{}, fmt.Errorf("read the end of %s: %w", chain, err)
	}
	m := Mending{Chain: chain, record: &stagev1.Record{}, sequence: msg.Sequence}
	if err := m.record.UnmarshalVT(msg.Data); err != nil {
		return Mending{}, fault.New(fault.Invalid, "its last record %s/%d cannot be read: %w", chain, msg.Sequence, err)
	}
	m.Was = asTime(m.record.GetNow())
	m.By = m.Was.Sub(latest(msg.Time, c.Now()))
	return m, nil
}

// Mend puts the time of a chain right that is ahead of the log's time by more than clock.MaxSkew: it appends a MEND
// record. The owner, if there is one, takes the partition over again and goes on at the right time. States are left
// as they are: what was scheduled, counted or closed ahead of time stays so. Who names the operator.
//
// A time that is too early does no harm, since owners decide at their own time, which is proven. An error says that
// the chain is as it was, or, with log.ErrUnknown, that nobody knows; to repeat it is harmless.
func Mend(ctx context.Context, broker log.Broker, c clock.Clock, chain, who string) (Mending, error) {
	m, err := Ahead(ctx, broker, c, chain, who)
	if err != nil || m.By <= clock.MaxSkew {
		return m, err
	}
	now := c.Now()
	rec := m.record
	data, err := (&stagev1.Record{
		Generation: rec.GetGeneration(), Id: newID(), Prev: m.sequence, Owner: who, Now: timestamppb.New(now.UTC()),
		Revision: rec.GetRevision(), RevisionOrder: rec.GetRevisionOrder(),
		Kind: stagev1.RecordKind_RECORD_KIND_MEND, Covers: rec.GetCovers(), Origins: rec.GetOrigins(), Attempt: rec.GetAttempt(),
		Suspects: rec.GetSuspects(), Unclean: rec.GetUnclean(), Meeting: rec.GetMeeting(),
	}).MarshalVT()
	if err != nil {
		return Mending{}, fmt.Errorf("encode record: %w", err)
	}
	if _, err := log.OpenChain(broker, chain, c).Append(ctx, m.sequence, data); err != nil {
		if errors.Is(err, log.ErrLost) {
			return Mending{}, fault.As(fault.Unavailable, fmt.Errorf("mend %s: its owner was faster; repeat it: %w", chain, err))
		}
		return Mending{}, fmt.Errorf("mend %s: %w", chain, err)
	}
	m.Now = now
	return m, nil
}
