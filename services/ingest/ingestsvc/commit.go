package ingestsvc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/failpoint"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
	"refrain.dev/services/ingest/ingestsvc/overload"
)

// committer stores tickets: at most one append is open per lane and partition; whatever comes meanwhile
// shares the next one. There is no linger: an idle lane stores at once.
type committer struct {
	store   store
	within  time.Duration
	clock   clock.Clock
	times   *timekeeper
	streams *streams
	points  failpoint.Points
	metrics *metrics
	flows   *flows
	open    *clock.Group

	mu      sync.Mutex
	waiting map[address]*line // an entry exists while an append is open
	usual   time.Duration     // how long appends have taken of late
	closed  bool
}

// line is what waits for an address while an append is open.
type line struct {
	tickets      []*ticket
	items, bytes int
	since        time.Duration // when the open append began
}

func newCommitter(cfg Config, deps run.Deps, m *metrics) *committer {
	return &committer{
		store: deps.Broker, within: cfg.StoreWithin.Std(), clock: deps.Clock, points: deps.Points, metrics: m, times: newTimekeeper(deps),
		streams: newStreams(deps.Generation, deps.HaltedOf("ingest"), deps.Logger),
		open:    clock.NewGroup(deps.Clock, 0), waiting: map[address]*line{},
	}
}

// submit queues tickets in order and calls done, once, when all are resolved. After wait it refuses them.
func (c *committer) submit(tickets []*ticket, done func()) {
	if len(tickets) == 0 {
		done()
		return
	}
	var left atomic.Int64
	left.Store(int64(len(tickets)))
	after := func() {
		if left.Add(-1) == 0 {
			done()
		}
	}
	for _, t := range tickets {
		t.after = after
	}
	if !c.queue(tickets) {
		for _, t := range tickets {
			c.settle(t, 0, fault.New(fault.Unavailable, "store events: ingest is stopping"))
		}
	}
}

// queue starts an append for every address that has none open; false means that it is closed.
func (c *committer) queue(tickets []*ticket) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	for _, t := range tickets {
		l := c.waiting[t.to]
		if l == nil {
			l = &line{since: c.clock.Elapsed()}
			c.waiting[t.to] = l
			c.open.Go(func() error { c.drain(t.to); return nil })
		}
		l.tickets = append(l.tickets, t)
		l.items, l.bytes = l.items+len(t.arrivals), l.bytes+t.bytes
	}
	return true
}

// drain appends until nothing waits for the address.
func (c *committer) drain(to address) {
	for {
		batch := c.next(to)
		if len(batch) == 0 {
			return
		}
		c.append(to, batch)
	}
}

// next takes the tickets that fit into one message off the queue; none closes the queue.
func (c *committer) next(to address) []*ticket {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.waiting[to]
	if len(l.tickets) == 0 {
		delete(c.waiting, to)
		return nil
	}
	count, size, n := 0, 0, 0
	for n < len(l.tickets) {
		t := l.tickets[n]
		if n > 0 && (count+len(t.arrivals) > maxArrivals || size+t.bytes > maxArrivalBytes) {
			break
		}
		count, size = count+len(t.arrivals), size+t.bytes
		n++
	}
	batch := l.tickets[:n:n]
	l.tickets, l.items, l.bytes, l.since = l.tickets[n:], l.items-count, l.bytes-size, c.clock.Elapsed()
	return batch
}

// delay is how long something has to wait that is submitted now: as long again as the append that is open has
// taken by now, and for full messages that wait already. To share the next message costs nobody anything. An address that is idle has no delay, so that somebody finds out when a log
// that was slow is fast again.
func (c *committer) delay(to address) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.waiting[to]
	if l == nil {
		return 0
	}
	open := c.clock.Elapsed() - l.since
	ahead := max(l.items/maxArrivals, l.bytes/maxArrivalBytes)
	return open + time.Duration(ahead)*max(c.usual, open)
}

// took notes how long an append took.
func (c *committer) took(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.usual += (d - c.usual) / 4
}

// append stores a batch in one message and resolves its tickets. It does not belong to any one request,
// so no request's end cuts it off.
func (c *committer) append(to address, batch []*ticket) {
	ctx, cancel := c.clock.Within(context.Background(), c.within)
	defer cancel()
	all := &stagev1.Arrivals{}
	for _, t := range batch {
		all.Items = append(all.Items, t.arrivals...)
	}
	began := c.clock.Elapsed()
	sequence, err := c.publish(ctx, to, all)
	took := c.clock.Elapsed() - began
	c.took(took)
	c.metrics.appended(ctx, to.lane, len(all.GetItems()), took, err)
	if err == nil {
		c.points.At("ingest.stored")
	}
	for _, t := range batch {
		c.settle(t, sequence, err)
	}
	c.points.At("ingest.answered")
}

// settle tells everybody what became of a ticket.
func (c *committer) settle(t *ticket, sequence uint64, err error) {
	if t.counted {
		c.flows.settle(t.to, len(t.arrivals), sequence, err)
	}
	t.resolve(sequence, err)
}

func (c *committer) publish(ctx context.Context, to address, all *stagev1.Arrivals) (uint64, error) {
	data, err := all.MarshalVT()
	if err != nil {
		return 0, fmt.Errorf("encode arrivals: %w", err)
	}
	if why := c.streams.why(to.subject()); why != nil {
		return 0, why
	}
	mark, before := c.times.reference.Mark(), c.streams.before(to.subject())
	sequence, err := c.store.Publish(ctx, to.subject(), data)
	if err == nil && c.times.reference.Due() {
		c.times.read(ctx, mark, to.subject(), sequence)
	}
	if errors.Is(err, log.ErrFull) {
		full := &overload.RefusedError{Reason: overload.StreamFull, Why: "the stream of " + to.subject() + " is full", After: 10 * time.Second}
		return 0, unavailable(fmt.Errorf("store events: %w: %w", err, full))
	}
	if err != nil {
		return 0, fmt.Errorf("store events: %w", unavailable(err))
	}
	if why := c.streams.stored(ctx, to.subject(), before, sequence); why != nil {
		return 0, why
	}
	return sequence, nil
}

// errGivenBack says that something was not stored because it was not asked for any more.
var errGivenBack = errors.New("given back")

// unavailable makes every failure of the log one that a retry may mend.
func unavailable(err error) error { return fault.As(fault.Unavailable, err) }

// wait takes no more tickets and returns when no append is open and nothing waits, or when ctx has ended.
func (c *committer) wait(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	if err := c.open.Wait(ctx); err != nil {
		return fmt.Errorf("wait for the last append: %w", err)
	}
	return nil
}
