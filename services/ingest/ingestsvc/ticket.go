package ingestsvc

import (
	"context"
	"fmt"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
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
	// counted says that its arrivals have a place in their flow.
	counted bool

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
