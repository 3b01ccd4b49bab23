package ingestsvc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/run/runtest"
	"refrain.dev/services/ingest/ingestsvc/overload"
)

// noon is when everything happens.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

type fixedClock struct {
	clock.Wall

	at time.Time
}

func (c fixedClock) Now() time.Time { return c.at }

// Released says that the time is the test's, and not compared with the log's.
func (fixedClock) Released() bool { return true }

type fixedPressure struct{ full *overload.RefusedError }

func (p fixedPressure) Full(string) *overload.RefusedError { return p.full }

// full is what a nearly full log refuses with.
func full() *overload.RefusedError { return fullAt("vdc.0", 0.8) }

// fixture is ingest without listeners, on a log in memory.
type fixture struct {
	t       testing.TB
	deps    run.Deps
	memory  *log.Memory
	door    *door
	hasher  identity.Hasher
	handler http.Handler
}

func newFixture(t testing.TB, change ...func(*Config, *run.Deps)) *fixture {
	t.Helper()
	cfg, deps := Default(), runtest.Deps(t)
	deps.Clock = fixedClock{at: noon}
	for _, c := range change {
		c(&cfg, &deps)
	}
	m, err := newMetrics(deps.Meter)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, deps: deps, door: newDoor(cfg, deps, m)}
	f.memory, _ = deps.Broker.(*log.Memory)
	f.door.pressure = fixedPressure{}
	f.hasher = f.door.hasher
	h := &httpEntrances{door: f.door, keys: newKeyring(cfg), ready: func() bool { return true }}
	f.handler = h.handler(deps)
	return f
}

// post sends a body and returns the status, the answer and the response.
func (f *fixture) post(path, body string, headers ...string) (int, answer, http.Header) {
	f.t.Helper()
	return f.do(http.MethodPost, path, strings.NewReader(body), headers...)
}

func (f *fixture) do(method, path string, body io.Reader, headers ...string) (int, answer, http.Header) {
	f.t.Helper()
	req := httptest.NewRequest(method, path, body)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	f.handler.ServeHTTP(rec, req)
	var a answer
	if strings.HasPrefix(rec.Header().Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil {
			f.t.Fatalf("answer %q: %v", rec.Body, err)
		}
	}
	return rec.Code, a, rec.Header()
}

// messages reads everything stored under a subject prefix, partition by partition.
func (f *fixture) messages(prefix string) [][]byte {
	f.t.Helper()
	var all [][]byte
	for p := range f.deps.Generation.Partitions {
		after := uint64(0)
		for {
			m, err := f.deps.Broker.Next(f.t.Context(), log.Subject(prefix, p), after)
			if errors.Is(err, log.ErrNotFound) {
				break
			}
			if err != nil {
				f.t.Fatal(err)
			}
			all, after = append(all, m.Data), m.Sequence
		}
	}
	return all
}

// stored reads the events of a lane.
func (f *fixture) stored(lane string) []*eventv1.Event {
	f.t.Helper()
	var all []*eventv1.Event
	for _, data := range f.messages(log.Lane(lane)) {
		arrivals := &stagev1.Arrivals{}
		if err := arrivals.UnmarshalVT(data); err != nil {
			f.t.Fatal(err)
		}
		for _, a := range arrivals.GetItems() {
			e := &eventv1.Event{}
			if err := e.UnmarshalVT(a.GetPayload()); err != nil {
				f.t.Fatal(err)
			}
			all = append(all, e)
		}
	}
	return all
}

// one returns the only event of a lane.
func (f *fixture) one(lane string) *eventv1.Event {
	f.t.Helper()
	all := f.stored(lane)
	if len(all) != 1 {
		f.t.Fatalf("%d events in lane %s, want 1", len(all), lane)
	}
	return all[0]
}

func (f *fixture) letters() []*stagev1.DeadLetter {
	f.t.Helper()
	var all []*stagev1.DeadLetter
	for _, data := range f.messages(log.DeadLetters("ingest")) {
		l := &stagev1.DeadLetter{}
		if err := l.UnmarshalVT(data); err != nil {
			f.t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

// token signs a token for a customer of the tenant default.
func (f *fixture) token(change func(*decisionv1.Token)) string {
	f.t.Helper()
	customer := bytes.Repeat([]byte{7}, identity.IDSize)
	tok := &decisionv1.Token{
		Tenant: "default", Generation: f.deps.Generation.Number, Customer: customer,
		Partition: uint32(f.hasher.Partition(customer)), //nolint:gosec // small
		Proposal:  "p1", Action: "welcome", Treatment: "mail", Channel: "email", Topic: "news",
	}
	if change != nil {
		change(tok)
	}
	text, err := f.hasher.Sign(tok)
	if err != nil {
		f.t.Fatal(err)
	}
	return text
}

// slowStore holds every append until it is released and notes them.
type slowStore struct {
	mu      sync.Mutex
	batches [][]byte
	open    map[string]int
	most    int
	entered chan string
	release chan error
	next    uint64
}

func newSlowStore() *slowStore {
	return &slowStore{open: map[string]int{}, entered: make(chan string, 100), release: make(chan error, 100)}
}

// Get says that everything was stored just now.
func (s *slowStore) Get(context.Context, string, uint64) (log.Message, error) {
	return log.Message{Time: time.Now()}, nil
}

func (s *slowStore) Publish(ctx context.Context, subject string, data []byte) (uint64, error) {
	s.mu.Lock()
	s.open[subject]++
	s.most = max(s.most, s.open[subject])
	s.batches = append(s.batches, slices.Clone(data))
	s.mu.Unlock()
	s.entered <- subject
	var err error
	select {
	case err = <-s.release:
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[subject]--
	s.next++
	return s.next, err
}
