package stage

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// partition is one stage's share of one partition while this process owns it. One goroutine at a time
// steps it; the doors (RPCs, results of calls) are open to all.
type partition struct {
	*Stage

	number    int
	shard     state.Shard
	chain     *log.Chain
	chainName string

	// Known from the chain; what is decided next builds on them.
	last      uint64 // sequence of the chain's last record
	lastNow   time.Time
	resumed   turn   // where this process took a replay up
	lastRound uint32 // the round of the chain's last record
	epoch     uint64
	applied   uint64 // sequence up to which the store follows
	covers    map[string]state.Position
	origins   map[string]uint64
	senders   map[string]state.Position
	revision  string
	order     uint64 // of the revision, among all that were applied
	refused   string // the revision that did not compile, if the last one did not
	torn      bool   // an append's fate is not known: nothing else may be appended, the next owner finds out
	told      string // the revision of the chain's last record: a new one travels on even without facts

	readers []*reader
	shared  *sharedFeeds
	pending []item      // gathered and not yet decided
	meeting meeting     // of letters, decided in part
	looks   []state.Due // rows that are to be looked at after the takeover
	round   []Input     // results that the replay clock takes together
	inRound bool        // and has begun to take
	relay   *relay

	losses int // of an input, in a row: it was opened again

	careful  careful
	attempt  attempt       // that is under way
	suspects []attempt     // under which processes have ended, the oldest first
	unclean  uint32        // how many owners in a row, before this one, have ended uncleanly
	openedAt time.Duration // when this process took over

	trial    trial
	bulk     bulk
	turn     int // of the doors
	halted   bool
	tailSeen time.Duration // when the chain was last seen to be whole
	waiting  atomic.Int64  // when the oldest input at hand was stored, in unix nanoseconds; 0 while there is none

	earliest time.Time // of the timer index; zero if nothing is scheduled

	doors doors
}

// doors are where other goroutines leave inputs for a partition.
type doors struct {
	mu       sync.Mutex
	requests []*request
	asked    map[asked]*request // those that have no answer yet
	results  []Input
	calls    int // under way
	closed   bool
	wake     chan struct{}
	notify   func() // told beside wake; may be nil
}

func (d *doors) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
	if d.notify != nil {
		d.notify()
	}
}

func (s *Stage) newPartition(number int) *partition {
	name := log.Subject(s.cfg.Spec.Chain, number)
	return &partition{
		Stage:     s,
		number:    number,
		shard:     state.Shard{Stage: s.cfg.Spec.Name, Partition: number},
		chain:     log.OpenChain(s.ports.Broker, name, s.ports.Clock),
		chainName: name,
		relay:     newRelay(name, s.ports),
		doors:     doors{wake: make(chan struct{}, 1), notify: s.notify, asked: map[asked]*request{}},
	}
}

// limit says how far a step may go.
type limit struct {
	// replay is set under the replay clock: only what was released at or before now is taken.
	replay bool
	now    time.Time
	// round counts, from 1, how often the stages have had their turn in the instant now.
	round uint32
}

// turn is an instant of the replay clock and a round in it. Wherever a process ended, the next one goes on
// in the same turn, so that every stage sees the same things together.
type turn struct {
	now   time.Time
	round uint32
}

// over says whether an item was decided on before the turn in which a process took a replay up: every turn
// before it had ended. Had anything followed from the item, its cover would be recorded; decided on again, at
// another time, it might lead to something.
func (t turn) over(it *item) bool {
	d := it.decided
	switch it.reader.source {
	case FromAfter: // was taken in the round after
		d.round++
	case FromBefore:
	case FromLane, FromBox, FromRedrive, FromTimer, FromRPC, FromCall:
		return false // a repeat is recognised
	}
	return d.now.Before(t.now) || d.now.Equal(t.now) && d.round < t.round
}

