package stage

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/snapshot"
	"refrain.dev/pkg/state"
)

// A partition that must not go on keeps no other from being served, and everyone is told of it, until it goes on.
func TestAHaltedPartitionKeepsNoOtherFromServing(t *testing.T) {
	m := newMesh(t, 2, 8)
	ahead := state.Shard{Stage: "profile", Partition: 1 - m.fold.home("ann")}
	if err := m.store.Apply(t.Context(), ahead, state.Batch{Meta: state.Meta{Generation: 1, Applied: 1 << 40}}); err != nil {
		t.Fatal(err)
	}
	s := m.stage("profile", m.broker, clock.Wall{})
	var mu sync.Mutex
	var told []int
	s.ports.Halted = func(partition int) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, partition)
	}
	stop := m.run(s) // which waits until it is ready
	m.publish(m.broker, nil, m.add("ann", 1))
	eventually(t, "the other one goes on", func() bool { return m.row("profile", "ann").Sum == 1 })
	mu.Lock()
	if len(told) != 1 || told[0] != ahead.Partition || s.halts() != 1 {
		t.Errorf("told of %v, %d are halted; want %d", told, s.halts(), ahead.Partition)
	}
	mu.Unlock()
	chain := log.Subject("prf", ahead.Partition)
	halts, err := Halts(t.Context(), m.broker.KV())
	if err != nil || len(halts) != 1 || !strings.HasPrefix(halts[chain], "test: the state store is at record") {
		t.Errorf("halts: got %v, %v", halts, err)
	}
	stop()
	m.store = state.NewMemory()
	stop = m.run(m.stage("profile", m.broker, clock.Wall{}))
	if halts, err := Halts(t.Context(), m.broker.KV()); err != nil || len(halts) != 0 {
		t.Errorf("halts after it has gone on: got %v, %v", halts, err)
	}
	stop()
}

// A relay that reads its chain again sees that a record is missing, whose letters would be lost in silence.
func TestARelaySeesThatARecordIsMissing(t *testing.T) {
	m := newMesh(t, 1, 8)
	stop := m.run(m.stage("profile", m.broker, clock.Wall{}))
	stop()
	last, err := m.broker.Last(t.Context(), "prf.0")
	if err != nil {
		t.Fatal(err)
	}
	if err := snapshot.SaveRelayed(t.Context(), m.broker.KV(), "prf.0", last.Sequence-1); err != nil {
		t.Fatal(err)
	}
	rec := &stagev1.Record{Generation: 1, Prev: last.Sequence - 1, Kind: stagev1.RecordKind_RECORD_KIND_CLOSE}
	data, err := rec.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.broker.Append(t.Context(), "prf.0", last.Sequence, data); err != nil {
		t.Fatal(err)
	}
	s := m.stage("profile", m.broker, clock.Wall{})
	p := s.newPartition(0)
	p.last = last.Sequence + 1
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = p.openRelay(ctx)
	if halt, ok := errors.AsType[*HaltError](err); !ok || !strings.Contains(halt.Why, "follows") {
		t.Errorf("got %v, want a halt", err)
	}
}
