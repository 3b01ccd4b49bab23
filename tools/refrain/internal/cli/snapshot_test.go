package cli_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	walls "refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/snapshot"
	"refrain.dev/pkg/state"
)

// remade is a store whose owner makes what is thrown away again at once.
type remade struct{ state.Store }

// Reset implements state.Store.
func (r remade) Reset(ctx context.Context, shard state.Shard) error {
	if err := r.Store.Reset(ctx, shard); err != nil {
		return err
	}
	return r.Apply(ctx, shard, state.Batch{Meta: state.Meta{Generation: 1, Applied: 1000}})
}

// owners run the keepers of some stages over a log in memory with two partitions.
func owners(t *testing.T, stages ...string) *log.Memory {
	t.Helper()
	m, gen, err := log.ProvisionMemory(t.Context(), log.Generation{Number: 1, Partitions: 2, Streams: 1, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	running := walls.NewGroup(walls.Wall{}, 0)
	for _, stage := range stages {
		k := snapshot.NewKeeper(snapshot.Config{
			Settings: snapshot.Settings{Look: time.Millisecond}, Spec: log.Stage(stage), Generation: gen, Replica: "owner-of-" + stage,
		}, snapshot.Ports{
			Broker: m, KV: m.KV(), Objects: m.Objects(), Store: remade{state.NewMemory()}, Clock: walls.Wall{}, Logger: slog.New(slog.DiscardHandler),
			Meter: noop.NewMeterProvider(), Owned: func() []int { return []int{0, 1} },
			Decode: func(rec *stagev1.Record, sequence uint64) (state.Batch, error) {
				return state.Batch{
					Prev: rec.GetPrev(), Meta: state.Meta{Generation: 1, Applied: sequence},
					Writes: []state.Write{{Key: "default/c/01", Value: []byte("v")}},
				}, nil
			},
		})
		running.Go(func() error { k.Run(ctx); return nil })
	}
	t.Cleanup(func() {
		stop()
		_ = running.Wait(context.Background())
	})
	return m
}

func TestSnapshotAndRebuild(t *testing.T) {
	m := owners(t, "profile", "decision")
	b := &bench{site: m}
	b.run(t, "snapshot", "list").want(t, 0, "there are no snapshots yet", "")
	r := b.run(t, "snapshot", "take", "--stage", "profile")
	r.want(t, 0, "owner-of-profile", "")
	if got := strings.Count(r.out, "DONE"); got != 2 {
		t.Errorf("%d of 2 partitions done:\n%s", got, r.out)
	}
	b.run(t, "snapshot", "list", "--stage", "profile", "--partition", "1", "-o", "json").want(t, 0, `"rows": 1`, "")
	b.run(t, "snapshot", "verify").want(t, 0, "whole", "")

	found, err := m.Objects().List(t.Context(), "1/prf.1/")
	if err != nil || len(found) != 2 {
		t.Fatal(found, err)
	}
	m.Corrupt(found[0].Name)
	b.run(t, "snapshot", "verify").want(t, 1, "the snapshot is damaged", "1 snapshot not whole")

	b.run(t, "rebuild", "--stage", "decision", "--partition", "1").want(t, 0, "decision  1          DONE    1000", "")
	b.run(t, "rebuild", "--stage", "dispatch", "--wait", "50ms").want(t, 1, "ASKED", "2 of 2 partitions not done; are the owners running?")
	b.run(t, "rebuild", "--stage", "dispatch", "--wait", "0").want(t, 0, "", "asked the owners of 2 partitions")
	b.run(t, "rebuild", "--stage", "prophile").want(t, 2, "", `"prophile" is no stage`)
	b.run(t, "rebuild", "--partition", "2").want(t, 2, "", "there are 0 to 1")
	b.run(t, "snapshot").want(t, 2, "", "want list, take or verify")
}
