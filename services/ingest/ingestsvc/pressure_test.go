package ingestsvc

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
)

// gaugesOf is a log of which only fullness and lag matter.
type gaugesOf struct {
	used    map[string]uint64 // by subject, out of 100
	covered uint64
	waiting []log.Message
	err     error
}

func (g gaugesOf) Usage(_ context.Context, subject string) (log.Usage, error) {
	return log.Usage{Bytes: g.used[subject], MaxBytes: 100}, g.err
}

func (g gaugesOf) Last(context.Context, string) (log.Message, error) {
	record := &stagev1.Record{Covers: []*stagev1.Cover{{Input: "evt.control", Sequence: 99}, {Input: "evt.live", Sequence: g.covered}}}
	data, err := record.MarshalVT()
	return log.Message{Data: data}, err
}

func (g gaugesOf) Next(_ context.Context, _ string, after uint64) (log.Message, error) {
	for _, m := range g.waiting {
		if m.Sequence > after {
			return m, nil
		}
	}
	return log.Message{}, log.ErrNotFound
}

func TestPressureFollowsFullnessAndLag(t *testing.T) {
	old := []log.Message{{Sequence: 5, Time: time.Now().Add(-2 * time.Minute)}}
	for name, c := range map[string]struct {
		log  gaugesOf
		full bool
		says string
	}{
		"idle":               {},
		"all covered":        {log: gaugesOf{covered: 5, waiting: old}},
		"old event waits":    {log: gaugesOf{covered: 4, waiting: old}, says: "lags by 2m"},
		"new event waits":    {log: gaugesOf{waiting: []log.Message{{Sequence: 5, Time: time.Now()}}}},
		"79 per cent":        {log: gaugesOf{used: map[string]uint64{"vdc.0": 79}}},
		"80 per cent":        {log: gaugesOf{used: map[string]uint64{"vdc.0": 80}}, full: true, says: "vdc.0 is 80 % full"},
		"events' own stream": {log: gaugesOf{used: map[string]uint64{"evt.live.0": 95}, waiting: old}, full: true, says: "95 %"},
	} {
		t.Run(name, func(t *testing.T) {
			s := testSampler(t, c.log)
			s.sample(t.Context())
			l := s.Load()
			if l.refuses() != (c.says != "") || l.full != c.full || !strings.Contains(l.why, c.says) {
				t.Errorf("got %+v", l)
			}
		})
	}
}

func testSampler(t *testing.T, g gauges) *sampler {
	t.Helper()
	m, err := newMetrics(metricnoop.NewMeterProvider())
	if err != nil {
		t.Fatal(err)
	}
	return &sampler{
		log: g, generation: log.Generation{Number: 1, Partitions: 2, Streams: 1}, clock: clock.Wall{}, fullAt: 0.8, maxLag: time.Minute,
		every: time.Second, metrics: m, logger: slog.New(slog.DiscardHandler), lags: make([]time.Duration, 2),
	}
}

func TestWhatCannotBeReadLeavesTheLastWord(t *testing.T) {
	s := testSampler(t, gaugesOf{used: map[string]uint64{"vdc.0": 90}})
	if !s.sample(t.Context()) || !s.Load().full {
		t.Fatalf("got %+v", s.Load())
	}
	s.log = gaugesOf{err: errors.New("down")}
	if s.sample(t.Context()) || !s.Load().full {
		t.Fatalf("got %+v", s.Load())
	}
}

func TestUnderPressureOnlyWhatRestrictsContactPasses(t *testing.T) {
	track := `{"type":"track","userId":"u","event":"a"}`
	consent := `{"type":"track","userId":"u","event":"consent_withdrawn"}`
	for name, c := range map[string]struct {
		load   load
		body   string
		status int
	}{
		"lag":              {load{why: "lags", retryAfter: 2 * time.Second}, track, http.StatusTooManyRequests},
		"full":             {load{why: "full", full: true, retryAfter: 10 * time.Second}, track, http.StatusServiceUnavailable},
		"opt-out":          {load{why: "full", full: true}, consent, http.StatusOK},
		"mixed":            {load{why: "full", full: true}, consent + "," + track, http.StatusServiceUnavailable},
		"nothing the case": {load{}, track, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.door.pressure = fixedPressure{c.load}
			code, _, header := f.post("/v1/batch", `{"batch":[`+c.body+`]}`)
			if code != c.status || (code != http.StatusOK) != (header.Get("Retry-After") != "") {
				t.Errorf("got %d, retry after %q", code, header.Get("Retry-After"))
			}
		})
	}
}
