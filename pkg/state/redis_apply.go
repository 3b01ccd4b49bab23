package state

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"refrain.dev/pkg/fault"
)

// Bounds of one call of the apply script, so that it blocks Redis only shortly. A single write may
// exceed the bytes.
const (
	partWrites = 64
	partBytes  = 128 << 10
)

// Apply implements Store. The meta holds how many writes of an unfinished batch are done, not the number
// of the part, so a batch may be continued under other bounds.
func (r *Redis) Apply(ctx context.Context, shard Shard, b Batch) error {
	keys, err := r.keyspace(ctx, shard.Partition)
	if err != nil {
		return err
	}
	if err := b.check(); err != nil {
		return err
	}
	for from := 0; ; {
		p, err := newPart(keys, shard.Stage, &b, from)
		if err != nil {
			return err
		}
		verdict, number, err := r.runPart(ctx, p)
		if err != nil {
			return unavailable(err, "apply record %d to %s/%d", b.Meta.Applied, shard.Stage, shard.Partition)
		}
		switch verdict {
		case "ok":
			if p.upto == len(b.Writes) {
				return nil
			}
			from = p.upto
		case "done":
			return nil
		case "fenced":
			return &FencedError{Applied: number}
		case "reset":
			if err := r.Reset(ctx, shard); err != nil {
				return err
			}
			from = 0
		case "at":
			if number >= uint64(len(b.Writes)) {
				return fault.New(fault.Internal, "apply record %d: %d writes are done of %d", b.Meta.Applied, number, len(b.Writes))
			}
			from = int(number) //nolint:gosec // less than len
		default:
			return fault.New(fault.Internal, "apply record %d: record %d is unfinished after the same one; reset the shard", b.Meta.Applied, number)
		}
	}
}

func (r *Redis) runPart(ctx context.Context, p *part) (verdict string, number uint64, err error) {
	answer, err := r.apply.Run(ctx, r.client, p.keys, p.args...).StringSlice()
	if err != nil {
		return "", 0, err
	}
	if len(answer) != 2 {
		return "", 0, errAnswer
	}
	number, err = strconv.ParseUint(answer[1], 10, 64)
	return answer[0], number, err
}

// part is one call of the apply script.
type part struct {
	space keyspace
	stage string
	upto  int
	keys  []string
	args  []any
}

// newPart encodes as many writes from the given one on as fit into a call.
func newPart(space keyspace, stage string, b *Batch, from int) (*part, error) {
	p := &part{space: space, stage: stage, upto: from, keys: space.fixed(stage)}
	for size := 0; p.upto < len(b.Writes) && p.upto-from < partWrites; p.upto++ {
		size += b.Writes[p.upto].size()
		if size > partBytes && p.upto > from {
			break
		}
	}
	p.args = append(p.args,
		strconv.FormatUint(b.Prev, 10), strconv.FormatUint(b.Meta.Applied, 10), strconv.Itoa(from), strconv.Itoa(p.upto))
	var fields []any
	if p.upto == len(b.Writes) {
		var err error
		if fields, err = metaFields(b.Meta); err != nil {
			return nil, fmt.Errorf("apply record %d: %w", b.Meta.Applied, err)
		}
	}
	p.args = append(append(p.args, len(fields)/2), fields...)
	for i := from; i < p.upto; i++ {
		p.write(&b.Writes[i], b.Meta.Applied)
	}
	return p, nil
}

func (w *Write) size() int {
	n := len(w.Key) + len(w.Value)
	for i := range w.Deltas {
		n += len(w.Deltas[i].Name) + len(w.Deltas[i].Value)
	}
	return n
}

// key adds a key and returns its position, from 1.
func (p *part) key(kind, name string) int {
	p.keys = append(p.keys, p.space.named(p.stage, kind, name))
	return len(p.keys)
}

func (p *part) write(w *Write, sequence uint64) {
	switch {
	case w.Deleted:
		p.args = append(p.args, "D", p.key(kindRow, w.Key), w.Key)
	case w.Value != nil:
		p.args = append(p.args, "S", p.key(kindRow, w.Key), w.Key, stamped(w.Value, sequence), score(w.Wake))
	}
	for i := range w.Deltas {
		p.delta(&w.Deltas[i])
	}
}

func (p *part) delta(d *Delta) {
	switch d.Kind {
	case DeltaAppend:
		p.args = append(p.args, "A", p.key(kindList, d.Name), d.Name, orEmpty(d.Value))
	case DeltaTrim:
		p.args = append(p.args, "T", p.key(kindList, d.Name), d.Name, max(d.Keep, 0))
	case DeltaAdd:
		p.args = append(p.args, "M", p.key(kindSet, d.Name), d.Name, orEmpty(d.Value))
	case DeltaDrop:
		p.args = append(p.args, "X", p.key(kindList, d.Name), p.key(kindSet, d.Name), d.Name)
	}
}

// sequenceSize is how many bytes before a row's value name the record that wrote it.
const sequenceSize = 8

func stamped(value []byte, sequence uint64) []byte {
	b := make([]byte, sequenceSize, sequenceSize+len(value))
	binary.BigEndian.PutUint64(b, sequence)
	return append(b, value...)
}

// orEmpty avoids nil, which the client would not send as an empty value.
func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// score of a wake-up in the timer index; empty for none.
func score(wake time.Time) string {
	if wake.IsZero() {
		return ""
	}
	return strconv.FormatInt(wakeMicros(wake), 10)
}
