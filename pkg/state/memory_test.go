package state_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"refrain.dev/pkg/state"
	"refrain.dev/pkg/state/statetest"
)

// swap is a store that can be exchanged for an older copy of itself.
type swap struct{ *state.Memory }

func TestMemory(t *testing.T) {
	statetest.Run(t, func(*testing.T) statetest.Fixture {
		s := &swap{state.NewMemory()}
		return statetest.Fixture{Store: s, Save: func() func() {
			saved := s.Clone()
			return func() { s.Memory = saved }
		}}
	})
}

func TestMemoryCloneIsApart(t *testing.T) {
	shard := state.Shard{Stage: "s", Partition: 1}
	write := func(s *state.Memory, prev uint64) {
		t.Helper()
		err := s.Apply(t.Context(), shard, state.Batch{Prev: prev, Meta: state.Meta{Applied: prev + 1}, Writes: []state.Write{{
			Key: fmt.Sprint("k", prev), Value: []byte("v"), Wake: time.Unix(5, 0),
			Deltas: []state.Delta{
				{Name: "l", Kind: state.DeltaAppend, Value: []byte("x")},
				{Name: "s", Kind: state.DeltaAdd, Value: fmt.Append(nil, prev)},
			},
		}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	s := state.NewMemory()
	write(s, 0)
	c := s.Clone()
	write(s, 1)
	v, err := c.Read(t.Context(), 1, state.Query{
		Metas: []string{"s"}, Lists: []state.List{{Stage: "s", Name: "l", Newest: 9}},
		Members: []state.Member{{Stage: "s", Set: "s", Value: "1"}},
	})
	if err != nil || v.Metas["s"].Applied != 1 || len(v.Lists[0]) != 1 || v.Members[0] {
		t.Errorf("the clone has %+v, %v; want what was there before", v, err)
	}
	if due, err := c.Due(t.Context(), shard, time.Unix(9, 0), 9); err != nil || len(due) != 1 {
		t.Errorf("the clone has timers %v, %v; want one", due, err)
	}
}

func BenchmarkMemoryApply(b *testing.B) {
	const rows, perRecord = 20_000, 64
	s, shard, value := state.NewMemory(), state.Shard{Stage: "s"}, make([]byte, 1000)
	var applied uint64
	for i := 0; b.Loop(); i++ {
		record := state.Batch{Prev: applied, Meta: state.Meta{Applied: applied + 1}}
		for j := range perRecord {
			n := (i*perRecord + j) * 7919 % rows
			record.Writes = append(record.Writes, state.Write{Key: fmt.Sprint("row", n), Value: value, Wake: time.Unix(int64(i*j), 0)})
		}
		if err := s.Apply(context.Background(), shard, record); err != nil {
			b.Fatal(err)
		}
		applied++
	}
}
