package simulate

import (
	"bytes"
	"context"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/simulate/schedule"
)

// simBroker is a process's connection to the log.
type simBroker struct{ p *Process }

var _ log.Broker = (*simBroker)(nil)

// Append implements log.Broker.
func (b *simBroker) Append(ctx context.Context, subject string, expect uint64, data []byte) (sequence uint64, err error) {
	if expect == 0 {
		return 0, fault.As(fault.Invalid, log.ErrZeroExpectation)
	}
	w := b.p.world
	o := operation{class: schedule.Log, name: opAppend, on: subject, size: len(data), write: true}
	o.keep = func() { data = bytes.Clone(data) }
	err = b.p.do(ctx, o, func() error {
		at, err := w.log.Append(context.Background(), subject, expect, data)
		if err == nil {
			w.stored(subject, at)
			sequence = at
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return sequence, nil
}

// Publish implements log.Broker.
func (b *simBroker) Publish(ctx context.Context, subject string, data []byte) (sequence uint64, err error) {
	w := b.p.world
	o := operation{class: schedule.Log, name: "publish", on: subject, size: len(data), write: true, doubles: true}
	o.keep = func() { data = bytes.Clone(data) }
	err = b.p.do(ctx, o, func() error {
		at, err := w.log.Publish(context.Background(), subject, data)
		if err == nil {
			w.stored(subject, at)
			if sequence == 0 {
				sequence = at
			}
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return sequence, nil
}

// Last implements log.Broker.
func (b *simBroker) Last(ctx context.Context, subject string) (m log.Message, err error) {
	err = b.p.do(ctx, operation{class: schedule.Log, name: "last", on: subject}, func() (err error) {
		m, err = b.p.world.log.Last(context.Background(), subject)
		return err
	})
	return orNone(m, err)
}

// Get implements log.Broker.
func (b *simBroker) Get(ctx context.Context, subject string, sequence uint64) (m log.Message, err error) {
	err = b.p.do(ctx, operation{class: schedule.Log, name: "get", on: subject}, func() (err error) {
		m, err = b.p.world.log.Get(context.Background(), subject, sequence)
		return err
	})
	return orNone(m, err)
}

// Next implements log.Broker.
func (b *simBroker) Next(ctx context.Context, subject string, after uint64) (m log.Message, err error) {
	err = b.p.do(ctx, operation{class: schedule.Log, name: "next", on: subject}, func() (err error) {
		m, err = b.p.world.log.Next(context.Background(), subject, after)
		return err
	})
	return orNone(m, err)
}

func orNone(m log.Message, err error) (log.Message, error) {
	if err != nil {
		return log.Message{}, err
	}
	return m, nil
}

// Purge implements log.Broker.
func (b *simBroker) Purge(ctx context.Context, subject string, below uint64) error {
	return b.p.do(ctx, operation{class: schedule.Log, name: "purge", on: subject, write: true, doubles: true}, func() error {
		return b.p.world.log.Purge(context.Background(), subject, below)
	})
}

// Usage implements log.Broker.
func (b *simBroker) Usage(ctx context.Context, subject string) (u log.Usage, err error) {
	err = b.p.do(ctx, operation{class: schedule.Log, name: "usage", on: subject}, func() (err error) {
		u, err = b.p.world.log.Usage(context.Background(), subject)
		return err
	})
	return u, err
}

// Feed implements log.Broker.
func (b *simBroker) Feed(ctx context.Context, from map[string]uint64) (log.Feed, error) {
	subject := ""
	for s := range from {
		if subject == "" || s < subject {
			subject = s
		}
	}
	var feed *simFeed
	err := b.p.do(ctx, operation{class: schedule.Log, name: "feed", on: subject, size: len(from)}, func() (err error) {
		feed, err = b.p.feed(from)
		return err
	})
	if err != nil {
		if feed != nil {
			feed.Close()
		}
		return nil, err
	}
	return feed, nil
}
