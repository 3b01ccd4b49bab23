package stage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
)

// Replay is the replay clock: a Clock, a Runner and the driver behind them. It releases one instant after
// another to all stages; all inputs of an instant run, stage by stage, until the mesh is quiet. So facts
// depend neither on the number of partitions nor on the size of batches.
//
// Events drive it: an event's arrival moves the horizon to its time, and every instant before the horizon
// may be released. The horizon itself waits for Advance, since more events of that instant may come; Advance
// also lets the clock run on past it. Switch ends it for good.
type Replay struct {
	clock.Wall // everything but Now: waits and time-outs are real

	tracker *tracker
	count   int

	mu       sync.Mutex
	stages   []*Stage
	now      time.Time
	newest   time.Time // the greatest event time that has arrived
	bound    time.Time // set by Advance: released inclusively
	open     map[int]time.Time
	nextOpen int
	instants uint64
	wall     bool
	atWork   atWork

	// Of the driver alone: the round of the present instant, and whether it was taken up after a restart.
	round   uint32
	resumed bool

	wake     chan struct{}
	switched chan struct{}
	idle     chan struct{} // closed when the driver has returned
}

// idleTick is how often the driver looks for what other processes have published.
const idleTick = 20 * time.Millisecond

// NewReplay makes the replay clock of a mesh with that many stages, over its broker. It continues where
// the log stands. Stages and ingest must use Broker() instead of the one given.
func NewReplay(ctx context.Context, broker log.Broker, gen log.Generation, stages int) (*Replay, error) {
	r := &Replay{
		count: stages, open: map[int]time.Time{}, wake: make(chan struct{}, 1),
		switched: make(chan struct{}), idle: make(chan struct{}), atWork: atWork{rest: make(chan struct{})},
	}
	r.tracker = &tracker{Broker: broker, last: map[string]uint64{}, signal: r.signal}
	for p := range gen.Partitions {
		for _, lane := range log.Lanes() {
			subject := log.Subject(log.Lane(lane), p)
			msg, err := broker.Last(ctx, subject)
			if errors.Is(err, log.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("find the replay clock's horizon: %w", err)
			}
			arrivals := &stagev1.Arrivals{}
			if err := arrivals.UnmarshalVT(msg.Data); err != nil {
				continue // the profile stage will put it into the dead letters
			}
			for _, a := range arrivals.GetItems() {
				r.newest = latest(r.newest, asTime(a.GetReceivedAt()))
			}
		}
	}
	return r, nil
}

// Broker is the broker to use under the replay clock: it notes what is stored, so that the driver knows
// when everything has been read.
func (r *Replay) Broker() log.Broker { return r.tracker }

// Now implements clock.Clock.
func (r *Replay) Now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wall {
		return time.Now()
	}
	return r.now
}

// Released implements clock.Released: until the replay ends, Now is the instant that is released.
func (r *Replay) Released() bool { return !r.Skew() }

// Advance lets the clock run to an instant computed from the greatest of the clock, the horizon and the bound before.
// That instant itself alone lets everything that was published be applied. It does not wait: Await does.
func (r *Replay) Advance(to func(from time.Time) time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bound = latest(r.bound, to(latest(r.now, latest(r.newest, r.bound))))
	r.signal()
	return r.bound
}

// Arrive stamps events on their arrival: the time of arrival is the greatest event time so far. done must
// be called when they are stored, or are known not to be.
func (r *Replay) Arrive(at []time.Time) (receivedAt []time.Time, done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	receivedAt = make([]time.Time, len(at))
	if r.wall {
		now := time.Now()
		for n := range at {
			receivedAt[n] = now
		}
		return receivedAt, func() {}
	}
	for n, t := range at {
		r.newest = latest(r.newest, t)
		receivedAt[n] = r.newest
	}
	if len(at) == 0 {
		return receivedAt, func() {}
	}
	id := r.nextOpen
	r.nextOpen++
	r.open[id] = receivedAt[0]
	r.signal()
	return receivedAt, func() {
		r.mu.Lock()
		delete(r.open, id)
		r.mu.Unlock()
		r.signal()
	}
}

// Skew says whether publishers' clocks are to be corrected: under the replay clock times are taken as they are.
func (r *Replay) Skew() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wall
}

