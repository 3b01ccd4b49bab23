package stage

import (
	"context"
	"errors"
	"fmt"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// Fate is what became of the input of a dead letter.
type Fate int

// The fates.
const (
	// Tried: the letter is stored, and the chain does not say yet that its input was given up. It says so in a moment, or
	// the input is applied after all.
	Tried Fate = iota
	// Lost: its gap is on the chain, and open. The letter takes effect if it comes back.
	Lost
	// Settled: no gap is open for it, and none will be. Its input was applied after all, or the letter came back.
	Settled
)

// Records reads single records of a chain.
type Records interface {
	// Get returns the message at a sequence of the stream that subject belongs to.
	Get(ctx context.Context, subject string, sequence uint64) (log.Message, error)
	// Next returns the first message on subject after a sequence, or log.ErrNotFound.
	Next(ctx context.Context, subject string, after uint64) (log.Message, error)
}

// FateOf says what became of the input of a stage's dead letter, by the states and the record that they are at. It is
// Unavailable while the states are being made again.
func FateOf(ctx context.Context, records Records, store state.Store, letter *stagev1.DeadLetter) (Fate, error) {
	spec, partition, m := log.Stage(letter.GetStage()), int(letter.GetPartition()), gapOf(letter.GetId())
	view, err := store.Read(ctx, partition, state.Query{
		Metas: []string{spec.Name}, Members: []state.Member{{Stage: spec.Name, Set: m.Set, Value: m.Value}},
	})
	if err != nil {
		return 0, fmt.Errorf("read the gap of dead letter %s: %w", letter.GetId(), err)
	}
	at := view.Metas[spec.Name]
	switch {
	case at.Applied == 0 || at.Unfinished:
		return 0, fault.New(fault.Unavailable, "read the gap of dead letter %s: the states of %s.%d are being made again",
			letter.GetId(), spec.Name, partition)
	case view.Members[0]:
		return Lost, nil
	}
	passed := passedBy
	if letter.GetSequence() == 0 {
		passed = decidedBy
	}
	done, err := passed(ctx, records, letter, log.Subject(spec.Chain, partition), at.Applied)
	switch {
	case err != nil:
		return 0, fmt.Errorf("read the fate of dead letter %s: %w", letter.GetId(), err)
	case done:
		return Settled, nil
	}
	return Tried, nil
}

// passedBy says whether the record at a sequence covers the input of a letter, which has a position.
func passedBy(ctx context.Context, records Records, letter *stagev1.DeadLetter, chain string, at uint64) (bool, error) {
	msg, err := records.Get(ctx, chain, at)
	if err != nil {
		return false, fault.As(fault.Unavailable, err)
	}
	rec := &stagev1.Record{}
	if err := rec.UnmarshalVT(msg.Data); err != nil {
		return false, fmt.Errorf("decode record %d: %w", at, err)
	}
	for _, c := range rec.GetCovers() {
		if c.GetInput() == letter.GetInput() {
			covered, input := state.Position{Sequence: c.GetSequence(), Index: c.GetIndex()}, state.Position{Sequence: letter.GetSequence(), Index: letter.GetIndex()}
			return !after(input, covered), nil
		}
	}
	return false, nil
}

// decidedBy says whether the owner that stored a letter about an input without a position lived to append the record
// that says so, and the record is not after a sequence: that record opened the gap, which has been closed since.
func decidedBy(ctx context.Context, records Records, letter *stagev1.DeadLetter, chain string, at uint64) (bool, error) {
	msg, err := records.Next(ctx, chain, letter.GetChainAfter())
	if errors.Is(err, log.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fault.As(fault.Unavailable, err)
	}
	rec := &stagev1.Record{}
	if err := rec.UnmarshalVT(msg.Data); err != nil {
		return false, fmt.Errorf("decode record %d: %w", msg.Sequence, err)
	}
	trimmed := rec.GetPrev() != letter.GetChainAfter()
	return msg.Sequence <= at && (trimmed || rec.GetKind() == stagev1.RecordKind_RECORD_KIND_BATCH), nil
}
