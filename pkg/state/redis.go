package state

import (
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"refrain.dev/pkg/fault"
)

//go:embed scripts/read.lua
var readScript string

//go:embed scripts/apply.lua
var applyScript string

//go:embed scripts/unschedule.lua
var unscheduleScript string

//go:embed scripts/clear.lua
var clearScript string

// Redis is a Store in Redis 7 or later, or Valkey, standalone, replicated or a cluster. All keys of a
// partition are in one slot. Every change is one script that first compares the shard's position, so it
// does no harm if the client repeats it. Errors of the server or on the way to it are fault.Unavailable.
type Redis struct {
	client     redis.UniversalClient
	generation uint32
	tags       []string
	read       *redis.Script
	apply      *redis.Script
	unschedule *redis.Script
	clear      *redis.Script
}

var _ Store = (*Redis)(nil)

// NewRedis returns a Store of one generation of partitions; the client stays the caller's. RedisOptions
// has options that suit it.
func NewRedis(client redis.UniversalClient, generation uint32) *Redis {
	return &Redis{
		client:     client,
		generation: generation,
		tags:       hashTags(),
		read:       redis.NewScript(readScript),
		apply:      redis.NewScript(applyScript),
		unschedule: redis.NewScript(unscheduleScript),
		clear:      redis.NewScript(clearScript),
	}
}

// Read implements Store. It is one script, so nothing can come in between.
func (r *Redis) Read(ctx context.Context, partition int, q Query) (View, error) {
	v := newView(q)
	keys, err := r.keyspace(ctx, partition)
	if err != nil {
		return View{}, err
	}
	names, args := keys.query(q)
	if len(names) == 0 {
		return v, nil
	}
	answer, err := r.read.Run(ctx, r.client, names, args...).Slice()
	if err != nil {
		return View{}, unavailable(err, "read partition %d", partition)
	}
	if err := v.fill(q, answer); err != nil {
		return View{}, fmt.Errorf("read partition %d: %w", partition, err)
	}
	return v, nil
}

// query lists a query as keys and arguments of the read script.
func (k keyspace) query(q Query) (names []string, args []any) {
	names = make([]string, 0, len(q.Metas)+len(q.Rows)+len(q.Members)+len(q.Lists))
	args = make([]any, 0, 4+len(q.Members)+len(q.Lists))
	args = append(args, len(q.Metas), len(q.Rows), len(q.Members), len(q.Lists))
	for _, stage := range q.Metas {
		names = append(names, k.key(stage, kindMeta))
	}
	for _, row := range q.Rows {
		names = append(names, k.named(row.Stage, kindRow, row.Key))
	}
	for _, m := range q.Members {
		names = append(names, k.named(m.Stage, kindSet, m.Set))
		args = append(args, m.Value)
	}
	for _, l := range q.Lists {
		names = append(names, k.named(l.Stage, kindList, l.Name))
		args = append(args, max(l.Newest, 0))
	}
	return names, args
}

var errAnswer = errors.New("the script answered in an unknown shape")

// fill takes over the answer of the read script.
func (v *View) fill(q Query, answer []any) error {
	parts := make([][]any, 4)
	if len(answer) != len(parts) {
		return errAnswer
	}
	for i, want := range []int{len(q.Metas), len(q.Rows), len(q.Members), len(q.Lists)} {
		part, ok := answer[i].([]any)
		if !ok || len(part) != want {
			return errAnswer
		}
		parts[i] = part
	}
	for i, stage := range q.Metas {
		flat, _ := parts[0][i].([]any)
		meta, err := parseMeta(flat)
		if err != nil {
			return fmt.Errorf("stage %s: %w", stage, err)
		}
		v.Metas[stage] = meta
	}
	for i := range q.Rows {
		if s, ok := parts[1][i].(string); ok {
			if len(s) < sequenceSize {
				return fmt.Errorf("row %d has %d bytes: %w", i, len(s), ErrDamaged)
			}
			v.Sequences[i], v.Rows[i] = binary.BigEndian.Uint64([]byte(s[:sequenceSize])), []byte(s[sequenceSize:])
		}
	}
	for i := range q.Members {
		n, _ := parts[2][i].(int64)
		v.Members[i] = n == 1
	}
	for i := range q.Lists {
		values, _ := parts[3][i].([]any)
		if q.Lists[i].Newest > 0 && len(values) > 0 {
			v.Lists[i] = toBytes(values)
		}
	}
	return nil
}

func toBytes(values []any) [][]byte {
	list := make([][]byte, len(values))
	for i, v := range values {
		s, _ := v.(string)
		list[i] = []byte(s)
	}
	return list
}

// unavailable wraps an error of the client. A server that says that the command itself is wrong has met
// our bug; everything else passes.
func unavailable(err error, format string, args ...any) error {
	wrapped := fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
	answer, ok := errors.AsType[redis.Error](err)
	if ok && (strings.HasPrefix(answer.Error(), "ERR ") || strings.HasPrefix(answer.Error(), "WRONGTYPE ")) {
		return fault.As(fault.Internal, wrapped)
	}
	return fault.As(fault.Unavailable, wrapped)
}
