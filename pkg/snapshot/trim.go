package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/failpoint"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

// trimmer removes what nobody needs any more from the log, by purges that never touch a subject's last message.
type trimmer struct {
	broker   log.Broker
	kv       log.KV
	library  *Library
	points   failpoint.Points
	spec     log.StageSpec
	settings Settings
	now      func() time.Time
	answered func(ctx context.Context, letter *stagev1.DeadLetter) (bool, error)
}

// chain purges the partition's chain: below the snapshot that is kept and every reader's position, all of
// which stay, and only what is older than the history that is kept, which is less the fuller the stream is. It
// does nothing if it cannot read one of them.
func (t *trimmer) chain(ctx context.Context, partition int) error {
	chain := log.Subject(t.spec.Chain, partition)
	share, err := used(ctx, t.broker, chain)
	if err != nil {
		return fmt.Errorf("trim %s: %w", chain, err)
	}
	below, err := t.chainLimit(ctx, partition, share)
	if err != nil {
		return fmt.Errorf("trim %s: %w", chain, err)
	}
	return t.purge(ctx, chain, below, t.now().Add(-eased(t.settings.History, pressed(share))))
}

// kept is the snapshot from which states can always be made again: the one at the margin, since newer ones may be
// damaged. In a stream that is pressed it is the newest, if all of it can be read. Nil: there is none.
func (t *trimmer) kept(ctx context.Context, partition int, share float64) (*stagev1.SnapshotListing, error) {
	chain := log.Subject(t.spec.Chain, partition)
	listed, err := t.library.List(ctx, chain)
	if err != nil || len(listed) == 0 {
		return nil, err
	}
	var margin *stagev1.SnapshotListing
	if len(listed) >= t.settings.Margin {
		margin = listed[t.settings.Margin-1]
	}
	if share < PressedFrom {
		return margin, nil
	}
	s, err := t.library.Open(ctx, chain, listed[0])
	if err == nil {
		err = t.library.Verify(ctx, s)
	}
	if errors.Is(err, ErrDamaged) {
		return margin, nil
	}
	return listed[0], err
}

func (t *trimmer) chainLimit(ctx context.Context, partition int, share float64) (uint64, error) {
	chain := log.Subject(t.spec.Chain, partition)
	kept, err := t.kept(ctx, partition, share)
	if err != nil || kept == nil {
		return 0, err
	}
	limit := kept.GetSequence()
	relayed, _, err := Relayed(ctx, t.kv, chain)
	if err != nil {
		return 0, err
	}
	limit = min(limit, relayed)
	for _, reader := range readersOf(t.spec.Chain) {
		covers, err := t.covers(ctx, log.Subject(reader.Chain, partition))
		if err != nil {
			return 0, err
		}
		limit = min(limit, covers[t.spec.Chain])
	}
	return limit, nil
}

// readersOf are the stages that read a chain.
func readersOf(chain string) []log.StageSpec {
	return slices.DeleteFunc(log.Stages(), func(s log.StageSpec) bool {
		return s.After != chain && !slices.Contains(s.Before, chain)
	})
}

// covers is how far each input is covered by the last record of a chain.
func (t *trimmer) covers(ctx context.Context, chain string) (map[string]uint64, error) {
	msg, err := t.broker.Last(ctx, chain)
	if err != nil {
		return nil, fmt.Errorf("read the end of %s: %w", chain, err)
	}
	rec := &stagev1.Record{}
	if err := rec.UnmarshalVT(msg.Data); err != nil {
		return nil, fault.New(fault.Internal, "read the end of %s: record %d: %w", chain, msg.Sequence, err)
	}
	out := map[string]uint64{}
	for _, c := range rec.GetCovers() {
		out[c.GetInput()] = c.GetSequence()
	}
	return out, nil
}

