package logtest

import (
	"context"
	"strings"
	"testing"
	"time"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

// RunLeases runs the suite of Leases, every test on a Site of its own with so many replicas.
func RunLeases(t *testing.T, open Open, replicas int) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, log.Leases)
	}{
		{"hold expects a revision", leaseRevisions},
		{"all lists one group", leaseGroups},
		{"what is not held again goes, however often it was", leaseGoes},
		{"what is held again in time stays", leaseStays},
		{"a late hold of what is gone is refused", leaseLate},
		{"wrong keys, values and times are refused", leaseRefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := open(t)
			if err := site.Prepare(t.Context(), replicas); err != nil {
				t.Fatalf("prepare: %v", err)
			}
			test.run(t, site.Leases())
		})
	}
}

func mustHold(t *testing.T, l log.Leases, key, value string, at uint64, ttl time.Duration) uint64 {
	t.Helper()
	revision, err := l.Hold(t.Context(), key, []byte(value), at, ttl)
	if err != nil {
		t.Fatalf("hold %s at %d: %v", key, at, err)
	}
	return revision
}

func leases(t *testing.T, l log.Leases, group string) string {
	t.Helper()
	all, err := l.All(t.Context(), group)
	if err != nil {
		t.Fatalf("list %s: %v", group, err)
	}
	var out []string
	for _, lease := range all {
		out = append(out, lease.Key+"="+string(lease.Value))
	}
	return strings.Join(out, " ")
}

// awaitLeases waits until a group is as wanted: time passes at the broker only.
func awaitLeases(t *testing.T, l log.Leases, group, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitFor)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got := leases(t, l, group)
		if got == want {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s holds %q, want %q", group, got, want)
		}
	}
}

func leaseRevisions(t *testing.T, l log.Leases) {
	first := mustHold(t, l, "g.a", "1", 0, time.Hour)
	_, err := l.Hold(t.Context(), "g.a", []byte("x"), 0, time.Hour)
	wantConflict(t, err, first)
	second := mustHold(t, l, "g.a", "2", first, time.Hour)
	if second <= first {
		t.Fatalf("revision %d follows %d", second, first)
	}
	_, err = l.Hold(t.Context(), "g.a", []byte("x"), first, time.Hour)
	wantConflict(t, err, second)
	_, err = l.Hold(t.Context(), "g.b", []byte("x"), second, time.Hour)
	wantConflict(t, err, 0)
	awaitLeases(t, l, "g", "g.a=2")
	all, err := l.All(t.Context(), "g")
	if err != nil || len(all) != 1 || all[0].Revision != second {
		t.Fatalf("got %+v, %v; want revision %d", all, err, second)
	}
}

func leaseGroups(t *testing.T, l log.Leases) {
	if got := leases(t, l, "g"); got != "" {
		t.Fatalf("an empty group holds %q", got)
	}
	mustHold(t, l, "g.b", "2", 0, time.Hour)
	mustHold(t, l, "g.a.example", "1", 0, time.Hour)
	mustHold(t, l, "gg.a", "3", 0, time.Hour)
	mustHold(t, l, "g-1.a", "", 0, time.Hour)
	awaitLeases(t, l, "g", "g.a.example=1 g.b=2")
	awaitLeases(t, l, "g-1", "g-1.a=")
}

func leaseGoes(t *testing.T, l log.Leases) {
	at := mustHold(t, l, "g.a", "1", 0, time.Second)
	at = mustHold(t, l, "g.a", "2", at, time.Second)
	mustHold(t, l, "g.a", "3", at, time.Second)
	awaitLeases(t, l, "g", "")
}

func leaseStays(t *testing.T, l log.Leases) {
	at := mustHold(t, l, "g.a", "1", 0, time.Second)
	at = mustHold(t, l, "g.a", "2", at, time.Hour)
	mustHold(t, l, "g.b", "1", 0, 2*time.Second)
	awaitLeases(t, l, "g", "g.a=2")
	mustHold(t, l, "g.a", "3", at, time.Second)
}

func leaseLate(t *testing.T, l log.Leases) {
	at := mustHold(t, l, "g.a", "1", 0, time.Second)
	awaitLeases(t, l, "g", "")
	_, err := l.Hold(t.Context(), "g.a", []byte("2"), at, time.Hour)
	wantConflict(t, err, 0)
	if again := mustHold(t, l, "g.a", "3", 0, time.Hour); again <= at {
		t.Fatalf("revision %d follows %d", again, at)
	}
}

func leaseRefused(t *testing.T, l log.Leases) {
	for name, try := range map[string]struct {
		key  string
		size int
		ttl  time.Duration
	}{
		"no group":  {"a", 1, time.Hour},
		"wildcard":  {"g.*", 1, time.Hour},
		"space":     {"g.a b", 1, time.Hour},
		"large":     {"g.a", 64<<10 + 1, time.Hour},
		"too short": {"g.a", 1, time.Second - 1},
	} {
		if _, err := l.Hold(t.Context(), try.key, make([]byte, try.size), 0, try.ttl); fault.Of(err) != fault.Invalid {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
	}
}