// released says whether an item may be taken in the present round. A stage sees in a round what the stage
// before it decided in the same one, and what came to it from anywhere else in earlier ones.
func (l limit) released(it *item) bool {
	if it.releaseAt.After(l.now) {
		return false
	}
	if it.reader.source == FromBox || it.reader.source == FromAfter {
		return it.decided.now.Before(l.now) || it.decided.round < l.round
	}
	return it.decided.now.Before(l.now) || it.decided.round <= l.round
}

// step does one batch; false if there was nothing to do. After an error nothing of the batch was lost:
// the same step may be taken again, but after errLost and *HaltError.
func (p *partition) step(ctx context.Context, lim limit) (worked bool, err error) {
	if err = p.gather(ctx, lim); err == nil {
		worked, err = p.stepPending(ctx, lim)
	}
	if errors.Is(err, state.ErrDamaged) {
		// The error goes on: somebody who keeps writing there must not keep us busy.
		return false, errors.Join(err, p.remake(ctx, err))
	}
	return worked, err
}

// stepPending decides and records what is gathered.
func (p *partition) stepPending(ctx context.Context, lim limit) (bool, error) {
	if p.applied != p.last { // a repair was cut off: nothing may be decided on states that lack a record
		if err := p.recover(ctx); err != nil {
			return false, err
		}
	}
	p.forgetGone()
	if len(p.pending) == 0 {
		p.waiting.Store(0)
		return false, nil
	}
	if at := p.pending[0].stored; !at.IsZero() {
		p.waiting.Store(at.UnixNano())
	}
	if err := p.timely(ctx, lim); err != nil {
		return false, err
	}
	if it := &p.pending[0]; p.brings(it) {
		if err := p.prepare(ctx, it.revision, it.order); err != nil {
			return false, err
		}
	}
	if p.careful.any() {
		if err := p.announce(ctx); err != nil {
			return false, err
		}
	}
	b, err := p.decideReady(ctx, lim)
	if err != nil {
		return false, err
	}
	if err := p.commit(ctx, b); err != nil {
		return false, err
	}
	return true, nil
}

// commit appends what b holds, if it has to be appended, and lets it take effect.
func (p *partition) commit(ctx context.Context, b *batch) error {
	var behind error // of the store; the record stands
	// An announced attempt ends with a record whatever came of it: the next owner would count it as failed.
	if b.worthARecord() || p.attempt.here && b.inputs > 0 {
		recorded, err := p.write(ctx, b)
		if !recorded {
			return err
		}
		behind = err
	} else {
		if len(b.replies) > 0 { // only the owner may answer, and no append proves here that this process is it
			if err := p.proveTail(ctx); err != nil {
				return err
			}
		}
		p.adopt(b)
	}
	p.losses = 0
	p.decided(p.pending[:b.taken])
	p.pending = append(p.pending[:0], p.pending[b.taken:]...)
	p.metrics.batch(ctx, b)
	b.answer()
	p.ports.Points.At("stage.answered")
	p.startCalls(b.calls)
	if behind != nil {
		return behind
	}
	for _, d := range b.unknown {
		if err := p.ports.Store.Unschedule(ctx, p.shard, d); err != nil {
			return err
		}
	}
	return nil
}

// adopt takes over the covers of a batch, recorded or riding with the next record.
func (p *partition) adopt(b *batch) {
	maps.Copy(p.covers, b.covers)
	maps.Copy(p.origins, b.origins)
	maps.Copy(p.senders, b.senders)
	p.keepMeeting(b)
	for _, r := range p.readers {
		r.cover = p.covers[r.name]
	}
}

// close leaves the inputs, answers who waits, and publishes what calls have found out and nobody recorded.
func (p *partition) close() {
	p.leaveFeeds()
	p.readers, p.pending, p.round = nil, nil, nil
	p.doors.mu.Lock()
	requests, results := p.doors.requests, p.doors.results
	p.doors.closed, p.doors.requests, p.doors.results = true, nil, nil
	p.doors.mu.Unlock()
	for _, r := range requests {
		r.answer(nil, unavailable(p.number))
	}
	for _, in := range results {
		p.orphan(in)
	}
}

func (p *partition) leaveFeeds() {
	if p.shared != nil {
		p.shared.leave()
		p.shared = nil
	}
}
