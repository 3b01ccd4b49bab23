package stage

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// gather adds to the pending items what waits at the doors, up to a batch: the control lane first, then one each
// from results of calls, requests and the other readers in turn, then the bulk lane; timers have what is left, at
// least half a batch if they are due.
func (p *partition) gather(ctx context.Context, lim limit) error {
	if lim.replay {
		return p.gatherInstant(ctx, lim)
	}
	if p.meeting.left > 0 {
		if err := p.endMeeting(ctx); err != nil {
			return err
		}
	}
	room := max(0, p.cfg.Batch-len(p.pending))
	share := room
	due := p.timersDue(lim) && !p.timersPending()
	if due {
		share = room - room/2
	}
	taken, err := p.gatherShared(ctx, lim, share)
	if err != nil {
		return err
	}
	if due {
		return p.gatherTimers(ctx, lim, room-taken)
	}
	return nil
}

// gatherShared takes from the control lane while it has something, up to three quarters of the room, and then from
// everything else in turn, so that nothing that comes in masses keeps out what comes one by one.
func (p *partition) gatherShared(ctx context.Context, lim limit, room int) (int, error) {
	classes := p.classes()
	taken, err := p.gatherClass(ctx, classes[0], lim, room-room/4)
	if err != nil {
		return taken, err
	}
	doors := []func() (bool, error){p.takeResult, p.takeRequest, p.takeLook}
	for _, r := range classes[1] {
		doors = append(doors, func() (bool, error) { return p.takeOne(r, lim) })
	}
	n, err := p.takeTurns(doors, room-taken)
	taken += n
	for c := 0; c <= bulkClass && err == nil && taken < room; c += bulkClass {
		if c == bulkClass && p.holdBulk(ctx) {
			break
		}
		n, err = p.gatherClass(ctx, classes[c], lim, room-taken)
		taken += n
	}
	return taken, err
}

// takeTurns takes one item from each door in turn. The next batch begins with another one, so that a batch of few
// items leaves none out.
func (p *partition) takeTurns(doors []func() (bool, error), room int) (int, error) {
	p.turn++
	taken := 0
	for empty := 0; empty < len(doors) && taken < room; p.turn++ {
		ok, err := doors[p.turn%len(doors)]()
		if err != nil {
			return taken, err
		}
		empty++
		if ok {
			empty = 0
			taken++
		}
	}
	return taken, nil
}

func (p *partition) takeResult() (bool, error) { return p.gatherResults(1) > 0, nil }

func (p *partition) takeRequest() (bool, error) { return p.gatherRequests(1) > 0, nil }

// takeLook takes a row that is to be looked at because of the takeover.
func (p *partition) takeLook() (bool, error) {
	if len(p.looks) == 0 {
		return false, nil
	}
	in := timer(p.looks[0])
	in.look = true
	p.looks = p.looks[1:]
	p.pending = append(p.pending, item{input: in})
	return true, nil
}

// missCalls lets every row that has a wake-up be looked at once after a takeover: the calls that were under way are
// lost with their owner, and nothing else would notice before the wake-up. What is due is looked at anyway.
func (p *partition) missCalls(ctx context.Context) error {
	p.looks = nil
	if p.ports.Caller == nil {
		return nil
	}
	dues, err := p.ports.Store.Due(ctx, p.shard, farFuture(), math.MaxInt32)
	if err != nil {
		return fmt.Errorf("find what waits for calls: %w", err)
	}
	now := latest(p.lastNow, p.reference.Time())
	p.looks = slices.DeleteFunc(dues, func(d state.Due) bool { return !d.At.After(now) })
	return nil
}

// gatherInstant is gather under the replay clock. Within an instant the doors have a strict order, and
// each is emptied before the next, so that facts do not depend on where batches end or on which call was
// faster: results that were waiting, log inputs, timers, and then the results of all calls together.
func (p *partition) gatherInstant(ctx context.Context, lim limit) error {
	p.looks = nil // begin has looked
	// Letters of one instant may be more than a batch, and after an error they are all still pending.
	room := max(0, p.cfg.Batch-len(p.pending))
	room -= p.gatherRequests(room)
	if !p.inRound {
		if _, err := p.gatherReaders(ctx, lim, room); err != nil {
			return err
		}
		if len(p.pending) == 0 && p.timersDue(lim) {
			if err := p.gatherTimers(ctx, lim, room); err != nil {
				return err
			}
		}
		p.inRound = len(p.pending) == 0 && len(p.round) > 0
	}
	for n := 0; p.inRound && n < room && len(p.round) > 0; n++ {
		in := p.round[0]
		p.round = p.round[1:]
		p.pending = append(p.pending, item{input: &in})
	}
	p.inRound = p.inRound && len(p.round) > 0
	return nil
}

// newRound sets the results of all calls apart, in the order of their ids, for the stage's next phase. It
// says whether there are any.
func (p *partition) newRound() bool {
	d := &p.doors
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.SortStableFunc(d.results, func(a, b Input) int { return cmp.Compare(a.ID, b.ID) })
	p.round = append(p.round, d.results...)
	d.results = nil
	return len(p.round) > 0
}

func (p *partition) gatherResults(room int) int {
	d := &p.doors
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(room, len(d.results))
	for _, in := range d.results[:n] {
		p.pending = append(p.pending, item{input: &in})
	}
	d.results = d.results[n:]
	return n
}

