package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"refrain.dev/pkg/embed"
	"refrain.dev/pkg/state"
)

// A batch of the state figure: rows and bytes per row.
const (
	batchRows = 64
	rowBytes  = 1024
)

// stateSuite compares loading and applying a batch with reading and writing the same bytes.
func stateSuite(ctx context.Context, dir string) (*suite, error) {
	const name = "state, 64 rows of 1 KiB"
	server, err := embed.StartRedis(ctx, embed.RedisConfig{Dir: dir})
	if errors.Is(err, embed.ErrNoRedis) {
		missing := figure{name: name, missing: err.Error()}
		return &suite{figures: []figure{missing}, close: func() error { return nil }}, nil
	}
	if err != nil {
		return nil, err
	}
	client := redis.NewUniversalClient(state.RedisOptions(server.Addr()))
	return &suite{
		close: func() error { return errors.Join(client.Close(), server.Stop()) },
		figures: []figure{{
			name: name, unit: "batch",
			ours: side{what: "state.Redis Read of rows and meta, then Apply (fence, rows, index, meta), two round trips", step: loadAndApply(state.NewRedis(client, 1))},
			bare: side{what: "MGET and MSET of the same rows in one pipeline, one round trip", step: getAndSet(client)},
		}},
	}, nil
}

// loadAndApply is what a stage does with a batch, but for deciding.
func loadAndApply(store *state.Redis) step {
	const stage = "decision"
	q := state.Query{Metas: []string{stage}}
	for n := range batchRows {
		q.Rows = append(q.Rows, state.Row{Stage: stage, Key: rowKey(n)})
	}
	applied := uint64(0)
	return func(ctx context.Context) (int, error) {
		v, err := store.Read(ctx, 0, q)
		if err != nil {
			return 0, err
		}
		if got := v.Metas[stage].Applied; got != applied || len(v.Rows) != batchRows {
			return 0, fmt.Errorf("read %d rows at %d, want %d at %d", len(v.Rows), got, batchRows, applied)
		}
		b := state.Batch{Prev: applied, Meta: state.Meta{Generation: 1, Applied: applied + 1, Now: time.Now(), Revision: "bench"}}
		for n := range batchRows {
			b.Writes = append(b.Writes, state.Write{Key: rowKey(n), Value: bytes.Repeat([]byte{byte(applied)}, rowBytes)})
		}
		applied++
		return 1, store.Apply(ctx, state.Shard{Stage: stage}, b)
	}
}

func getAndSet(client redis.UniversalClient) step {
	keys := make([]string, batchRows)
	for n := range keys {
		keys[n] = "bare:{bench}:" + rowKey(n)
	}
	count := 0
	return func(ctx context.Context) (int, error) {
		pairs := make([]any, 0, 2*batchRows)
		for _, key := range keys {
			pairs = append(pairs, key, bytes.Repeat([]byte{byte(count)}, rowBytes))
		}
		count++
		p := client.Pipeline()
		p.MGet(ctx, keys...)
		p.MSet(ctx, pairs...)
		_, err := p.Exec(ctx)
		return 1, err
	}
}

func rowKey(n int) string { return fmt.Sprintf("default/c/customer-%04d", n) }
