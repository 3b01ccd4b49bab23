package dispatchsvc

import (
	"context"
	"errors"
	"fmt"
	"sync"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

// redrives knows which dead letters were sent back, by what the redrive subjects hold: nothing else remembers it. It
// holds as much as they do. It is safe for concurrent use, and keeps no lock while it reads.
type redrives struct {
	letters Letters

	mu    sync.Mutex // guards what follows
	known map[string]*sentBack
}

// sentBack is what one redrive subject was seen to hold.
type sentBack struct {
	upTo uint64
	// at is where a dead letter was sent back first.
	at map[string]uint64
}

func newRedrives(letters Letters) *redrives {
	return &redrives{letters: letters, known: map[string]*sentBack{}}
}

// where is the sequence at which a dead letter was sent back on a subject; 0 if it was not, as far as the subject goes
// back.
func (r *redrives) where(ctx context.Context, subject, id string) (uint64, error) {
	first, err := r.letters.Next(ctx, subject, 0)
	if errors.Is(err, log.ErrNotFound) {
		r.forget(subject, 1<<63)
		return 0, nil
	}
	if err != nil {
		return 0, fault.As(fault.Unavailable, fmt.Errorf("read redrives: %w", err))
	}
	r.forget(subject, first.Sequence)
	for {
		msg, err := r.letters.Next(ctx, subject, r.upTo(subject))
		if errors.Is(err, log.ErrNotFound) {
			return r.at(subject, id), nil
		}
		if err != nil {
			return 0, fault.As(fault.Unavailable, fmt.Errorf("read redrives: %w", err))
		}
		r.saw(subject, msg)
	}
}

// saw notes what a message brings back. One that is no redrive brings nothing.
func (r *redrives) saw(subject string, msg log.Message) {
	a := &stagev1.Arrivals{}
	_ = a.UnmarshalVT(msg.Data)
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.of(subject)
	for _, item := range a.GetItems() {
		if id := item.GetRedrive().GetId(); s.at[id] == 0 || s.at[id] > msg.Sequence {
			s.at[id] = msg.Sequence
		}
	}
	s.upTo = max(s.upTo, msg.Sequence)
}

// forget drops what a subject does not hold any more.
func (r *redrives) forget(subject string, before uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.of(subject)
	for id, at := range s.at {
		if at < before {
			delete(s.at, id)
		}
	}
}

func (r *redrives) at(subject, id string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of(subject).at[id]
}

func (r *redrives) upTo(subject string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of(subject).upTo
}

// of is what is known of a subject; the caller holds the lock.
func (r *redrives) of(subject string) *sentBack {
	if r.known[subject] == nil {
		r.known[subject] = &sentBack{at: map[string]uint64{}}
	}
	return r.known[subject]
}