// Switch ends the replay clock, one way: the stages go on, freely, on the wall clock. It returns the
// instant at which it ended. Whoever calls it has recorded the decision before.
func (r *Replay) Switch() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.wall {
		r.wall = true
		close(r.switched)
		r.atWork.end()
	}
	return r.now
}

// signal says that there may be something to do: until the driver has looked, nothing is settled.
func (r *Replay) signal() {
	r.atWork.asked.Add(1)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run implements Runner.
func (r *Replay) Run(ctx context.Context, s *Stage) error {
	s.notify = r.signal
	if err := s.start(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	r.mu.Lock()
	r.stages = append(r.stages, s)
	r.mu.Unlock()
	r.signal()
	select {
	case <-ctx.Done():
		<-r.idle
		return s.stop(ctx, limit{replay: true, now: r.Now(), round: r.round})
	case <-r.switched:
		<-r.idle
		return newTenancy(s).run(ctx)
	}
}

// Drive releases instants until the context ends or the clock is switched. It must run beside the stages.
func (r *Replay) Drive(ctx context.Context) error {
	defer close(r.idle)
	if err := r.begin(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(idleTick)
	defer tick.Stop()
	for {
		asked := r.atWork.asked.Load()
		if err := r.settle(ctx); err != nil {
			return unlessEnded(ctx, err)
		}
		if r.release(asked) {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.switched:
			return nil
		case <-r.wake:
		case <-tick.C:
		}
	}
}

// begin waits for all stages and continues at the greatest time of their chains.
func (r *Replay) begin(ctx context.Context) error {
	for {
		r.mu.Lock()
		ready := len(r.stages) == r.count
		r.mu.Unlock()
		if ready {
			break
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return nil
		}
	}
	r.inOrder()
	r.round, r.resumed = 1, true
	for _, s := range r.stages {
		for _, p := range s.owned() {
			r.resume(turn{p.lastNow, p.lastRound})
			if _, err := p.flushPatiently(ctx, r.waits(p)); err != nil {
				return err
			}
			for _, rd := range p.readers {
				msg, err := r.tracker.Last(ctx, rd.subject)
				if err != nil && !errors.Is(err, log.ErrNotFound) {
					return fmt.Errorf("find the end of %s: %w", rd.subject, err)
				}
				r.tracker.note(rd.subject, msg.Sequence)
			}
			if err := p.missCallsNow(ctx); err != nil {
				return err
			}
		}
	}
	for _, s := range r.stages {
		for _, p := range s.owned() {
			p.resumed = turn{r.Now(), r.round}
		}
	}
	return nil
}

// missCallsNow is missCalls under the replay clock, after an unclean end: the rows are looked at when results of calls
// are due, since no time passes in which that could be noticed.
func (p *partition) missCallsNow(ctx context.Context) error {
	if !p.careful.any() || p.ports.Caller == nil {
		return nil
	}
	dues, err := p.ports.Store.Due(ctx, p.shard, farFuture(), math.MaxInt32)
	if err != nil {
		return fmt.Errorf("find what waits for calls: %w", err)
	}
	for _, d := range dues {
		in := timer(d)
		in.look = true
		p.round = append(p.round, *in)
	}
	return nil
}

// resume takes a turn up if it is the latest of all chains.
func (r *Replay) resume(t turn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case t.now.After(r.now):
		r.now, r.round = t.now, max(t.round, 1)
	case t.now.Equal(r.now):
		r.round = max(r.round, t.round)
	}
}

// inOrder sorts the stages as an event passes them.
func (r *Replay) inOrder() {
	r.mu.Lock()
	defer r.mu.Unlock()
	var sorted []*Stage
	for _, spec := range log.Stages() {
		for _, s := range r.stages {
			if s.Name() == spec.Name {
				sorted = append(sorted, s)
			}
		}
	}
	r.stages = sorted
}

// release moves the clock to the next instant if there is one that may be released. All that was asked for before the
// present instant came to rest is done then.
func (r *Replay) release(asked uint64) bool {
	next := r.nextInstant()
	r.mu.Lock()
	defer r.mu.Unlock()
	if next.IsZero() || !r.mayRelease(next) {
		r.atWork.end()
		r.atWork.done, r.atWork.next = asked, next
		return false
	}
	r.atWork.begin()
	if next.After(r.now) {
		r.now, r.round = next, 1
	}
	r.instants++
	return true
}

// mayRelease: everything before the horizon has arrived, unless it is still being stored; the horizon
// itself and what lies behind it only if somebody advanced the clock.
func (r *Replay) mayRelease(t time.Time) bool {
	for _, low := range r.open {
		if !t.Before(low) {
			return false
		}
	}
	return t.Before(r.newest) || !t.After(r.bound)
}

// nextInstant is the earliest of the next event's arrival and the next due timer; zero if there is none.
func (r *Replay) nextInstant() time.Time {
	var next time.Time
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, s := range r.stages {
		for _, p := range s.owned() {
			earlier(p.earliest)
			for _, rd := range p.readers {
				if it, err := rd.peek(); err == nil && it != nil {
					earlier(it.releaseAt)
				}
			}
		}
	}
	return next
}

// settle runs everything of the present instant, round by round, until the mesh is quiet. The round that
// is taken up after a restart is ended first, and its results belong to the next one.
func (r *Replay) settle(ctx context.Context) error {
	for ; ; r.round++ {
		lim := limit{replay: true, now: r.Now(), round: r.round}
		progress := r.resumed
		r.resumed = false
		for _, s := range r.stages {
			worked, err := r.phase(ctx, s, lim)
			if err != nil {
				return err
			}
			progress = progress || worked
		}
		if !progress {
			return nil
		}
	}
}

// phase runs one stage: what has arrived, then its letters, then its calls.
func (r *Replay) phase(ctx context.Context, s *Stage, lim limit) (bool, error) {
	progress := false
	for _, p := range s.owned() {
		r.work(p, "")
		if err := r.arrived(ctx, p); err != nil {
			return progress, err
		}
		for {
			worked, err := p.stepPatiently(ctx, lim, r.waits(p))
			if err != nil {
				return progress, err
			}
			if !worked {
				break
			}
			progress = true
		}
	}
	for _, p := range s.owned() {
		sent, err := p.flushPatiently(ctx, r.waits(p))
		if err != nil {
			return progress, err
		}
		called, err := r.awaitCalls(ctx, p)
		if err != nil {
			return progress, err
		}
		progress = progress || sent || called
	}
	return progress, nil
}

// arrived waits until the partition's readers have everything that is known to be stored.
func (r *Replay) arrived(ctx context.Context, p *partition) error {
	for _, rd := range p.readers {
		stored := r.tracker.stored(rd.subject)
		for {
			it, err := rd.peek()
			if err != nil {
				return err
			}
			if it != nil || rd.arrived(stored) {
				break
			}
			r.work(p, fmt.Sprintf("waits for message %d of %s", stored, rd.subject))
			select {
			case <-rd.tail.Wake():
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// stepPatiently is step, with everything waited out that passes; waits is told what for.
func (p *partition) stepPatiently(ctx context.Context, lim limit, waits func(error)) (bool, error) {
	back := p.backoff()
	for {
		worked, err := p.step(ctx, lim)
		if err == nil {
			return worked, nil
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		waits(err)
		if _, halted := errors.AsType[*HaltError](err); halted || p.mend(ctx, err, &back) {
			return false, err
		}
	}
}

func (p *partition) flushPatiently(ctx context.Context, waits func(error)) (bool, error) {
	back := p.backoff()
	for {
		sent, err := p.relay.flush(ctx)
		if err == nil {
			return sent, nil
		}
		waits(err)
		if err := back.wait(ctx, err); err != nil {
			return sent, err
		}
	}
}

// awaitCalls waits until no call is under way; true if results wait to be recorded in the next phase.
func (r *Replay) awaitCalls(ctx context.Context, p *partition) (bool, error) {
	for {
		calls, _ := p.inFlight()
		if calls == 0 {
			return p.newRound(), nil
		}
		r.work(p, fmt.Sprintf("%d calls are under way", calls))
		select {
		case <-p.doors.wake:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

var (
	_ Runner         = (*Replay)(nil)
	_ clock.Clock    = (*Replay)(nil)
	_ clock.Released = (*Replay)(nil)
)
