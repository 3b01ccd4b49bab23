package dispatchsvc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/state"
)

const ingestName = "ingest"

// deadLetters reads the dead letters of all stages, and what ingest refused, and sends them back.
type deadLetters struct {
	letters    Letters
	redrives   *redrives
	states     state.Store
	clock      clock.Clock
	partitions int
	streams    int
}

// letterAt is a dead letter with its place.
type letterAt struct {
	sequence uint64
	letter   *stagev1.DeadLetter
	// cursor is the place among all of them, for paging.
	cursor uint64
}

// placeBits is how much of a cursor is the sequence in a stream; what is above it counts the streams.
const placeBits = 48

// walk calls see for each dead letter after a cursor, in order, until it says stop: stream by stream, those of the
// stages first. Letters are on one subject per stage and partition, so the heads of a stream's subjects are merged.
func (d *deadLetters) walk(ctx context.Context, only string, after uint64, see func(letterAt) (more bool)) error {
	streams, err := d.subjects(only)
	if err != nil {
		return err
	}
	for n, subjects := range streams {
		begin := uint64(n) << placeBits   //nolint:gosec // streams are few
		if after>>placeBits > uint64(n) { //nolint:gosec // streams are few
			continue
		}
		more, err := d.walkStream(ctx, subjects, max(after, begin)-begin, func(l letterAt) bool {
			l.cursor = begin + l.sequence
			return see(l)
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// walkStream is walk in one stream; more is what see said last.
func (d *deadLetters) walkStream(ctx context.Context, subjects []string, after uint64, see func(letterAt) bool) (more bool, err error) {
	heads := make(map[string]log.Message, len(subjects))
	fill := func(subject string, after uint64) error {
		msg, err := d.letters.Next(ctx, subject, after)
		if errors.Is(err, log.ErrNotFound) {
			delete(heads, subject)
			return nil
		}
		if err != nil {
			return fault.As(fault.Unavailable, fmt.Errorf("read dead letters: %w", err))
		}
		heads[subject] = msg
		return nil
	}
	for _, s := range subjects {
		if err := fill(s, after); err != nil {
			return false, err
		}
	}
	for len(heads) > 0 {
		first := ""
		for s, m := range heads {
			if first == "" || m.Sequence < heads[first].Sequence {
				first = s
			}
		}
		msg := heads[first]
		letter := &stagev1.DeadLetter{}
		if err := letter.UnmarshalVT(msg.Data); err != nil {
			return false, fmt.Errorf("decode dead letter %d: %w", msg.Sequence, err)
		}
		if !see(letterAt{sequence: msg.Sequence, letter: letter}) {
			return false, nil
		}
		if err := fill(first, msg.Sequence); err != nil {
			return false, err
		}
	}
	return true, nil
}

// subjects lists those of the dead letters by stream. What ingest refused is in streams of its own.
func (d *deadLetters) subjects(only string) ([][]string, error) {
	var stages []string
	for _, s := range log.Stages() {
		stages = append(stages, s.Name)
	}
	if all := append(slices.Clone(stages), ingestName); only != "" && !slices.Contains(all, only) {
		return nil, fault.New(fault.Invalid, "stage: %q is none of %q", only, all)
	}
	out := make([][]string, 2*d.streams)
	add := func(stage string, first int) {
		for p := 0; p < d.partitions && (only == "" || only == stage); p++ {
			n := first + p%d.streams
			out[n] = append(out[n], log.Subject(log.DeadLetters(stage), p))
		}
	}
	for _, s := range stages {
		add(s, 0)
	}
	add(ingestName, d.streams)
	return out, nil
}

// page returns up to limit letters and where the next page begins; 0 if there is none.
func (d *deadLetters) page(ctx context.Context, only string, after uint64, limit int) ([]letterAt, uint64, error) {
	var letters []letterAt
	more := false
	err := d.walk(ctx, only, after, func(l letterAt) bool {
		if more = len(letters) == limit; more {
			return false
		}
		letters = append(letters, l)
		return true
	})
	if err != nil || !more {
		return letters, 0, err
	}
	return letters, letters[len(letters)-1].cursor, nil
}

// find returns the letter with an id.
func (d *deadLetters) find(ctx context.Context, id string) (letterAt, error) {
	var found letterAt
	err := d.walk(ctx, "", 0, func(l letterAt) bool {
		if l.letter.GetId() == id {
			found = l
		}
		return found.letter == nil
	})
	if err != nil {
		return letterAt{}, err
	}
	if found.letter == nil {
		return letterAt{}, fault.New(fault.NotFound, "there is no dead letter %q", id)
	}
	return found, nil
}

// firstInput is the input whose payload a letter has, also if it was given up again after it had come back.
func firstInput(l *stagev1.DeadLetter) string { return cmp.Or(l.GetRedriven(), l.GetInput()) }

// subjectOf is where a dead letter is sent back.
func subjectOf(l *stagev1.DeadLetter) string {
	return log.Subject(log.Redrive(l.GetStage()), int(l.GetPartition()))
}

// status is what became of a letter, and where it was sent back if it was.
func (d *deadLetters) status(ctx context.Context, l *stagev1.DeadLetter) (dispatchv1.DeadLetterStatus, uint64, error) {
	if l.GetStage() == ingestName {
		return dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_REFUSED, 0, nil
	}
	// This before the fate: a letter that comes back meanwhile is said to be on its way.
	sent, err := d.redrives.where(ctx, subjectOf(l), l.GetId())
	if err != nil {
		return 0, 0, err
	}
	fate, err := stage.FateOf(ctx, d.letters, d.states, l)
	if err != nil {
		return 0, sent, fault.As(fault.Unavailable, err)
	}
	switch {
	case fate == stage.Tried:
		return dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_TRIED, sent, nil
	case fate == stage.Lost && sent == 0:
		return dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_OPEN, 0, nil
	case fate == stage.Lost:
		return dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_SENT_BACK, sent, nil
	case sent == 0:
		return dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_APPLIED, 0, nil
	default:
		return dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_REDRIVEN, sent, nil
	}
}

// info shows a letter. While the states of its stage are away its status is not known.
func (d *deadLetters) info(ctx context.Context, l letterAt) (*dispatchv1.DeadLetterInfo, error) {
	status, sent, err := d.status(ctx, l.letter)
	if err != nil && fault.Of(err) != fault.Unavailable {
		return nil, err
	}
	return &dispatchv1.DeadLetterInfo{
		Id: l.letter.GetId(), Stage: l.letter.GetStage(), Partition: l.letter.GetPartition(), Code: l.letter.GetCode(),
		Why: l.letter.GetWhy(), At: l.letter.GetAt(), Sequence: l.sequence, Redriven: sent != 0, Status: status,
		Tenant: tenantOf(l.letter),
	}, nil
}

// redrive sends a letter back to its stage once, as far as the redrive subject goes back; if two do the same at once it
// may come twice. The stage recognises that, however late, by its gap. A letter whose input was applied after all is
// not sent; one whose gap is not on the chain yet is Conflict: its input may be applied still.
func (d *deadLetters) redrive(ctx context.Context, l letterAt) (*dispatchv1.RedriveDeadLetterResponse, error) {
	id := l.letter.GetId()
	if l.letter.GetStage() == ingestName {
		return nil, fault.New(fault.Invalid, "%s was refused at the door and never accepted: publish a corrected event instead", id)
	}
	out := &dispatchv1.RedriveDeadLetterResponse{Subject: subjectOf(l.letter), Status: dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_SENT_BACK}
	status, sent, err := d.status(ctx, l.letter)
	switch {
	case sent != 0:
		out.Sequence = sent
		return out, nil
	case err != nil:
		return nil, err
	case status == dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_APPLIED:
		return &dispatchv1.RedriveDeadLetterResponse{Status: status}, nil
	case status == dispatchv1.DeadLetterStatus_DEAD_LETTER_STATUS_TRIED:
		return nil, fault.New(fault.Conflict, "redrive %s: its input is being tried still; ask again in a moment", id)
	}
	out.Sequence, err = d.send(ctx, l, out.GetSubject())
	return out, err
}

func (d *deadLetters) send(ctx context.Context, l letterAt, subject string) (uint64, error) {
	now := timestamppb.New(d.clock.Now())
	data, err := (&stagev1.Arrivals{Items: []*stagev1.Arrival{{
		ReceivedAt: now, At: now,
		Item: &stagev1.Arrival_Redrive{Redrive: &stagev1.Redrive{
			Id: l.letter.GetId(), Payload: l.letter.GetPayload(), Input: firstInput(l.letter), Addressed: l.letter.GetAddressed(),
		}},
	}}}).MarshalVT()
	if err != nil {
		return 0, fmt.Errorf("encode redrive: %w", err)
	}
	sequence, err := d.letters.Publish(ctx, subject, data)
	if err != nil {
		return 0, fault.As(fault.Unavailable, fmt.Errorf("publish redrive: %w", err))
	}
	return sequence, nil
}
