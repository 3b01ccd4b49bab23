package dispatchsvc

import (
	"container/heap"
	"container/list"
	"context"
	"errors"
	"sync"
	"time"

	"refrain.dev/pkg/clock"
)

var (
	// errStopping says that what was waited for is not wanted any more.
	errStopping = errors.New("dispatch is stopping")
	// errLate says that the turn did not come in time.
	errLate = errors.New("the turn would come too late")
)

// What a delivery waits for, as its reasons say it.
const (
	leftAlone = "the provider keeps failing and is left alone"
	logFull   = "no room in the log for the report"
	noRoom    = "no room in the channel"
)

// lookAtLog is how long a full log is left alone before it is looked at again.
const lookAtLog = time.Second

// queue is where deliveries wait for a channel: in the order of asking for their turn, and before these, calls whose
// room was given to others meanwhile. However many wait, one goroutine watches them, and it is there only while one
// waits. It is safe for concurrent use.
type queue struct {
	clock   clock.Clock
	breaker *breaker
	pacer   *pacer // nil: no pacing
	slots   *slots

	mu      sync.Mutex
	turns   list.List // of *waiter, in the order of asking
	calls   list.List // of *waiter, which go first
	known   map[waits]*waiter
	ends    endings
	why     string // what the first one waits for
	running bool
	came    chan struct{} // signalled when something changes that the loop looks at
}

// waits names who waits for what. Who asks again keeps its place, and the one who asked before is told to stop.
type waits struct {
	key  string
	call bool
}

// waiter is one delivery that waits.
type waiter struct {
	waits

	until  time.Duration // by Elapsed; clock.Forever: no limit
	wanted func() bool   // nil: always
	// unleased says that room is taken with the call only.
	unleased bool
	log      func(ctx context.Context) error // whether the log has room; nil: not asked
	// then is told, once and outside of all locks, how the wait ended: nil, and room is leased, or held for a call;
	// errLate with what was in the way; errStopping if it is not wanted any more.
	then func(err error, why string)

	place *list.Element
	end   int // in the heap
}

func newQueue(b *breaker, p *pacer, s *slots, c clock.Clock) *queue {
	return &queue{clock: c, breaker: b, pacer: p, slots: s, known: map[waits]*waiter{}, came: make(chan struct{}, 1)}
}

// enter lets w wait, without waiting itself. The context is that of the service: with it waiting for a turn ends.
func (q *queue) enter(ctx context.Context, w *waiter) {
	q.mu.Lock()
	old := q.known[w.waits]
	switch {
	case old != nil:
		w.place = old.place
		w.place.Value = w
		heap.Remove(&q.ends, old.end)
	case w.call:
		w.place = q.calls.PushBack(w)
	default:
		w.place = q.turns.PushBack(w)
	}
	q.known[w.waits] = w
	heap.Push(&q.ends, w)
	start := !q.running
	q.running = true
	q.mu.Unlock()
	if old != nil {
		old.then(errStopping, "")
	}
	if start {
		q.clock.Go(func() { q.run(ctx) })
		return
	}
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.came <- struct{}{}:
	default:
	}
}

// run gives turns as long as something waits.
func (q *queue) run(ctx context.Context) {
	for {
		if w, why, err := q.over(ctx); w != nil {
			w.then(err, why)
			continue
		}
		w := q.first()
		if w == nil {
			return
		}
		if w.wanted != nil && !w.wanted() {
			q.leave(w, errStopping)
			continue
		}
		b := q.blocked(ctx, w)
		if b.wait == 0 {
			q.leave(w, nil)
			continue
		}
		q.pause(ctx, b)
	}
}

// over takes out one that does not wait any longer: its time is over, or the service ends and it has not begun.
func (q *queue) over(ctx context.Context) (w *waiter, why string, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if first := front(&q.turns); first != nil && ctx.Err() != nil {
		w, err = first, errStopping
	} else if len(q.ends) > 0 && q.ends[0].left(q.clock.Elapsed()) == 0 {
		w, err, why = q.ends[0], errLate, q.why
	}
	if w != nil {
		q.remove(w)
	}
	return w, why, err
}

