package simulate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/simulate"
	"refrain.dev/pkg/state"
)

func apply(ctx context.Context, p *simulate.Process, stage string, prev uint64) error {
	b := state.Batch{Prev: prev, Meta: state.Meta{Applied: prev + 1}}
	for _, key := range []string{"a", "b"} {
		b.Writes = append(b.Writes, state.Write{Key: key, Value: []byte{byte(prev + 1)}}) //nolint:gosec // few
	}
	return p.Store().Apply(ctx, state.Shard{Stage: stage, Partition: 1}, b)
}

func TestStoreUnderFaults(t *testing.T) {
	for fault, want := range map[string]struct {
		failed     bool
		applied    uint64
		unfinished bool
		a, b       byte
	}{
		"what=lost on=state:1":                  {true, 1, false, 1, 1},
		"what=applied on=state:1/s":             {true, 2, false, 2, 2},
		"what=applied on=state:1/other":         {false, 2, false, 2, 2},
		"what=late on=state:1 for=1s":           {true, 2, false, 2, 2},
		"what=partial on=state:1 count=1":       {true, 1, true, 2, 1},
		"what=unavailable on=state: for=1500ms": {true, 1, false, 1, 1},
		"what=slow on=state:1 for=1s":           {false, 2, false, 2, 2},
		"what=lost-read on=state:1":             {false, 2, false, 2, 2},
	} {
		faults := "when=point:test.now#1 " + fault
		onNode(t, faults, func(ctx context.Context, p *simulate.Process) {
			if err := apply(ctx, p, "s", 0); err != nil {
				t.Fatal(err)
			}
			p.Points().At("test.now")
			if err := apply(ctx, p, "s", 1); (err != nil) != want.failed {
				t.Errorf("%s: got %v", fault, err)
			}
			_ = p.Sleep(ctx, 5*time.Second)
			q := state.Query{Metas: []string{"s"}, Rows: []state.Row{{Stage: "s", Key: "a"}, {Stage: "s", Key: "b"}}}
			v, err := p.Store().Read(ctx, 1, q)
			if err != nil && strings.Contains(fault, "lost-read") {
				v, err = p.Store().Read(ctx, 1, q)
			}
			if err != nil {
				t.Fatalf("%s: %v", fault, err)
			}
			if m := v.Metas["s"]; m.Applied != want.applied || m.Unfinished != want.unfinished || v.Rows[0][0] != want.a || v.Rows[1][0] != want.b {
				t.Errorf("%s: %+v, %v", fault, m, v.Rows)
			}
			if err := apply(ctx, p, "s", 1); err != nil {
				t.Errorf("%s: repeated: %v", fault, err)
			}
		})
	}
}

// The store forgets a suffix over all keys and stages of a partition, or everything.
func TestStoreForgets(t *testing.T) {
	for fault, want := range map[string][2]uint64{
		"what=forgets on=state:1 count=1": {2, 1}, "what=forgets on=state:1 count=3": {1, 0}, "what=forgets on=state: count=99": {0, 0},
		"what=forgets on=state:0 count=3": {2, 2}, "what=wiped on=state:1": {0, 0}, "what=wiped on=state:": {0, 0},
		"what=wiped on=state:0": {2, 2}, "what=ahead on=state:1/s count=5": {7, 2},
	} {
		onNode(t, "when=point:test.now#1 "+fault, func(ctx context.Context, p *simulate.Process) {
			for _, of := range []struct {
				stage string
				prev  uint64
			}{{"s", 0}, {"t", 0}, {"s", 1}, {"t", 1}} {
				if err := apply(ctx, p, of.stage, of.prev); err != nil {
					t.Fatal(err)
				}
			}
			p.Points().At("test.now")
			v, err := p.Store().Read(ctx, 1, state.Query{Metas: []string{"s", "t"}})
			if err != nil {
				t.Fatal(err)
			}
			if got := [2]uint64{v.Metas["s"].Applied, v.Metas["t"].Applied}; got != want {
				t.Errorf("%s: got %v, want %v", fault, got, want)
			}
		})
	}
}

// Leases and objects meet the same faults; a lease goes by the broker's clock, whatever the node's says.
func TestLeasesAndObjectsUnderFaults(t *testing.T) {
	for fault, want := range map[string][2]bool{ // whether the hold and the put are unknown
		"what=lost on=lease:g.": {true, false}, "what=applied on=lease:g.": {true, false}, "what=lost on=object:": {false, true},
		"what=late on=object:a for=1s": {false, true}, "what=unavailable for=1500ms": {true, true}, "what=clock-step node=n for=1h": {},
	} {
		onNode(t, "when=at:0s "+fault, func(ctx context.Context, p *simulate.Process) {
			if _, err := p.Leases().Hold(ctx, "g.a", []byte("v"), 0, 10*time.Second); errors.Is(err, log.ErrUnknown) != want[0] {
				t.Errorf("%s: hold: %v", fault, err)
			}
			if err := p.Objects().Put(ctx, "a", []byte("v")); errors.Is(err, log.ErrUnknown) != want[1] {
				t.Errorf("%s: put: %v", fault, err)
			}
			_ = p.Sleep(ctx, 2*time.Second)
			stored := !strings.Contains(fault, "what=lost") && !strings.Contains(fault, "unavailable")
			held, err := p.Leases().All(ctx, "g")
			if lost := !stored && want[0]; err != nil || (len(held) == 0) != lost {
				t.Errorf("%s: held %v, %v", fault, held, err)
			}
			data, err := p.Objects().Get(ctx, "a")
			if lost := !stored && want[1]; (err == nil) == lost || (!lost && string(data) != "v") {
				t.Errorf("%s: got %q, %v", fault, data, err)
			}
			if all, err := p.Objects().List(ctx, ""); err != nil || len(all) > 1 {
				t.Errorf("%s: listed %v, %v", fault, all, err)
			}
			if err := errors.Join(p.Objects().Delete(ctx, "a"), p.Objects().Sweep(ctx, p.Clock().Now())); err != nil {
				t.Errorf("%s: delete and sweep: %v", fault, err)
			}
			_ = p.Sleep(ctx, 15*time.Second)
			if held, err := p.Leases().All(ctx, "g"); err != nil || len(held) > 0 {
				t.Errorf("%s: still held %v, %v", fault, held, err)
			}
		})
	}
}

func TestCorruptObjects(t *testing.T) {
	_, r := onNode(t, "when=point:test.now#1 what=corrupt on=object:a", func(ctx context.Context, p *simulate.Process) {
		for _, name := range []string{"a1", "b1"} {
			if err := p.Objects().Put(ctx, name, []byte("whole")); err != nil {
				t.Fatal(err)
			}
		}
		p.Points().At("test.now")
		for name, whole := range map[string]bool{"a1": false, "b1": true} {
			if data, err := p.Objects().Get(ctx, name); err != nil || (string(data) == "whole") != whole {
				t.Errorf("%s: %q, %v", name, data, err)
			}
		}
	})
	if r.Goals["fault.corrupt.object"] != 1 {
		t.Errorf("goals %v", r.Goals)
	}
}
