package dispatchsvc

import (
	"cmp"
	"context"
	"encoding/json"
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

// Remembered keeps which dead letters were redriven.
type Remembered interface {
	// Get returns the value of key and its revision, or log.ErrNotFound.
	Get(ctx context.Context, key string) ([]byte, uint64, error)
	// Put stores the value whatever was there.
	Put(ctx context.Context, key string, value []byte) error
}

// deadLetters reads the dead letters of all stages, and what ingest refused, and sends them back.
type deadLetters struct {
	letters    Letters
	states     state.Store
	kv         Remembered
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

// redriven is what is remembered of a redrive.
type redriven struct {
	Subject  string `json:"subject"`
	Sequence uint64 `json:"sequence"`
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

func redrivenKey(id string) string { return "redriven/" + id }

// done returns how a letter was redriven; nil if it was not.
func (d *deadLetters) done(ctx context.Context, id string) (*redriven, error) {
	data, _, err := d.kv.Get(ctx, redrivenKey(id))
	if errors.Is(err, log.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.As(fault.Unavailable, fmt.Errorf("read redriven: %w", err))
	}
	r := &redriven{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("decode redriven: %w", err)
	}
	return r, nil
}

func (d *deadLetters) info(ctx context.Context, l letterAt) (*dispatchv1.DeadLetterInfo, error) {
	was, err := d.done(ctx, l.letter.GetId())
	if err != nil {
		return nil, err
	}
	return &dispatchv1.DeadLetterInfo{
		Id: l.letter.GetId(), Stage: l.letter.GetStage(), Partition: l.letter.GetPartition(), Code: l.letter.GetCode(),
		Why: l.letter.GetWhy(), At: l.letter.GetAt(), Sequence: l.sequence, Redriven: was != nil,
	}, nil
}

// redrive sends a letter back to its stage once. If the process dies before that is remembered, or another one does
// the same, it may come twice, which the stage recognises. A letter whose gap is not on the chain yet is Conflict: its
// input may be applied after all.
func (d *deadLetters) redrive(ctx context.Context, l letterAt) (*dispatchv1.RedriveDeadLetterResponse, error) {
	if l.letter.GetStage() == ingestName {
		return nil, fault.New(fault.Invalid, "%s was refused at the door and never accepted: publish a corrected event instead", l.letter.GetId())
	}
	was, err := d.done(ctx, l.letter.GetId())
	if err != nil {
		return nil, err
	}
	if was == nil {
		open, err := stage.Redrivable(ctx, d.states, l.letter)
		if err != nil {
			return nil, fault.As(fault.Unavailable, err)
		}
		if !open {
			return nil, fault.New(fault.Conflict, "redrive %s: no gap is open for it: its input is being tried still (ask again in a moment), "+
				"or was applied after all or has come back already (then there is nothing left to do)", l.letter.GetId())
		}
		if was, err = d.send(ctx, l); err != nil {
			return nil, err
		}
	}
	return &dispatchv1.RedriveDeadLetterResponse{Subject: was.Subject, Sequence: was.Sequence}, nil
}

func (d *deadLetters) send(ctx context.Context, l letterAt) (*redriven, error) {
	now := timestamppb.New(d.clock.Now())
	data, err := (&stagev1.Arrivals{Items: []*stagev1.Arrival{{
		ReceivedAt: now, At: now,
		Item: &stagev1.Arrival_Redrive{Redrive: &stagev1.Redrive{
			Id: l.letter.GetId(), Payload: l.letter.GetPayload(), Input: firstInput(l.letter), Addressed: l.letter.GetAddressed(),
		}},
	}}}).MarshalVT()
	if err != nil {
		return nil, fmt.Errorf("encode redrive: %w", err)
	}
	r := &redriven{Subject: log.Subject(log.Redrive(l.letter.GetStage()), int(l.letter.GetPartition()))}
	if r.Sequence, err = d.letters.Publish(ctx, r.Subject, data); err != nil {
		return nil, fault.As(fault.Unavailable, fmt.Errorf("publish redrive: %w", err))
	}
	memo, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode redriven: %w", err)
	}
	if err := d.kv.Put(ctx, redrivenKey(l.letter.GetId()), memo); err != nil {
		return nil, fault.As(fault.Unavailable, fmt.Errorf("remember redrive: %w", err))
	}
	return r, nil
}