// first is who is next. With nobody the loop is over.
func (q *queue) first() *waiter {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range []*list.List{&q.calls, &q.turns} {
		if w := front(l); w != nil {
			return w
		}
	}
	q.running = false
	return nil
}

// front is the first of a list; nil if it is empty.
func front(l *list.List) *waiter {
	e := l.Front()
	if e == nil {
		return nil
	}
	w, _ := e.Value.(*waiter) // nothing else is put there
	return w
}

// leave ends the wait of one who is next. If it has asked again meanwhile, or was told that its time is over, that
// stands; room that it was given is found again by its key.
func (q *queue) leave(w *waiter, err error) {
	q.mu.Lock()
	here := q.known[w.waits] == w
	if here {
		q.remove(w)
	}
	q.mu.Unlock()
	if here {
		w.then(err, "")
	}
}

func (q *queue) remove(w *waiter) {
	l := &q.turns
	if w.call {
		l = &q.calls
	}
	l.Remove(w.place)
	heap.Remove(&q.ends, w.end)
	delete(q.known, w.waits)
}

// block is what keeps the first one from its turn: nothing with a wait of 0.
type block struct {
	wait time.Duration
	free <-chan struct{}
	why  string
}

// blocked says what stands in w's way; with nothing the turn and room are taken.
func (q *queue) blocked(ctx context.Context, w *waiter) block {
	if w.call {
		if wait, free := q.slots.try(w.key); free != nil {
			return block{max(wait, 1), free, noRoom}
		}
		q.slots.hold(w.key)
		return block{}
	}
	if wait := q.breaker.remaining(); wait > 0 {
		return block{wait, nil, leftAlone}
	}
	if q.pacer != nil {
		if wait := q.pacer.left(); wait > 0 {
			return block{wait, nil, noRoom}
		}
	}
	if w.log != nil && w.log(ctx) != nil {
		return block{lookAtLog, nil, logFull}
	}
	if !w.unleased {
		if wait, free := q.slots.try(w.key); free != nil {
			return block{max(wait, 1), free, noRoom}
		}
	}
	if q.pacer != nil {
		q.pacer.take()
	}
	return block{}
}

// pause waits until something may have changed.
func (q *queue) pause(ctx context.Context, b block) {
	q.mu.Lock()
	q.why = b.why
	wait := b.wait
	if len(q.ends) > 0 {
		wait = min(wait, q.ends[0].left(q.clock.Elapsed()))
	}
	q.mu.Unlock()
	if ctx.Err() != nil { // calls go on
		ctx = context.WithoutCancel(ctx)
	}
	_, _ = q.clock.Wait(ctx, wait, b.free, q.came) // the end of ctx is looked at by run
}

// waiting says how many wait.
func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ends)
}

// left is how long w goes on waiting.
func (w *waiter) left(now time.Duration) time.Duration {
	if w.until == clock.Forever {
		return time.Hour // it is looked at again then
	}
	return max(w.until-now, 0)
}

// endings orders waiters by when their time is over.
type endings []*waiter //nolint:recvcheck // as heap.Interface wants it

// Len implements heap.Interface.
func (e endings) Len() int { return len(e) }

// Less implements heap.Interface.
func (e endings) Less(i, j int) bool {
	if e[i].until == clock.Forever || e[j].until == clock.Forever {
		return e[j].until == clock.Forever && e[i].until != clock.Forever
	}
	return e[i].until < e[j].until
}

// Swap implements heap.Interface.
func (e endings) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].end, e[j].end = i, j
}

// Push implements heap.Interface.
func (e *endings) Push(x any) {
	w, _ := x.(*waiter) // nothing else is put there
	w.end = len(*e)
	*e = append(*e, w)
}

// Pop implements heap.Interface.
func (e *endings) Pop() any {
	old := *e
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*e = old[:len(old)-1]
	return w
}
