package source_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/snapshot"
	"refrain.dev/pkg/source"
)

// shelf is a mesh whose chains and states say what a test wants, and a collector.
type shelf struct {
	*source.Collector

	t    *testing.T
	m    *log.Memory
	now  time.Time
	pins snapshot.Pins
	// before is called before a key is written or an object deleted, once.
	before func(name string)
}

func newShelf(t *testing.T, revisions ...string) *shelf {
	t.Helper()
	s := &shelf{t: t, m: site(t), now: instant}
	s.Collector = &source.Collector{
		Store: source.Store{KV: shelfKV{s.m.KV(), s}, Objects: shelfObjects{s.m.Objects(), s}}, Chains: s.m, Pins: s,
		Clock: shelfClock{clock.Wall{}, s}, Logger: slog.New(slog.DiscardHandler), All: []string{"prf.0", "act.0"}, Naming: []string{"act.0"}, Unused: time.Hour,
	}
	for _, r := range revisions {
		put(t, s.m, r, r)
		s.activate(r)
	}
	s.applied(uint64(len(revisions)))
	return s
}

func (s *shelf) Pins(context.Context, string) (snapshot.Pins, error) { return s.pins, nil }

func (s *shelf) activate(revision string) {
	s.t.Helper()
	if err := source.Activate(s.t.Context(), source.StoreOf(s.m), s.m, partitions, revision, instant); err != nil {
		s.t.Fatal(err)
	}
}

// applied says that all chains, and what is known of the states, are under a catalog.
func (s *shelf) applied(order uint64, named ...string) {
	s.t.Helper()
	s.pins = snapshot.Pins{Order: order, Revisions: named}
	for _, chain := range s.All {
		last, err := s.m.Last(s.t.Context(), chain)
		if err != nil {
			s.t.Fatal(err)
		}
		data, err := (&stagev1.Record{Prev: last.Sequence, RevisionOrder: order}).MarshalVT()
		if err != nil {
			s.t.Fatal(err)
		}
		if _, err := s.m.Append(s.t.Context(), chain, last.Sequence, data); err != nil {
			s.t.Fatal(err)
		}
	}
}

