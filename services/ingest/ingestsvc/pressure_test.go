package ingestsvc

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	metricnoop "go.opentelemetry.io/otel/metric/noop"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/services/ingest/ingestsvc/overload"
)

// gaugesOf is a log of which only fullness and progress matter.
type gaugesOf struct {
	used    map[string]uint64 // by subject, out of 100
	through map[string]uint64 // origins of every chain's last record, by lane
	asked   *counts           // may be nil
	err     error
}

// counts is safe for concurrent use.
type counts struct {
	mu sync.Mutex
	of map[string]int
}

func (c *counts) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[string]int{}
	}
	c.of[name]++
}

func (g gaugesOf) Usage(_ context.Context, subject string) (log.Usage, error) {
	return log.Usage{Bytes: g.used[subject], MaxBytes: 100}, g.err
}

func (g gaugesOf) Last(_ context.Context, subject string) (log.Message, error) {
	if g.asked != nil {
		g.asked.add(subject)
	}
	record := &stagev1.Record{}
	for lane, sequence := range g.through {
		record.Origins = append(record.Origins, &stagev1.Origin{Lane: lane, Sequence: sequence})
	}
	data, err := record.MarshalVT()
	return log.Message{Data: data}, errors.Join(err, g.err)
}

func TestFullnessClosesBulkFirst(t *testing.T) {
	for name, c := range map[string]struct {
		used       map[string]uint64
		live, bulk bool
	}{
		"empty":              {},
		"69 per cent":        {used: map[string]uint64{"vdc.0": 69}},
		"70 per cent":        {used: map[string]uint64{"vdc.0": 70}, bulk: true},
		"80 per cent":        {used: map[string]uint64{"vdc.0": 80}, live: true, bulk: true},
		"events' own stream": {used: map[string]uint64{"evt.control.0": 95}, live: true, bulk: true},
		"dead letters":       {used: map[string]uint64{"dlq.profile.0": 95}, live: true, bulk: true},
		"nothing reads back": {used: map[string]uint64{"dcn.0": 100, "dlq.ingest.0": 100}},
		"mailboxes":          {used: map[string]uint64{"box.profile.0": 95}, live: true, bulk: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := testSampler(t, gaugesOf{used: c.used})
			if !s.sample(t.Context()) {
				t.Fatal("not sampled")
			}
			live, bulk := s.Full(log.LaneLive), s.Full(log.LaneBulk)
			if (live != nil) != c.live || (bulk != nil) != c.bulk {
				t.Fatalf("live %+v, bulk %+v", live, bulk)
			}
			if bulk != nil && (bulk.Reason != overload.StreamFull || !strings.Contains(bulk.Why, "% full")) {
				t.Errorf("refused with %+v", bulk)
			}
		})
	}
}

// A lane that was closed opens when there is some room, not at the first byte.
func TestFullnessHasHysteresis(t *testing.T) {
	used := map[string]uint64{}
	s := testSampler(t, gaugesOf{used: used})
	for _, step := range []struct {
		used   uint64
		closed bool
	}{{79, false}, {80, true}, {79, true}, {76, true}, {74, false}, {79, false}} {
		used["prf.0"] = step.used
		s.sample(t.Context())
		if got := s.Full(log.LaneLive) != nil; got != step.closed {
			t.Errorf("at %d %%: closed %v", step.used, got)
		}
	}
}

func testSampler(t *testing.T, g gauges) *sampler {
	t.Helper()
	m, err := newMetrics(metricnoop.NewMeterProvider())
	if err != nil {
		t.Fatal(err)
	}
	gen, logger := log.Generation{Number: 1, Partitions: 2, Streams: 1}, slog.New(slog.DiscardHandler)
	return &sampler{
		log: g, generation: gen, clock: clock.Wall{}, liveAt: 0.8, bulkAt: 0.7, metrics: m, logger: logger,
		streams: newStreams(gen, func(int) {}, logger),
	}
}

func TestWhatCannotBeReadLeavesTheLastWord(t *testing.T) {
	s := testSampler(t, gaugesOf{used: map[string]uint64{"vdc.0": 90}})
	if !s.sample(t.Context()) || s.Full(log.LaneLive) == nil {
		t.Fatal("90 % full and open")
	}
	s.log = gaugesOf{err: errors.New("down")}
	if s.sample(t.Context()) || s.Full(log.LaneLive) == nil {
		t.Fatal("open because nobody knows")
	}
}

const (
	trackJSON   = `{"type":"track","userId":"u","event":"a","messageId":"1"}`
	consentJSON = `{"type":"track","userId":"u","event":"consent_withdrawn","messageId":"2"}`
)

func TestUnderPressureOnlyWhatRestrictsContactPasses(t *testing.T) {
	for name, c := range map[string]struct {
		full   *overload.RefusedError
		body   string
		status int
		stored int // in the control lane
	}{
		"full":             {full(), trackJSON, http.StatusServiceUnavailable, 0},
		"opt-out":          {full(), consentJSON, http.StatusOK, 1},
		"escaped opt-out":  {full(), strings.Replace(consentJSON, "consent_", `\u0063onsent_`, 1), http.StatusOK, 1},
		"mixed":            {full(), consentJSON + "," + trackJSON, http.StatusServiceUnavailable, 1},
		"nothing the case": {nil, trackJSON + "," + consentJSON, http.StatusOK, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.door.pressure = fixedPressure{c.full}
			code, a, header := f.post("/v1/batch", `{"batch":[`+c.body+`]}`)
			refused := code != http.StatusOK
			if code != c.status || refused != (header.Get("Retry-After") != "") || refused != (a.Reason == "STREAM_FULL") {
				t.Errorf("got %d, retry after %q, %+v", code, header.Get("Retry-After"), a)
			}
			if got := len(f.stored("control")); got != c.stored {
				t.Errorf("%d opt-outs are stored", got)
			}
			if refused && len(f.stored("live")) > 0 {
				t.Error("something live is stored")
			}
		})
	}
}