func (p *partition) gatherRequests(room int) int {
	d := &p.doors
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(room, len(d.requests))
	for _, r := range d.requests[:n] {
		in := r.in
		in.Request = call{body: in.Request, to: r}
		p.pending = append(p.pending, item{input: &in})
	}
	d.requests = d.requests[n:]
	return n
}

// call is an RPC's request with the way back to its caller.
type call struct {
	body any
	to   *request
}

// gatherReaders takes, under the replay clock, from the control lane, then from the others, then from the bulk lane.
func (p *partition) gatherReaders(ctx context.Context, lim limit, room int) (int, error) {
	taken := 0
	for _, class := range p.classes() {
		n, err := p.gatherClass(ctx, class, lim, room-taken)
		taken += n
		if err != nil || taken >= room {
			return taken, err
		}
	}
	return taken, nil
}

// gatherClass takes one item from each reader in turn; under the replay clock all of one reader before
// the next, so that the order does not depend on the size of a batch.
func (p *partition) gatherClass(ctx context.Context, class []*reader, lim limit, room int) (int, error) {
	taken := 0
	for more := true; more; {
		more = false
		for _, r := range class {
			if lim.replay && r.source == FromBox {
				if err := p.gatherLetters(ctx, r, lim); err != nil {
					return taken, err
				}
				continue
			}
			for taken < room {
				ok, err := p.takeOne(r, lim)
				if err != nil {
					return taken, err
				}
				if !ok {
					break
				}
				taken++
				if !lim.replay {
					more = true
					break
				}
			}
		}
	}
	return taken, nil
}

// bulkClass is the index of the bulk lane in classes.
const bulkClass = 2

// classes orders the readers: control; then all others; then bulk.
func (p *partition) classes() [3][]*reader {
	var c [3][]*reader
	for _, r := range p.readers {
		switch r.lane {
		case log.LaneControl:
			c[0] = append(c[0], r)
		case log.LaneBulk:
			c[bulkClass] = append(c[bulkClass], r)
		default:
			c[1] = append(c[1], r)
		}
	}
	return c
}

func (p *partition) takeOne(r *reader, lim limit) (bool, error) {
	it, err := r.peek()
	if err != nil || it == nil {
		return false, err
	}
	if lim.replay && !lim.released(it) {
		return false, nil
	}
	r.take()
	if r.lane == log.LaneBulk {
		p.bulk.note(it.pos.Sequence)
	}
	p.pending = append(p.pending, *it)
	if lim.replay && p.resumed.over(it) {
		p.pending[len(p.pending)-1].input = nil
	}
	return true, nil
}

// timersPending says whether timers that are due were gathered and not yet decided: after an error the index
// would give the same ones again.
func (p *partition) timersPending() bool {
	return slices.ContainsFunc(p.pending, func(it item) bool { return it.input != nil && it.input.Source == FromTimer })
}

func (p *partition) timersDue(lim limit) bool {
	return !p.earliest.IsZero() && !p.earliest.After(p.now(lim))
}

func (p *partition) gatherTimers(ctx context.Context, lim limit, room int) error {
	now := p.now(lim)
	dues, err := p.ports.Store.Due(ctx, p.shard, now, max(room, 1))
	if err != nil {
		return err
	}
	for _, d := range dues {
		in := timer(d)
		p.pending = append(p.pending, item{input: in})
	}
	if len(dues) > 0 {
		return nil
	}
	// The entry that was awaited is gone: its row was changed, or the store lost it with everything else.
	if err := p.recover(ctx); err != nil {
		return err
	}
	return p.findEarliest(ctx)
}

// timer is the input that a due entry of the index leads to.
func timer(d state.Due) *Input {
	return &Input{Source: FromTimer, Name: timerInput, Key: d.Key, At: d.At, entry: d.At}
}

// findEarliest reads the timer index's first entry.
func (p *partition) findEarliest(ctx context.Context) error {
	dues, err := p.ports.Store.Due(ctx, p.shard, farFuture(), 1)
	if err != nil {
		return err
	}
	p.earliest = time.Time{}
	if len(dues) > 0 {
		p.earliest = dues[0].At
	}
	return nil
}

// noteWake keeps the earliest wake-up in mind without asking the store.
func (p *partition) noteWake(writes []state.Write) {
	for _, w := range writes {
		if w.Wake.IsZero() || w.Value == nil {
			continue
		}
		if p.earliest.IsZero() || w.Wake.Before(p.earliest) {
			p.earliest = w.Wake
		}
	}
}

func farFuture() time.Time { return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) }

// decideAt is the time at which a batch is decided, proven right.
func (p *partition) decideAt(lim limit) (time.Time, error) {
	if lim.replay {
		return p.now(lim), nil
	}
	t, err := p.reference.Now()
	if err != nil {
		return time.Time{}, fault.As(fault.Unavailable, err)
	}
	return latest(p.lastNow, t), nil
}

// now is the best that is known of the time that a batch decided under lim would have.
func (p *partition) now(lim limit) time.Time {
	t := lim.now
	if !lim.replay {
		t = p.reference.Time()
	}
	if t.Before(p.lastNow) {
		return p.lastNow
	}
	return t
}