// pass lets the collector look twice, more than an hour apart, and lists what is still there.
func (s *shelf) pass(revisions ...string) []string {
	s.t.Helper()
	for range 2 {
		s.now = s.now.Add(2 * time.Hour)
		if err := s.Collect(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
	}
	var out []string
	for _, r := range revisions {
		data, err := source.Get(s.t.Context(), source.StoreOf(s.m), r)
		if err == nil && string(data) == r {
			out = append(out, r)
		} else if fault.Of(err) != fault.NotFound {
			s.t.Errorf("%s: %v", r, err)
		}
	}
	return out
}

func (s *shelf) objects() int {
	s.t.Helper()
	found, err := s.m.Objects().List(s.t.Context(), "bundles/")
	if err != nil {
		s.t.Fatal(err)
	}
	return len(found)
}

type shelfClock struct {
	clock.Wall

	s *shelf
}

func (c shelfClock) Now() time.Time { return c.s.now }

func (s *shelf) about(name string) {
	if f := s.before; f != nil {
		s.before = nil
		f(name)
	}
}

type shelfKV struct {
	log.KV

	s *shelf
}

func (k shelfKV) Update(ctx context.Context, key string, value []byte, revision uint64) error {
	k.s.about(key)
	return k.KV.Update(ctx, key, value, revision) //nolint:wrapcheck // stands between
}

type shelfObjects struct {
	log.Objects

	s *shelf
}

func (o shelfObjects) Delete(ctx context.Context, name string) error {
	o.s.about(name)
	return o.Objects.Delete(ctx, name) //nolint:wrapcheck // stands between
}

// A bundle goes when it is neither in force nor named by any state, and has been so for a while; one in use stays.
func TestABundleInUseStays(t *testing.T) {
	s := newShelf(t, "r1", "r2", "r3")
	put(t, s.m, "r0", "r0") // was never applied
	s.applied(3, "r1")
	if err := s.Collect(t.Context()); err != nil || s.objects() != 4 {
		t.Fatalf("at once: %d are left, %v", s.objects(), err)
	}
	if got := s.pass("r0", "r1", "r2", "r3"); !slices.Equal(got, []string{"r1", "r3"}) || s.objects() != 2 {
		t.Errorf("an enrollment is on r1, r3 is in force: %v are left, in %d objects", got, s.objects())
	}
	s.applied(3)
	if got := s.pass("r1", "r3"); !slices.Equal(got, []string{"r3"}) || s.objects() != 1 {
		t.Errorf("r3 is in force: %v are left, in %d objects", got, s.objects())
	}
}

// While a chain is not under the catalog in force, or what states name was noted before, another may be needed.
func TestNothingGoesBeforeAllHavePassed(t *testing.T) {
	s := newShelf(t, "r1", "r2")
	s.applied(1)
	s.pins.Order = 2
	if got := s.pass("r1", "r2"); len(got) != 2 {
		t.Errorf("a chain is under r1: %v are left", got)
	}
	s.applied(2)
	s.pins.Order = 1
	if got := s.pass("r1", "r2"); len(got) != 2 {
		t.Errorf("nobody knows what states name: %v are left", got)
	}
}

// What went can be applied again, and what is applied again before it went stays.
func TestABundleIsAppliedAgain(t *testing.T) {
	s := newShelf(t, "r1", "r2")
	if got := s.pass("r1", "r2"); len(got) != 1 {
		t.Fatalf("%v are left", got)
	}
	if err := source.Activate(t.Context(), source.StoreOf(s.m), s.m, partitions, "r1", instant); fault.Of(err) != fault.NotFound {
		t.Errorf("what is not there takes effect: %v", err)
	}
	put(t, s.m, "r1", "r1")
	s.activate("r1")
	s.applied(3)
	if got := s.pass("r1", "r2"); !slices.Equal(got, []string{"r1"}) || s.objects() != 1 {
		t.Errorf("r1 is in force again: %v are left, in %d objects", got, s.objects())
	}
	put(t, s.m, "r2", "r2")
	s.now = s.now.Add(time.Minute)
	if err := s.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.now = s.now.Add(50 * time.Minute)
	put(t, s.m, "r2", "r2") // an apply has begun
	s.now = s.now.Add(20 * time.Minute)
	if err := s.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := source.Get(t.Context(), source.StoreOf(s.m), "r2"); err != nil {
		t.Errorf("it went while it was applied: %v", err)
	}
}

// Whatever comes between, a bundle that took effect is there.
func TestABundleThatIsAppliedMeanwhileStays(t *testing.T) {
	for name, when := range map[string]string{"before its entry is written": "bundle/r1", "before the pointer is": "catalog/current", "before the object goes": "bundles/"} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t, "r1", "r2")
			s.now = s.now.Add(time.Hour)
			if err := s.Collect(t.Context()); err != nil { // it is idle from now on
				t.Fatal(err)
			}
			s.now = s.now.Add(2 * time.Hour)
			took := false
			var look func(key string)
			look = func(key string) {
				if !strings.HasPrefix(key, when) {
					s.before = look
					return
				}
				err := source.Activate(t.Context(), source.StoreOf(s.m), s.m, partitions, "r1", instant)
				if took = err == nil; !took && fault.Of(err) != fault.NotFound {
					t.Error(err)
				}
			}
			s.before = look
			if err := s.Collect(t.Context()); err != nil {
				t.Fatal(err)
			}
			_, err := source.Get(t.Context(), source.StoreOf(s.m), "r1")
			if took && err != nil {
				t.Errorf("it is in force and gone: %v", err)
			}
			if !took { // then it is applied again
				put(t, s.m, "r1", "r1")
				s.activate("r1")
			}
			s.applied(3)
			if got := s.pass("r1"); len(got) != 1 {
				t.Error("it is in force and gone")
			}
		})
	}
}