// inputs purges what only this stage reads: its lanes of EVENTS, its mailbox and its redrive subject, below
// what its chain's last record covers, and only what is older than the horizon of dedupe. Under pressure younger
// ones go as well; of the lanes only those that the snapshot at the margin covers.
func (t *trimmer) inputs(ctx context.Context, partition int) error {
	covers, err := t.covers(ctx, log.Subject(t.spec.Chain, partition))
	if err != nil {
		return fmt.Errorf("trim inputs: %w", err)
	}
	for _, lane := range log.Lanes() {
		if name := log.Lane(lane); slices.Contains(t.spec.Before, name) {
			if err := t.lane(ctx, lane, partition, covers[name]); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{log.Box(t.spec.Name), log.Redrive(t.spec.Name)} {
		if err := t.input(ctx, log.Subject(name, partition), covers[name], covers[name]); err != nil {
			return err
		}
	}
	return nil
}

// mostLetters is how many dead letters of a partition go at once.
const mostLetters = 256

// deadLetters purges the oldest dead letters of the stage in a partition that are answered: nothing is left to do about
// them. They stay as long as inputs do, less under pressure. One that is not answered stays, and all after it.
func (t *trimmer) deadLetters(ctx context.Context, partition int) error {
	subject := log.Subject(log.DeadLetters(t.spec.Name), partition)
	if t.answered == nil {
		return nil
	}
	press, err := pressure(ctx, t.broker, subject)
	if err != nil {
		return fmt.Errorf("trim %s: %w", subject, err)
	}
	before, below := t.now().Add(-eased(t.settings.Inputs, press)), uint64(0)
	for range mostLetters {
		msg, err := t.broker.Next(ctx, subject, below)
		if errors.Is(err, log.ErrNotFound) {
			break // the last one stays
		}
		if err != nil {
			return fmt.Errorf("trim %s: %w", subject, err)
		}
		below = msg.Sequence
		letter := &stagev1.DeadLetter{}
		if err := letter.UnmarshalVT(msg.Data); err != nil || !msg.Time.Before(before) {
			break
		}
		if done, err := t.answered(ctx, letter); err != nil || !done {
			break // what is not known is not answered
		}
	}
	if below == 0 {
		return nil
	}
	return t.purge(ctx, subject, below, before)
}

// lane purges a lane of EVENTS.
func (t *trimmer) lane(ctx context.Context, lane string, partition int, covered uint64) error {
	subject := log.Subject(log.Lane(lane), partition)
	share, err := used(ctx, t.broker, subject)
	if err != nil {
		return fmt.Errorf("trim %s: %w", subject, err)
	}
	kept := uint64(0) // in a snapshot
	if pressed(share) > 0 {
		if kept, err = t.laneKept(ctx, lane, partition, share); err != nil {
			return fmt.Errorf("trim %s: %w", subject, err)
		}
	}
	return t.input(ctx, subject, covered, kept)
}

// laneKept is how far a lane is covered by the snapshot that is kept; 0 if there is none.
func (t *trimmer) laneKept(ctx context.Context, lane string, partition int, share float64) (uint64, error) {
	kept, err := t.kept(ctx, partition, share)
	if err != nil || kept == nil {
		return 0, err
	}
	s, err := t.library.Open(ctx, log.Subject(t.spec.Chain, partition), kept)
	if err != nil {
		return 0, err
	}
	at := s.Meta().Origins
	if lane == log.LaneControl {
		return max(at[lane], at[log.Barrier]), nil
	}
	return at[lane], nil
}

// input purges what is covered and old; of what is young, under pressure, what is below another position too.
func (t *trimmer) input(ctx context.Context, subject string, covered, pressed uint64) error {
	if err := t.purge(ctx, subject, covered, t.now().Add(-t.settings.Inputs)); err != nil {
		return err
	}
	press, err := pressure(ctx, t.broker, subject)
	if err != nil || press == 0 {
		return err
	}
	return t.purge(ctx, subject, min(covered, pressed), t.now().Add(-eased(t.settings.Inputs, press)))
}

// purge removes the messages of a subject below a sequence that were stored before a time.
func (t *trimmer) purge(ctx context.Context, subject string, below uint64, before time.Time) error {
	below, err := t.aged(ctx, subject, below, before)
	if err != nil || below == 0 {
		return err
	}
	if err := t.broker.Purge(ctx, subject, below); err != nil {
		return fmt.Errorf("trim %s: %w", subject, err)
	}
	t.points.At("snapshot.trimmed")
	return nil
}

// aged returns the sequence of the first message of a subject that is not older than a time, but not more than
// below; 0 if there is nothing to remove. Messages are stored in the order of their times, about.
func (t *trimmer) aged(ctx context.Context, subject string, below uint64, before time.Time) (uint64, error) {
	young := func(after uint64) (uint64, bool, error) { // of the first message after a sequence
		msg, err := t.broker.Next(ctx, subject, after)
		if errors.Is(err, log.ErrNotFound) {
			return below, true, nil
		}
		if err != nil {
			return 0, false, fmt.Errorf("trim %s: %w", subject, err)
		}
		return msg.Sequence, msg.Sequence >= below || !msg.Time.Before(before), nil
	}
	first, stop, err := young(0)
	if err != nil || stop {
		return 0, err
	}
	low, high := first, below // the message at low is old, what begins at high is not to be removed
	for low+1 < high {
		middle := low + (high-low)/2
		at, stop, err := young(middle - 1)
		switch {
		case err != nil:
			return 0, err
		case stop:
			high = middle
		default:
			low = at
		}
	}
	return high, nil
}
