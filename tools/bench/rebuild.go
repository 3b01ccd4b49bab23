package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/embed"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/snapshot"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/state"
)

// A profile of the rebuild figure: what a mesh of the retail example keeps of a customer with some traits, a
// consent and a few orders.
const (
	profileBytes    = 900 // the customer's row
	identifierBytes = 60  // the identifier's row
	timelineLines   = 2   // in a list
	timelineBytes   = 60
	recordProfiles  = 64 // profiles that come with one record
	// tailShare of the records come after the snapshot, one in so many.
	tailShare = 50
	// bareBatch is how many SETs go into one pipeline of the bare side.
	bareBatch = 512
)

// rebuild measures how long a stage's owner takes to make the states of so many profiles again in an empty Redis,
// from snapshots and the records after them, and how long a bare loop takes to SET the same bytes.
type rebuild struct {
	profiles int
	broker   *broker
	redis    redis.UniversalClient
	store    *state.Redis
	gen      log.Generation
	rows     int
	bytes    int
}

// runRebuild prints one line.
func runRebuild(ctx context.Context, out io.Writer, profiles int) (err error) {
	dir, err := os.MkdirTemp("", "refrain-bench-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	server, err := embed.StartRedis(ctx, embed.RedisConfig{Dir: filepath.Join(dir, "redis")})
	if errors.Is(err, embed.ErrNoRedis) {
		_, err = fmt.Fprintf(out, "rebuild: NOT MEASURED: %v\n", embed.ErrNoRedis)
		return err
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	r := &rebuild{profiles: profiles, redis: redis.NewUniversalClient(state.RedisOptions(server.Addr()))}
	defer r.redis.Close() //nolint:errcheck // the server ends with it
	if r.broker, err = startBroker(ctx, filepath.Join(dir, "nats")); err != nil {
		return err
	}
	defer r.broker.close()
	r.store = state.NewRedis(r.redis, 1)
	if r.gen, err = log.FindGeneration(ctx, r.broker.site.KV()); err != nil {
		return fmt.Errorf("find the generation: %w", err)
	}
	return r.run(ctx, out)
}

func (r *rebuild) run(ctx context.Context, out io.Writer) error {
	taken, err := r.history(ctx)
	if err != nil {
		return err
	}
	bare, err := r.bare(ctx)
	if err != nil {
		return err
	}
	ours, err := r.restore(ctx)
	if err != nil {
		return err
	}
	size, err := r.redis.DBSize(ctx).Result()
	if err != nil {
		return fmt.Errorf("count keys: %w", err)
	}
	if least := int64(r.rows); size < least {
		return fmt.Errorf("after the rebuild Redis has %d keys, fewer than the %d rows", size, least)
	}
	_, err = fmt.Fprintf(out, "rebuild: profiles=%d rows=%d MiB=%d partitions=%d rebuilt_in=%s profiles_per_second=%.0f bare_sets=%s ratio=%.1f (snapshots taken in %s)\n",
		r.profiles, r.rows, r.bytes>>20, r.gen.Partitions, ours.Round(time.Millisecond), float64(r.profiles)/ours.Seconds(), bare.Round(time.Millisecond),
		ours.Seconds()/bare.Seconds(), taken.Round(time.Millisecond))
	return err
}

// spec is the stage whose chains are filled.
func spec() log.StageSpec { return log.Stage("profile") }

// history fills the chains and takes a snapshot of each before its tail; it returns how long the snapshots took.
func (r *rebuild) history(ctx context.Context) (took time.Duration, err error) {
	per := r.profiles / r.gen.Partitions
	for p := range r.gen.Partitions {
		chain := log.Subject(spec().Chain, p)
		last, err := r.broker.site.Last(ctx, chain)
		if err != nil {
			return 0, fmt.Errorf("read the genesis: %w", err)
		}
		at, protocol := last.Sequence, log.OpenChain(r.broker.site, chain, clock.Wall{})
		delta := snapshot.NewDelta(state.Meta{})
		var base *snapshot.Snapshot
		records := (per + recordProfiles - 1) / recordProfiles
		for n := range records {
			if n == records-records/tailShare { // the tail comes after the snapshot
				if base, delta, err = r.take(ctx, chain, base, delta, &took); err != nil {
					return 0, err
				}
			}
			rec, b := r.record(p, n*recordProfiles, min(per, (n+1)*recordProfiles), at)
			data, err := rec.MarshalVT()
			if err != nil {
				return 0, fmt.Errorf("encode record: %w", err)
			}
			if at, err = protocol.Append(ctx, at, data); err != nil {
				return 0, err
			}
			b.Meta.Applied = at
			delta.Add(b)
			if delta.Size() > 64<<20 { // as the keeper does
				if base, delta, err = r.take(ctx, chain, base, delta, &took); err != nil {
					return 0, err
				}
			}
		}
	}
	return took, nil
}

// take takes a snapshot and begins a new delta.
func (r *rebuild) take(ctx context.Context, chain string, base *snapshot.Snapshot, d *snapshot.Delta, took *time.Duration) (*snapshot.Snapshot, *snapshot.Delta, error) {
	if d.Records() == 0 {
		return base, d, nil
	}
	began := time.Now()
	s, err := snapshot.NewLibrary(r.broker.site.Objects(), r.broker.site.KV(), r.gen.Number).Build(ctx, snapshot.Build{
		Chain: chain, Base: base, Delta: d, Owner: "bench", Now: time.Now(), Part: 1 << 20, Keep: 3,
	})
	*took += time.Since(began)
	if err != nil {
		return nil, nil, err
	}
	return s, snapshot.NewDelta(s.Meta()), nil
}

// record makes some profiles of a partition, and what the store would write for it.
func (r *rebuild) record(partition, from, to int, prev uint64) (*stagev1.Record, state.Batch) {
	now := time.Unix(1_700_000_000, 0) // long ago: a chain that is ahead of the log's time is not taken over
	rec := &stagev1.Record{
		Generation: 1, Id: binary.BigEndian.AppendUint64(nil, rand.Uint64()), Prev: prev, Owner: "bench", Now: timestamppb.New(now), //nolint:gosec // tells records apart
		Kind: stagev1.RecordKind_RECORD_KIND_BATCH, Revision: "bench",
	}
	b := state.Batch{Prev: prev, Meta: state.Meta{Generation: 1, Now: now, Revision: "bench"}}
	for n := from; n < to; n++ {
		for _, w := range profileWrites(partition, n) {
			b.Writes = append(b.Writes, w)
			body := &stagev1.CellBody{State: w.Value}
			for _, d := range w.Deltas {
				r.bytes += len(d.Value)
				body.Deltas = append(body.Deltas, &stagev1.Delta{Name: d.Name, Kind: stagev1.DeltaKind(d.Kind), Value: d.Value})
			}
			sealed, _ := body.MarshalVT() // cannot fail
			rec.Cells = append(rec.Cells, &stagev1.Cell{Key: w.Key, Sealed: sealed})
			r.bytes += len(w.Key) + len(w.Value)
			r.rows++
		}
	}
	return rec, b
}

// profileWrites are the rows and the list of one profile.
func profileWrites(partition, n int) []state.Write {
	id := fmt.Sprintf("%016x%016x", uint64(n)*0x9e3779b97f4a7c15, partition) //nolint:gosec // spreads keys
	row := func(key string, size int) state.Write {
		return state.Write{Key: key, Value: bytes.Repeat(binary.BigEndian.AppendUint64(nil, uint64(n)), size/8)} //nolint:gosec // any bytes
	}
	customer := row("default/c/"+id, profileBytes)
	for range timelineLines {
		customer.Deltas = append(customer.Deltas, state.Delta{Name: "default/c/" + id + "/timeline", Kind: state.DeltaAppend, Value: make([]byte, timelineBytes)})
	}
	return []state.Write{customer, row("default/i/"+id, identifierBytes)}
}

// bare sets the same keys to the same bytes, in pipelines, and empties Redis again.
func (r *rebuild) bare(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	pipe := r.redis.Pipeline()
	for p := range r.gen.Partitions {
		for n := range r.profiles / r.gen.Partitions {
			for _, w := range profileWrites(p, n) {
				pipe.Set(ctx, w.Key, w.Value, 0)
				if len(w.Deltas) > 0 {
					pipe.Set(ctx, w.Deltas[0].Name, make([]byte, timelineLines*timelineBytes), 0)
				}
			}
			if pipe.Len() >= bareBatch {
				if _, err := pipe.Exec(ctx); err != nil {
					return 0, fmt.Errorf("set: %w", err)
				}
			}
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("set: %w", err)
	}
	took := time.Since(began)
	return took, r.empty(ctx)
}

// empty empties Redis and waits until it has freed everything: that must not slow the other side down.
func (r *rebuild) empty(ctx context.Context) error {
	if err := r.redis.FlushAllAsync(ctx).Err(); err != nil {
		return fmt.Errorf("empty Redis: %w", err)
	}
	for {
		info, err := r.redis.InfoMap(ctx, "memory").Result()
		if err != nil {
			return fmt.Errorf("empty Redis: %w", err)
		}
		if info["Memory"]["lazyfree_pending_objects"] == "0" {
			return nil
		}
		if err := clock.Sleep(ctx, clock.Wall{}, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// restore runs the stage until its partitions have caught up, from nothing.
func (r *rebuild) restore(ctx context.Context) (took time.Duration, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ready := make(chan struct{})
	s := stage.New(stage.Config{Spec: spec(), Generation: r.gen, Replica: "bench"}, nothing{}, stage.Ports{
		Broker: r.broker.site, KV: r.broker.site.KV(), Objects: r.broker.site.Objects(), Store: r.store, Clock: clock.Wall{},
		Logger: slog.New(slog.DiscardHandler), Tracer: tracenoop.NewTracerProvider(), Meter: noop.NewMeterProvider(), Ready: func() { close(ready) },
	})
	began := time.Now()
	var g errgroup.Group
	g.Go(func() error { return stage.NewFreeRunner().Run(ctx, s) })
	select {
	case <-ready:
		took = time.Since(began)
	case <-ctx.Done():
	}
	stop()
	return took, g.Wait()
}

// nothing is a fold without inputs.
type nothing struct{}

// Needs implements stage.Fold.
func (nothing) Needs(stage.Input, time.Time) (stage.Needs, error) { return stage.Needs{}, nil }

// Decide implements stage.Fold.
func (nothing) Decide(stage.Input, stage.Rows, stage.Env) (stage.Outcome, error) {
	return stage.Outcome{}, nil
}

// Gap implements stage.Fold.
func (nothing) Gap(stage.Input, stage.Rows, stage.Env, string) stage.Outcome { return stage.Outcome{} }
