package run_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"refrain.dev/pkg/run"
)

var quiet = slog.New(slog.DiscardHandler)

func TestStackUndoesInReverseAndGoesOnAfterErrors(t *testing.T) {
	var s run.Stack
	var order []string
	for _, name := range []string{"a", "b", "c"} {
		s.Push(name, func(context.Context) error {
			order = append(order, name)
			if name == "b" {
				return errors.New("stuck")
			}
			return nil
		})
	}
	err := s.Stop(t.Context(), time.Second, quiet)
	if !slices.Equal(order, []string{"c", "b", "a"}) {
		t.Errorf("order %v", order)
	}
	if err == nil || !strings.Contains(err.Error(), "stop b: stuck") {
		t.Errorf("got %v", err)
	}
	if err := s.Stop(t.Context(), time.Second, quiet); err != nil || len(order) != 3 {
		t.Errorf("a second stop did something: %v, %v", err, order)
	}
}

func TestStackGivesUpOnAStepThatHangs(t *testing.T) {
	var s run.Stack
	release := make(chan struct{})
	defer close(release)
	reached := false
	s.Push("after", func(context.Context) error { reached = true; return nil })
	s.Push("hangs", func(context.Context) error { <-release; return nil })
	err := s.Stop(t.Context(), 20*time.Millisecond, quiet)
	if err == nil || !strings.Contains(err.Error(), "stop hangs") || !reached {
		t.Fatalf("got %v, reached %v", err, reached)
	}
}

// recorder is a part that runs until it is told to stop and notes when it did.
type recorder struct {
	mu    sync.Mutex
	order []string
}

func (r *recorder) part(name string) run.Part {
	return run.Part{Name: name, Component: run.Func(func(ctx context.Context) error {
		<-ctx.Done()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.order = append(r.order, name)
		return nil
	})}
}

func TestPartsStopInReverse(t *testing.T) {
	var r recorder
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if err := run.Together(ctx, quiet, time.Second, r.part("a"), r.part("b"), r.part("c")); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.order, []string{"c", "b", "a"}) {
		t.Errorf("order %v", r.order)
	}
}

func TestTheFirstPartToEndStopsTheRest(t *testing.T) {
	for name, result := range map[string]error{"with an error": errors.New("boom"), "by itself": nil} {
		t.Run(name, func(t *testing.T) {
			var r recorder
			failing := run.Part{Name: "bad", Component: run.Func(func(context.Context) error { return result })}
			err := run.Together(t.Context(), quiet, time.Second, r.part("a"), failing)
			if err == nil || !strings.Contains(err.Error(), "bad") || !slices.Equal(r.order, []string{"a"}) {
				t.Fatalf("got %v, stopped %v", err, r.order)
			}
		})
	}
}

func TestAPartThatHangsIsNamed(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	hangs := run.Part{Name: "hangs", Component: run.Func(func(context.Context) error { <-release; return nil })}
	err := run.Together(ctx, quiet, 20*time.Millisecond, hangs)
	if err == nil || !strings.Contains(err.Error(), "still running after 20ms: hangs") {
		t.Fatalf("got %v", err)
	}
}

func TestAHaltedPartitionIsSaidAndKeepsNobodyFromGettingReady(t *testing.T) {
	h := run.NewHealth(nil, "decision")
	h.Halt("decision", 3)
	h.Set("decision", true)
	rec := httptest.NewRecorder()
	run.Admin(h, nil).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	if rec.Code != http.StatusOK || rec.Body.String() != "ready\nhalted: decision partition 3\n" {
		t.Errorf("got %d %q", rec.Code, rec.Body.String())
	}
}

func TestReadinessNeedsEveryComponentAndEndsWithStopping(t *testing.T) {
	var told []bool
	h := run.NewHealth(func(ready bool) { told = append(told, ready) }, "a", "b")
	admin := run.Admin(h, nil)
	get := func(path string) int {
		rec := httptest.NewRecorder()
		admin.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		return rec.Code
	}
	h.Set("a", true)
	if get("/readyz") != http.StatusServiceUnavailable || get("/healthz") != http.StatusOK {
		t.Error("ready although b is not, or not alive")
	}
	h.Set("b", true)
	if get("/readyz") != http.StatusOK {
		t.Error("not ready although all are")
	}
	h.Stopping()
	h.Set("a", true)
	if get("/readyz") != http.StatusServiceUnavailable || !slices.Equal(told, []bool{true, false}) {
		t.Errorf("stopping is not the end of readiness, told %v", told)
	}
}

func TestOwnerIsReadFromNumbersAndRanges(t *testing.T) {
	owner, err := run.ParseOwner("0-2, 7")
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for p := range 10 {
		if owner(p) {
			got = append(got, p)
		}
	}
	if !slices.Equal(got, []int{0, 1, 2, 7}) {
		t.Errorf("owns %v", got)
	}
	for _, bad := range []string{"x", "3-1", "-1", "5000", "1,,2"} {
		if _, err := run.ParseOwner(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
