package state

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"refrain.dev/pkg/fault"
)

// imagePrefix begins the target of an image that is being restored; the script knows it too.
const imagePrefix = "image:"

// Restore implements Store. A piece is written in calls as small as those of Apply, all on their way at once; so
// it may be done in part, and the next try goes on where it stopped. A call that arrives without the one before it
// changes nothing.
func (r *Redis) Restore(ctx context.Context, shard Shard, p Piece) (int, error) {
	keys, err := r.keyspace(ctx, shard.Partition)
	if err != nil {
		return 0, err
	}
	if err := p.check(); err != nil {
		return 0, err
	}
	if p.From == 0 {
		if err := r.beginImage(ctx, keys, shard, &p); err != nil {
			return 0, err
		}
	}
	from, err := r.pipe(ctx, keys, shard.Stage, &p)
	if err != nil {
		return 0, unavailable(err, "restore %s/%d", shard.Stage, shard.Partition)
	}
	for { // the last call; its answer says if those before it were not done
		call, err := newImagePart(keys, shard.Stage, &p, from)
		if err != nil {
			return 0, err
		}
		verdict, number, err := r.runPart(ctx, call)
		if err != nil {
			return 0, unavailable(err, "restore %s/%d", shard.Stage, shard.Partition)
		}
		switch verdict {
		case "ok":
			if from = call.upto; from == p.end() {
				return from, nil
			}
		case "at":
			if number == uint64(from) { //nolint:gosec // not negative
				return 0, damaged("restore %s/%d: %d writes are done, in other words", shard.Stage, shard.Partition, number)
			}
			from = int(number) //nolint:gosec // a count of writes
			if from < p.From || from > p.end() || from == p.end() && p.Meta == nil {
				return from, nil
			}
		case "fenced":
			return 0, &FencedError{Applied: number}
		case "other", "reset": // the shard is at 0, and something else is unfinished
			return 0, &FencedError{}
		default:
			return 0, fault.New(fault.Internal, "restore %s/%d: %w", shard.Stage, shard.Partition, errAnswer)
		}
	}
}

// pipe sends the calls of a piece at once, but for the last one, and returns where that begins.
func (r *Redis) pipe(ctx context.Context, space keyspace, stage string, p *Piece) (from int, err error) {
	pipe := r.client.Pipeline()
	for from = p.From; ; {
		call, err := newImagePart(space, stage, p, from)
		if err != nil {
			return 0, err
		}
		if call.upto == p.end() {
			break
		}
		r.apply.EvalSha(ctx, pipe, call.keys, call.args...)
		from = call.upto
	}
	if pipe.Len() == 0 {
		return from, nil
	}
	_, err = pipe.Exec(ctx)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		return from, nil // the calls that follow one by one bring the script along
	}
	return from, err
}

// beginImage empties the shard, unless this very image is being restored. Who is late is refused by the
// script.
func (r *Redis) beginImage(ctx context.Context, space keyspace, shard Shard, p *Piece) error {
	found, err := r.client.HMGet(ctx, space.key(shard.Stage, kindMeta), fieldApplied, fieldTarget).Result()
	if err != nil {
		return unavailable(err, "restore %s/%d", shard.Stage, shard.Partition)
	}
	if found[1] == imagePrefix+p.Image {
		return nil
	}
	applied := uint64(0)
	if text, ok := found[0].(string); ok {
		if applied, err = strconv.ParseUint(text, 10, 64); err != nil {
			return damaged("restore %s/%d: its meta says that it is at %.40q", shard.Stage, shard.Partition, text)
		}
	}
	if applied != p.Over {
		return &FencedError{Applied: applied}
	}
	return r.Reset(ctx, shard)
}

// newImagePart encodes as many writes of a piece from the given one on as fit into a call.
func newImagePart(space keyspace, stage string, piece *Piece, from int) (*part, error) {
	p := &part{space: space, stage: stage, upto: from, keys: space.fixed(stage)}
	for size := 0; p.upto < piece.end() && p.upto-from < partWrites; p.upto++ {
		size += piece.Writes[p.upto-piece.From].size()
		if size > partBytes && p.upto > from {
			break
		}
	}
	p.args = append(p.args, "0", imagePrefix+piece.Image, strconv.Itoa(from), strconv.Itoa(p.upto))
	var fields []any
	if p.upto == piece.end() && piece.Meta != nil {
		var err error
		if fields, err = metaFields(*piece.Meta); err != nil {
			return nil, fmt.Errorf("restore: %w", err)
		}
	}
	p.args = append(append(p.args, len(fields)/2), fields...)
	for i := from; i < p.upto; i++ {
		w := &piece.Writes[i-piece.From]
		p.row(w, w.Sequence)
		p.deltas(w)
	}
	return p, nil
}

func (p *Piece) end() int { return p.From + len(p.Writes) }
