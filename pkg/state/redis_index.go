package state

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// resetStep bounds how many rows, and how many lists and sets, one step of Reset removes.
const resetStep = 256

// Due implements Store.
func (r *Redis) Due(ctx context.Context, shard Shard, until time.Time, limit int) ([]Due, error) {
	keys, err := r.keyspace(ctx, shard.Partition)
	if err != nil || limit <= 0 {
		return nil, err
	}
	entries, err := r.client.ZRangeByScoreWithScores(ctx, keys.key(shard.Stage, kindTimers), &redis.ZRangeBy{
		Min: "-inf", Max: strconv.FormatInt(untilMicros(until), 10), Count: int64(limit),
	}).Result()
	if err != nil {
		return nil, unavailable(err, "list timers of %s/%d", shard.Stage, shard.Partition)
	}
	var due []Due
	for _, e := range entries {
		key, ok := e.Member.(string)
		if !ok {
			return nil, fmt.Errorf("list timers of %s/%d: %w", shard.Stage, shard.Partition, errAnswer)
		}
		due = append(due, Due{Key: key, At: fromMicros(int64(e.Score))})
	}
	return due, nil
}

// Unschedule implements Store.
func (r *Redis) Unschedule(ctx context.Context, shard Shard, due Due) error {
	keys, err := r.keyspace(ctx, shard.Partition)
	if err != nil {
		return err
	}
	names := []string{keys.key(shard.Stage, kindTimers)}
	if err := r.unschedule.Run(ctx, r.client, names, due.Key, wakeMicros(due.At)).Err(); err != nil {
		return unavailable(err, "unschedule %s/%d", shard.Stage, shard.Partition)
	}
	return nil
}

// Keys implements Store.
func (r *Redis) Keys(ctx context.Context, shard Shard, after string, limit int) ([]string, error) {
	keys, err := r.keyspace(ctx, shard.Partition)
	if err != nil || limit <= 0 {
		return nil, err
	}
	found, err := r.client.ZRangeByLex(ctx, keys.key(shard.Stage, kindCustomers), &redis.ZRangeBy{
		Min: "(" + after, Max: "+", Count: int64(limit),
	}).Result()
	if err != nil {
		return nil, unavailable(err, "list rows of %s/%d", shard.Stage, shard.Partition)
	}
	if len(found) == 0 {
		return nil, nil
	}
	return found, nil
}

// Reset implements Store. From its first step on the shard is at 0 and unfinished; a reset that was
// interrupted is completed by the next one or by the next Apply.
func (r *Redis) Reset(ctx context.Context, shard Shard) error {
	keys, err := r.keyspace(ctx, shard.Partition)
	if err != nil {
		return err
	}
	if err := r.reset(ctx, keys, shard.Stage); err != nil {
		return unavailable(err, "reset %s/%d", shard.Stage, shard.Partition)
	}
	return nil
}

func (r *Redis) reset(ctx context.Context, space keyspace, stage string) error {
	meta := space.key(stage, kindMeta)
	_, err := r.client.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		tx.Del(ctx, meta)
		tx.HSet(ctx, meta, fieldReset, "1")
		return nil
	})
	if err != nil {
		return err
	}
	for {
		names, args, err := r.resetPiece(ctx, space, stage)
		if err != nil {
			return err
		}
		more, err := r.clear.Run(ctx, r.client, names, args...).Int()
		switch {
		case err != nil || more == clearDone:
			return err
		case more == clearLost:
			if err := r.sweep(ctx, space, stage); err != nil {
				return err
			}
		}
	}
}

// Answers of the clear script.
const (
	clearDone = 0
	clearLost = 2 // an index was of another type
)

// resetPiece names what the next step removes, as keys and arguments of the clear script. An index that is of
// another type names nothing: the script removes it.
func (r *Redis) resetPiece(ctx context.Context, space keyspace, stage string) (names []string, args []any, err error) {
	rows, err := r.client.ZRange(ctx, space.key(stage, kindCustomers), 0, resetStep-1).Result()
	if err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
		return nil, nil, err
	}
	others, err := r.client.SRandMemberN(ctx, space.key(stage, kindNames), resetStep).Result()
	if err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
		return nil, nil, err
	}
	names, args = space.fixed(stage), []any{len(rows)}
	for _, row := range rows {
		names, args = append(names, space.named(stage, kindRow, row)), append(args, row)
	}
	for _, name := range others {
		kind, of := kindList, name
		if of != "" {
			if of[0] == 'u' {
				kind = kindSet
			}
			of = of[1:]
		}
		names, args = append(names, space.named(stage, kind, of)), append(args, name)
	}
	return names, args, nil
}

// sweep removes the rows, lists and sets that an index should have named, by looking at all keys there are.
func (r *Redis) sweep(ctx context.Context, space keyspace, stage string) error {
	if cluster, ok := r.client.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			return r.sweepNode(ctx, node, space, stage)
		})
	}
	return r.sweepNode(ctx, r.client, space, stage)
}

func (r *Redis) sweepNode(ctx context.Context, node redis.Cmdable, space keyspace, stage string) error {
	pattern := literal(space.key(stage, "")) + "*"
	for cursor := uint64(0); ; {
		found, next, err := node.Scan(ctx, cursor, pattern, resetStep).Result()
		if err != nil {
			return err
		}
		names, args := space.fixed(stage), []any{0}
		for _, key := range found {
			if !slices.Contains(names[:len(space.fixed(stage))], key) {
				names, args = append(names, key), append(args, key)
			}
		}
		if len(names) > len(space.fixed(stage)) {
			if err := r.clear.Run(ctx, r.client, names, args...).Err(); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// literal is a pattern that only the text itself fits.
func literal(text string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(text)
}
