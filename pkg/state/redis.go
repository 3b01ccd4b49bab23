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
		v.Metas[stage] = readMeta(parts[0][i])
	}
	for i, row := range q.Rows {
		if err := v.fillRow(i, row, parts[1][i]); err != nil {
			return err
		}
	}
	for i, m := range q.Members {
		n, _ := parts[2][i].(int64)
		v.Members[i] = n == 1
		if n == wrongType {
			if err := v.damaged(m.Stage, "set", m.Set); err != nil {
				return err
			}
		}
	}
	for i, l := range q.Lists {
		values, ok := parts[3][i].([]any)
		if !ok {
			if err := v.damaged(l.Stage, "list", l.Name); err != nil {
				return err
			}
		}
		if l.Newest > 0 && len(values) > 0 {
			v.Lists[i] = toBytes(values)
		}
	}
	return nil
}

// wrongType stands in the read script's answer for what is of another type than it should be.
const wrongType = -1

// readMeta decodes what HGETALL returned; of one that cannot be decoded nothing is believed.
func readMeta(answer any) Meta {
	flat, ok := answer.([]any)
	if !ok {
		return Meta{Unfinished: true, Damaged: true}
	}
	meta, err := parseMeta(flat)
	if err != nil {
		return Meta{Unfinished: true, Damaged: true}
	}
	return meta
}

// fillRow takes over one row. No row is of a record after the one that is applied, or written in part.
func (v *View) fillRow(i int, row Row, answer any) error {
	if answer == nil {
		return nil
	}
	s, ok := answer.(string)
	if !ok || len(s) < sequenceSize {
		return v.damaged(row.Stage, "row", row.Key)
	}
	sequence := binary.BigEndian.Uint64([]byte(s[:sequenceSize]))
	if meta, known := v.Metas[row.Stage]; known && !meta.Unfinished && sequence > meta.Applied {
		return v.damaged(row.Stage, "row", row.Key)
	}
	v.Sequences[i], v.Rows[i] = sequence, []byte(s[sequenceSize:])
	return nil
}

// damaged notes that something of a stage was not written by a Store.
func (v *View) damaged(stage, kind, name string) error {
	meta, ok := v.Metas[stage]
	if !ok {
		return damaged("%s %s of %s", kind, name, stage)
	}
	meta.Unfinished, meta.Damaged, meta.Target = true, true, 0
	v.Metas[stage] = meta
	return nil
}

// damaged is ErrDamaged with where it was found.
func damaged(format string, args ...any) error {
	return fault.As(fault.Internal, fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrDamaged))
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
// our bug, one that says that a key is of another type has something in it that no Store wrote; everything else
// passes.
func unavailable(err error, format string, args ...any) error {
	wrapped := fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
	if errors.Is(err, ErrDamaged) {
		return fault.As(fault.Internal, wrapped)
	}
	answer, ok := errors.AsType[redis.Error](err)
	switch {
	case ok && strings.HasPrefix(answer.Error(), "WRONGTYPE "):
		return fault.As(fault.Internal, fmt.Errorf("%w: %w", wrapped, ErrDamaged))
	case ok && strings.HasPrefix(answer.Error(), "ERR "):
		return fault.As(fault.Internal, wrapped)
	}
	return fault.As(fault.Unavailable, wrapped)
}
