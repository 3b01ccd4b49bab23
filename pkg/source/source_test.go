package source_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/source"
)

const partitions = 4

func site(t *testing.T) *log.Memory {
	t.Helper()
	m, _, err := log.ProvisionMemory(t.Context(), log.Generation{Number: 1, Partitions: partitions, Streams: 1, Replicas: 1, Secret: []byte(strings.Repeat("s", 32))})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// text is a catalog that is its own bundle; a bundle that says "bad" does not decode.
func text(data []byte) (string, error) {
	if string(data) == "bad" {
		return "", errors.New("it is bad")
	}
	return string(data), nil
}

func put(t *testing.T, m *log.Memory, revision, bundle string) {
	t.Helper()
	if err := source.Put(t.Context(), source.StoreOf(m), source.Bundle{Tenant: "shop", Revision: revision, Data: []byte(bundle)}); err != nil {
		t.Fatal(err)
	}
}

func TestPrepare(t *testing.T) {
	m := site(t)
	put(t, m, "r1", "one")
	put(t, m, "r2", "bad")
	c := source.New(source.StoreOf(m), clock.Wall{}, text)
	if err := c.Prepare(t.Context(), ""); err != nil {
		t.Errorf("no revision yet: %v", err)
	}
	if err := c.Prepare(t.Context(), "r1"); err != nil {
		t.Fatal(err)
	}
	for revision, kind := range map[string]fault.Kind{"r2": fault.Invalid, "r3": fault.NotFound} {
		err := c.Prepare(t.Context(), revision)
		if fault.Of(err) != kind || !strings.Contains(err.Error(), revision) {
			t.Errorf("%s: got %v; want %v that names it", revision, err, kind)
		}
		if _, ok := c.At(revision, "shop"); ok {
			t.Errorf("%s is there", revision)
		}
	}
	if got, ok := c.At("r1", "shop"); !ok || got.Catalog != "one" {
		t.Errorf("the last good one: got %q, %v", got, ok)
	}
	put(t, m, "r4", "four")
	if err := c.Prepare(t.Context(), "r4"); err != nil || !slices.Equal(c.All("shop"), []string{"one", "four"}) {
		t.Errorf("got %v, %v", c.All("shop"), err)
	}
}

func TestPrepareLoadsOnce(t *testing.T) {
	m := site(t)
	put(t, m, "r1", "one")
	var decoded atomic.Int32
	c := source.New(source.StoreOf(m), clock.Wall{}, func(data []byte) (string, error) {
		decoded.Add(1)
		return text(data)
	})
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			if err := c.Prepare(t.Context(), "r1"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := decoded.Load(); n != 1 || len(c.All("shop")) != 1 {
		t.Errorf("decoded %d times, %d kept", n, len(c.All("shop")))
	}
}

func TestPut(t *testing.T) {
	m := site(t)
	put(t, m, "r1", "one")
	put(t, m, "r1", "one")
	for name, tc := range map[string]struct {
		revision string
		bundle   []byte
		kind     fault.Kind
		why      string
	}{
		"other bytes": {"r1", []byte("two"), fault.Conflict, "another bundle"},
		"too large":   {"r2", make([]byte, source.MaxBundle+1), fault.Invalid, "bytes, and"},
		"no revision": {"", []byte("x"), fault.Invalid, "no revision"},
		"bad key":     {"a b", []byte("x"), fault.Invalid, "no revision"},
	} {
		t.Run(name, func(t *testing.T) {
			err := source.Put(t.Context(), source.StoreOf(m), source.Bundle{Tenant: "shop", Revision: tc.revision, Data: tc.bundle})
			if fault.Of(err) != tc.kind || !strings.Contains(err.Error(), tc.why) {
				t.Errorf("got %v (%v); want %v with %q", err, fault.Of(err), tc.kind, tc.why)
			}
		})
	}
	if err := source.Put(t.Context(), source.StoreOf(m), source.Bundle{Tenant: "shop", Revision: "r3", Data: make([]byte, source.MaxBundle)}); err != nil {
		t.Errorf("a bundle of the greatest size: %v", err)
	}
}

// told returns the revisions that a partition heard of, in the order of their activation.
func told(t *testing.T, b log.Broker, p int) []string {
	t.Helper()
	heard := map[uint64]string{}
	for after := uint64(0); ; {
		m, err := b.Next(t.Context(), log.Subject("evt.control", p), after)
		if errors.Is(err, log.ErrNotFound) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		after = m.Sequence
		var a stagev1.Arrivals
		if err := a.UnmarshalVT(m.Data); err != nil {
			t.Fatal(err)
		}
		for _, item := range a.GetItems() {
			if !item.GetAt().AsTime().Equal(instant) || !item.GetReceivedAt().AsTime().Equal(instant) {
				t.Errorf("told at %v, received %v; want %v", item.GetAt().AsTime(), item.GetReceivedAt().AsTime(), instant)
			}
			order, revision := item.GetCatalog().GetOrder(), item.GetCatalog().GetRevision()
			if was := heard[order]; was != "" && was != revision || order == 0 {
				t.Errorf("partition %d: %s and %s are both told as number %d", p, was, revision, order)
			}
			heard[order] = revision
		}
	}
	var out []string
	for _, order := range slices.Sorted(maps.Keys(heard)) {
		out = append(out, heard[order])
	}
	return out
}

var instant = time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)

func TestActivate(t *testing.T) {
	m := site(t)
	c := source.New(source.StoreOf(m), clock.Wall{}, text)
	if got, err := c.Current(t.Context()); got != "" || err != nil {
		t.Errorf("before: got %q, %v", got, err)
	}
	if err := source.Activate(t.Context(), source.StoreOf(m), m, partitions, "r1", instant); fault.Of(err) != fault.NotFound {
		t.Errorf("a revision that is not stored: got %v", err)
	}
	if got, err := c.Current(t.Context()); got != "" || err != nil {
		t.Errorf("after a refusal: got %q, %v", got, err)
	}
	put(t, m, "r1", "one")
	if err := source.Activate(t.Context(), source.StoreOf(m), m, partitions, "r1", instant); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Current(t.Context()); got != "r1" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for p := range partitions {
		if got := told(t, m, p); !slices.Equal(got, []string{"r1"}) {
			t.Errorf("partition %d heard %v", p, got)
		}
	}
}

// Whoever wins, all partitions end with the revision that the pointer names.
func TestConcurrentActivationsAgree(t *testing.T) {
	m := site(t)
	revisions := []string{"r1", "r2", "r3", "r4"}
	for _, r := range revisions {
		put(t, m, r, r)
	}
	var wg sync.WaitGroup
	var won atomic.Int32
	for _, r := range revisions {
		wg.Go(func() {
			switch err := source.Activate(context.WithoutCancel(t.Context()), source.StoreOf(m), m, partitions, r, instant); {
			case err == nil:
				won.Add(1)
			case fault.Of(err) != fault.Conflict:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	current, err := source.Current(t.Context(), m.KV())
	if err != nil || won.Load() == 0 {
		t.Fatalf("%d won: %v", won.Load(), err)
	}
	for p := range partitions {
		if got := told(t, m, p); got[len(got)-1] != current.ID {
			t.Errorf("partition %d ends with %v; want %s", p, got, current.ID)
		}
	}
}

func TestActivateSaysWhichPartition(t *testing.T) {
	m := site(t)
	put(t, m, "r1", "one")
	m.SetFaults(func(op log.Op) log.Fault {
		if op.Subject == "evt.control.2" {
			return log.Fault{Err: log.ErrFull}
		}
		return log.Fault{}
	})
	err := source.Activate(t.Context(), source.StoreOf(m), m, partitions, "r1", instant)
	if !errors.Is(err, log.ErrFull) || !strings.Contains(err.Error(), "partition 2") {
		t.Errorf("got %v", err)
	}
	m.SetFaults(nil)
	if err := source.Activate(t.Context(), source.StoreOf(m), m, partitions, "r1", instant); err != nil {
		t.Errorf("again: %v", err)
	}
}

// An answer that was lost after the bundle was stored is no failure.
func TestPutResolvesALostAnswer(t *testing.T) {
	m := site(t)
	m.SetFaults(func(op log.Op) log.Fault {
		if op.Name == "kv.update" {
			return log.Fault{Effect: log.LostAfter}
		}
		return log.Fault{}
	})
	put(t, m, "r1", "one")
}

// Every activation has its own place in the order, also of what was applied before; repeating one has the same.
func TestActivationsAreNumbered(t *testing.T) {
	m := site(t)
	put(t, m, "r1", "one")
	put(t, m, "r2", "two")
	for _, r := range []string{"r1", "r1", "r2", "r1", "r1"} {
		if err := source.Activate(t.Context(), source.StoreOf(m), m, partitions, r, instant); err != nil {
			t.Fatal(err)
		}
	}
	for p := range partitions {
		if got := told(t, m, p); !slices.Equal(got, []string{"r1", "r2", "r1"}) {
			t.Errorf("partition %d heard %v", p, got)
		}
	}
}

// The bucket beside the log holds what is known of a bundle, not the bundle; equal bundles are stored once.
func TestBundlesAreObjects(t *testing.T) {
	m := site(t)
	large := strings.Repeat("x", 3<<20)
	put(t, m, "r1", large)
	put(t, m, "r2", large)
	value, _, err := m.KV().Get(t.Context(), "bundle/r1")
	if err != nil || len(value) > 200 {
		t.Errorf("beside the log: %d bytes, %v", len(value), err)
	}
	if found, err := m.Objects().List(t.Context(), "bundles/"); err != nil || len(found) != 1 {
		t.Errorf("objects: %v, %v", found, err)
	}
	if got, err := source.Get(t.Context(), source.StoreOf(m), "r2"); err != nil || string(got) != large {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

// A process keeps a bounded number of compiled catalogs; one that went is loaded again when it is needed.
func TestCatalogsAreBounded(t *testing.T) {
	m := site(t)
	c := source.New(source.StoreOf(m), clock.Wall{}, text)
	name := func(n int) string { return fmt.Sprintf("r%d", n) }
	for n := range source.MaxLoaded + 2 {
		put(t, m, name(n), name(n))
		for _, r := range []string{"r0", name(n)} { // r0 is asked for all the time
			if err := c.Prepare(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, there := c.At("r0", "shop"); !there || len(c.All("shop")) != source.MaxLoaded {
		t.Errorf("%d are kept, the one in use: %v", len(c.All("shop")), there)
	}
	if _, there := c.At("r1", "shop"); there {
		t.Error("the one that was asked for the longest ago is kept")
	}
	if err := c.Prepare(t.Context(), "r1"); err != nil {
		t.Error(err)
	}
}
