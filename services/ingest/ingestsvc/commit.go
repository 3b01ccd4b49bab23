package ingestsvc

import (
	"context"
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
)

// address is a lane of a partition.
type address struct {
	lane      string
	partition int
}

func (a address) subject() string { return log.Subject(log.Lane(a.lane), a.partition) }

// ticket is the part of one submission that goes into one message.
type ticket struct {
	to       address
	arrivals []*stagev1.Arrival
	bytes    int
	// items are the indexes of the submission's items.
	items []int

	resolved chan struct{}
	sequence uint64
	err      error
	after    func()
}

// overhead is what an arrival adds to its payload, generously.
const overhead = 128

func newTicket(to address) *ticket { return &ticket{to: to, resolved: make(chan struct{})} }

func (t *ticket) fits(payload int) bool {
	return len(t.arrivals) < maxArrivals && t.bytes+payload+overhead <= maxArrivalBytes
}

func (t *ticket) add(index int, a *stagev1.Arrival, payload int) {
	t.arrivals = append(t.arrivals, a)
	t.items = append(t.items, index)
	t.bytes += payload + overhead
}

// wait returns the sequence under which the ticket is stored. If ctx ends first nobody knows.
func (t *ticket) wait(ctx context.Context, c clock.Clock) (uint64, error) {
	if _, err := c.Wait(ctx, clock.Forever, t.resolved); err != nil {
		return 0, fault.As(fault.Unavailable, fmt.Errorf("store events: %w: %w", log.ErrUnknown, context.Cause(ctx)))
	}
	return t.sequence, t.err
}

// resolve tells those who follow the append first, so that whoever has an answer finds it done.
func (t *ticket) resolve(sequence uint64, err error) {
	t.sequence, t.err = sequence, err
	t.after()
	close(t.resolved)
}

// committer stores tickets: at most one append is open per lane and partition; whatever comes meanwhile
// shares the next one. There is no linger: an idle lane stores at once.
type committer struct {
	store   store
	within  time.Duration
	clock   clock.Clock
	points  failpoint.Points
	metrics *metrics
	open    *clock.Group

	mu      sync.Mutex
	waiting map[address][]*ticket // an entry exists while an append is open
	closed  bool
}

func newCommitter(cfg Config, deps run.Deps, m *metrics) *committer {
	return &committer{
		store: deps.Broker, within: cfg.StoreWithin.Std(), clock: deps.Clock, points: deps.Points, metrics: m,
		open: clock.NewGroup(deps.Clock, 0), waiting: map[address][]*ticket{},
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
			t.resolve(0, fault.New(fault.Unavailable, "store events: ingest is stopping"))
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
		queue, busy := c.waiting[t.to]
		c.waiting[t.to] = append(queue, t)
		if !busy {
			c.open.Go(func() error { c.drain(t.to); return nil })
		}
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
	queue := c.waiting[to]
	if len(queue) == 0 {
		delete(c.waiting, to)
		return nil
	}
	count, size, n := 0, 0, 0
	for n < len(queue) {
		count, size = count+len(queue[n].arrivals), size+queue[n].bytes
		if n > 0 && (count > maxArrivals || size > maxArrivalBytes) {
			break
		}
		n++
	}
	c.waiting[to] = queue[n:]
	return queue[:n:n]
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
	c.metrics.appended(ctx, to.lane, len(all.GetItems()), c.clock.Elapsed()-began, err)
	if err == nil {
		c.points.At("ingest.stored")
	}
	for _, t := range batch {
		t.resolve(sequence, err)
	}
	c.points.At("ingest.answered")
}

func (c *committer) publish(ctx context.Context, to address, all *stagev1.Arrivals) (uint64, error) {
	data, err := all.MarshalVT()
	if err != nil {
		return 0, fmt.Errorf("encode arrivals: %w", err)
	}
	sequence, err := c.store.Publish(ctx, to.subject(), data)
	if err != nil {
		return 0, fmt.Errorf("store events: %w", unavailable(err))
	}
	return sequence, nil
}

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
