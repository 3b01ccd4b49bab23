package state

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"
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
	a := &applying{batch: &b, keys: keys, shard: shard, last: b.lastWrites()}
	for from := 0; from >= 0; {
		if from, err = r.applyPart(ctx, a, from); err != nil {
			return err
		}
	}
	return nil
}

// applying is a batch on its way.
type applying struct {
	batch *Batch
	keys  keyspace
	shard Shard
	last  lastWrites
}

// applyPart writes the part that begins with a write, and says with which to go on; -1 if all is done.
func (r *Redis) applyPart(ctx context.Context, a *applying, from int) (next int, err error) {
	b, shard := a.batch, a.shard
	p, err := newPart(a, from)
	if err != nil {
		return 0, err
	}
	verdict, number, err := r.runPart(ctx, p)
	if err != nil {
		return 0, unavailable(err, "apply record %d to %s/%d", b.Meta.Applied, shard.Stage, shard.Partition)
	}
	switch verdict {
	case "ok":
		if p.upto == len(b.Writes) {
			return -1, nil
		}
		return p.upto, nil
	case "done":
		return -1, nil
	case "fenced":
		return 0, &FencedError{Applied: number}
	case "reset":
		return 0, r.Reset(ctx, shard)
	case "at":
		// Where the shard is has been written by a part: it is not where this part begins, and there is more to do.
		if number >= uint64(len(b.Writes)) || number == uint64(from) { //nolint:gosec // not negative
			return 0, damaged("apply record %d to %s/%d: %d writes are done of %d", b.Meta.Applied, shard.Stage, shard.Partition, number, len(b.Writes))
		}
		return int(number), nil //nolint:gosec // less than len
	default:
		return 0, &OtherError{Applied: b.Prev, Target: number}
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
	if answer[0] == "damaged" {
		return "", 0, fmt.Errorf("%w: %s", ErrDamaged, answer[1])
	}
	number, err = strconv.ParseUint(answer[1], 10, 64)
	if err != nil {
		return "", 0, fmt.Errorf("%w: its meta says %.40q for a number", ErrDamaged, answer[1])
	}
	return answer[0], number, nil
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
func newPart(a *applying, from int) (*part, error) {
	b, stage := a.batch, a.shard.Stage
	p := &part{space: a.keys, stage: stage, upto: from, keys: a.keys.fixed(stage)}
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
		w := &b.Writes[i]
		if a.last.counts(w.Key, i) {
			p.row(w, b.Meta.Applied)
		}
		p.deltas(w)
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

// row writes or removes the row.
func (p *part) row(w *Write, sequence uint64) {
	switch {
	case w.Deleted:
		p.args = append(p.args, "D", p.key(kindRow, w.Key), w.Key)
	case w.Value != nil:
		p.args = append(p.args, "S", p.key(kindRow, w.Key), w.Key, stamped(w.Value, sequence), score(w.Wake))
	}
}

func (p *part) deltas(w *Write) {
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
