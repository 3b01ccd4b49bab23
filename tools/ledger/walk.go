package ledger

import (
	"context"
	"fmt"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
)

// Cell is what one record says about one row.
type Cell struct {
	// Key of the row, such as default/c/<hex>.
	Key string
	// Body opened.
	Body *stagev1.CellBody
}

// Walk reads one chain from its genesis to its present end and hands over every record with its cells. It
// checks that the chain is unbroken; broken lists where it is not.
func Walk(ctx context.Context, broker log.Broker, subject string, take func(seq uint64, rec *stagev1.Record, cells []Cell) error) (broken []string, err error) {
	last, err := broker.Last(ctx, subject)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", subject, err)
	}
	feed, err := broker.Feed(ctx, map[string]uint64{subject: 0})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", subject, err)
	}
	defer feed.Close()
	tail := feed.Tail(subject)
	for prev := uint64(0); prev < last.Sequence; {
		msg, err := next(ctx, tail)
		if err != nil {
			return broken, fmt.Errorf("read %s: %w", subject, err)
		}
		rec, cells, err := Open(msg)
		if err != nil {
			return broken, err
		}
		if rec.GetPrev() != prev {
			broken = append(broken, fmt.Sprintf("%s: record %d says it follows %d, but %d is before it", subject, msg.Sequence, rec.GetPrev(), prev))
		}
		prev = msg.Sequence
		if err := take(msg.Sequence, rec, cells); err != nil {
			return broken, fmt.Errorf("record %d of %s: %w", msg.Sequence, subject, err)
		}
	}
	return broken, nil
}

func next(ctx context.Context, tail log.Tail) (log.Message, error) {
	for {
		if msg, ok := tail.Peek(); ok {
			tail.Pop()
			return msg, nil
		}
		if err := tail.Err(); err != nil {
			return log.Message{}, err
		}
		select {
		case <-tail.Wake():
		case <-ctx.Done():
			return log.Message{}, ctx.Err()
		}
	}
}

// Open decodes a record of a chain and its cells.
func Open(msg log.Message) (*stagev1.Record, []Cell, error) {
	rec := &stagev1.Record{}
	if err := rec.UnmarshalVT(msg.Data); err != nil {
		return nil, nil, fmt.Errorf("record %d of %s: %w", msg.Sequence, msg.Subject, err)
	}
	cells := make([]Cell, 0, len(rec.GetCells()))
	for _, c := range rec.GetCells() {
		body := &stagev1.CellBody{}
		if err := body.UnmarshalVT(c.GetSealed()); err != nil {
			return nil, nil, fmt.Errorf("record %d of %s: open cell: %w", msg.Sequence, msg.Subject, err)
		}
		cells = append(cells, Cell{Key: c.GetKey(), Body: body})
	}
	return rec, cells, nil
}
