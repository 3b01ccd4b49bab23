package ingestsvc

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	metricnoop "go.opentelemetry.io/otel/metric/noop"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
)

// haltedParts are the partitions that were told of.
type haltedParts struct {
	mu  sync.Mutex
	all []int
}

func (h *haltedParts) add(component string, partition int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if component == "ingest" {
		h.all = append(h.all, partition)
	}
}

func (h *haltedParts) sorted() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(slices.Values(h.all))
}

func refusesLost(t *testing.T, f *fixture, halted *haltedParts, want string) {
	t.Helper()
	code, a, _ := f.post("/v1/track", `{"userId":"u","event":"seen"}`)
	if code != 503 || !strings.Contains(a.Error, want) {
		t.Errorf("answer %d: %+v, want 503 because %s", code, a, want)
	}
	if got := halted.sorted(); len(got) != f.deps.Generation.Partitions {
		t.Errorf("readiness says that partitions %v are halted, want all of them", got)
	}
}

// While EVENTS is not the stream that was provisioned nothing is taken: what was acknowledged would be read by nobody.
func TestNothingIsTakenForAStreamThatWasMadeAnew(t *testing.T) {
	halted := &haltedParts{}
	f := newFixture(t, func(_ *Config, d *run.Deps) { d.Halted = halted.add })
	m, err := newMetrics(metricnoop.NewMeterProvider())
	if err != nil {
		t.Fatal(err)
	}
	s := &sampler{
		log: f.memory, generation: f.deps.Generation, clock: clock.Wall{}, liveAt: 0.8, bulkAt: 0.7, metrics: m,
		logger: slog.New(slog.DiscardHandler), streams: f.door.committer.streams,
	}
	if code, a, _ := f.post("/v1/track", `{"userId":"u","event":"seen"}`); code != 200 || !s.sample(t.Context()) {
		t.Fatalf("answer %d: %+v", code, a)
	}
	f.memory.Recreate(f.memory.StreamOf("evt.live.0"))
	if !s.sample(t.Context()) {
		t.Fatal("nothing was sampled")
	}
	refusesLost(t, f, halted, "was made anew")
	if n := len(f.messages(log.Lane(log.LaneLive))); n > 0 {
		t.Errorf("%d messages were stored", n)
	}
}

// Before the next look, a sequence that was acknowledged already tells: what has it is not acknowledged.
func TestASequenceThatComesAgainIsNotAcknowledged(t *testing.T) {
	halted := &haltedParts{}
	f := newFixture(t, func(_ *Config, d *run.Deps) { d.Halted = halted.add })
	for range 3 {
		if code, a, _ := f.post("/v1/track", `{"userId":"u","event":"seen"}`); code != 200 {
			t.Fatalf("answer %d: %+v", code, a)
		}
	}
	f.memory.Recreate(f.memory.StreamOf("evt.live.0"))
	refusesLost(t, f, halted, "the log lost data")
}

// Streams that ingest does not fill are not its to judge.
func TestAnotherStreamThatWasMadeAnewClosesNothing(t *testing.T) {
	halted := &haltedParts{}
	f := newFixture(t, func(_ *Config, d *run.Deps) { d.Halted = halted.add })
	f.memory.Recreate(f.memory.StreamOf("prf.0"))
	usage, err := f.memory.Usage(t.Context(), "prf.0")
	if err != nil {
		t.Fatal(err)
	}
	f.door.committer.streams.found(t.Context(), "prf.0", usage)
	if code, a, _ := f.post("/v1/track", `{"userId":"u","event":"seen"}`); code != 200 || len(halted.sorted()) > 0 {
		t.Errorf("answer %d: %+v; halted %v", code, a, halted.sorted())
	}
}
