package stage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
)

// meeting is what is known of the letters of one instant that are decided in part: in the order of the rows that they
// come from, which is not that of the mailbox. Their covers are recorded when all of them are decided; until then
// the records say how many are.
type meeting struct {
	decided []item
	done    uint32
	// left is how many the owner before had decided when it ended; they are passed over when they are gathered again.
	left uint32
	// waiting were taken and are not pending yet.
	waiting []item
}

// gatherLetters takes all letters that meet in one instant of the replay clock, in the order of the rows
// they come from: between senders the mailbox has no order of its own that would not depend on the number
// of partitions. All of them are in the mailbox, since the turn of those who sent them has ended; what has not come
// here yet is waited for.
func (p *partition) gatherLetters(ctx context.Context, r *reader, lim limit) error {
	letters, err := collect(r, lim, nil)
	if err != nil || len(letters)+len(p.meeting.waiting) == 0 && p.meeting.left == 0 {
		return err
	}
	last, err := p.ports.Broker.Last(ctx, r.subject)
	if err != nil && !errors.Is(err, log.ErrNotFound) {
		return p.putBack(letters, fmt.Errorf("find the end of %s: %w", r.subject, err))
	}
	for !r.arrived(last.Sequence) {
		if _, err := p.ports.Clock.Wait(ctx, clock.Forever, r.tail.Wake()); err != nil {
			return p.putBack(letters, fmt.Errorf("read %s: %w", r.subject, err))
		}
		if letters, err = collect(r, lim, letters); err != nil {
			return p.putBack(letters, err)
		}
	}
	p.meet(append(p.meeting.waiting, letters...))
	return nil
}

// putBack keeps letters that were taken for when they are gathered again.
func (p *partition) putBack(letters []item, err error) error {
	p.meeting.waiting = append(p.meeting.waiting, letters...)
	return err
}

// endMeeting gathers, on the wall clock, what an owner under the replay clock has left of a meeting.
func (p *partition) endMeeting(ctx context.Context) error {
	r := p.readers[slices.IndexFunc(p.readers, func(r *reader) bool { return r.source == FromBox })]
	return p.gatherLetters(ctx, r, limit{replay: true, now: p.lastNow, round: p.lastRound})
}

// collect takes the letters that may be taken.
func collect(r *reader, lim limit, letters []item) ([]item, error) {
	for {
		it, err := r.peek()
		if err != nil {
			return letters, err
		}
		if it == nil || !lim.released(it) {
			return letters, nil
		}
		r.take()
		letters = append(letters, *it)
	}
}

// meet puts letters in their order and adds them to what is pending. When a repeat of one comes must not change what
// is where, and those that were decided already are passed over.
func (p *partition) meet(letters []item) {
	seen := map[letterID]bool{}
	for n := range letters {
		it := &letters[n]
		it.meets = true
		if it.sender == "" {
			continue
		}
		if id := (letterID{it.sender, it.letter}); seen[id] || !after(it.letter, p.senders[it.sender]) {
			it.input = nil
		} else {
			seen[id] = true
		}
	}
	slices.SortStableFunc(letters, func(a, b item) int { return cmp.Compare(a.from, b.from) })
	for n := range letters {
		if p.meeting.left > 0 && letters[n].input != nil {
			letters[n].input = nil
			p.meeting.left--
		}
	}
	p.meeting.left, p.meeting.waiting = 0, nil
	p.pending = append(p.pending, letters...)
}

// meets notes a letter of a meeting as decided; with the last of them all are covered.
func (p *partition) meets(n int, it *item, b *batch) {
	b.meeting = append(b.meeting, *it)
	if n+1 < len(p.pending) && p.pending[n+1].meets {
		return
	}
	for i := range p.meeting.decided {
		p.cover(&p.meeting.decided[i], b)
	}
	for i := range b.meeting {
		p.cover(&b.meeting[i], b)
	}
	b.met, b.stir = true, b.stir || p.meeting.done > 0
}

// met is how many letters of the meeting are decided with a batch.
func (p *partition) met(b *batch) uint32 {
	if b.met {
		return 0
	}
	done := p.meeting.done
	for _, it := range b.meeting {
		if it.input != nil {
			done++
		}
	}
	return done
}

// keepMeeting takes over what a batch decided of a meeting.
func (p *partition) keepMeeting(b *batch) {
	done := p.met(b)
	if b.met {
		p.meeting = meeting{}
		return
	}
	p.meeting.decided, p.meeting.done = append(p.meeting.decided, b.meeting...), done
}
