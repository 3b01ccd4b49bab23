package stage

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/protobuf/types/known/timestamppb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// mesh is two stages over a log and a store in memory.
type mesh struct {
	t      *testing.T
	broker *log.Memory
	store  state.Store
	gen    log.Generation
	fold   *ledger
	batch  int
	caller Caller
}

func newMesh(t *testing.T, partitions, batch int) *mesh {
	t.Helper()
	gen := log.Generation{Number: 1, Partitions: partitions, Streams: 1, Replicas: 1}
	broker, gen, err := log.ProvisionMemory(t.Context(), gen)
	if err != nil {
		t.Fatalf("provision: %v", err)
	}
	return &mesh{t: t, broker: broker, store: state.NewMemory(), gen: gen, fold: &ledger{partitions: partitions}, batch: batch, caller: echo{}}
}

func (m *mesh) stage(name string, broker log.Broker, c clock.Clock) *Stage {
	return New(Config{Spec: log.Stage(name), Generation: m.gen, Replica: "test", Batch: m.batch}, m.fold, Ports{
		Broker: broker, KV: m.broker.KV(), Store: m.store, Clock: c, Logger: slog.New(slog.DiscardHandler),
		Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(), Caller: m.caller,
	})
}

type arrival struct {
	lane string
	at   time.Time
	e    entry
}

// publish stores an entry as ingest would.
func (m *mesh) publish(broker log.Broker, r *Replay, a arrival) {
	m.t.Helper()
	payload, err := json.Marshal(a.e)
	if err != nil {
		m.t.Fatal(err)
	}
	received, done := a.at, func() {}
	if r != nil {
		var times []time.Time
		times, done = r.Arrive([]time.Time{a.at})
		received = times[0]
	}
	defer done()
	if a.lane == "" {
		a.lane = log.LaneLive
	}
	m.raw(broker, log.Subject(log.Lane(a.lane), m.fold.home(a.e.Customer)), &stagev1.Arrivals{Items: []*stagev1.Arrival{{
		ReceivedAt: timestamppb.New(received), At: timestamppb.New(a.at), Item: &stagev1.Arrival_Payload{Payload: payload},
	}}})
}

func (m *mesh) raw(broker log.Broker, subject string, msg *stagev1.Arrivals) {
	m.t.Helper()
	data, err := msg.MarshalVT()
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := broker.Publish(m.t.Context(), subject, data); err != nil {
		m.t.Fatal(err)
	}
}

// facts reads all facts of a chain, by customer, in order.
func (m *mesh) facts(chain string) map[string][]string {
	m.t.Helper()
	out := map[string][]string{}
	for p := range m.gen.Partitions {
		prev := uint64(0)
		for _, rec := range m.records(log.Subject(chain, p)) {
			if rec.rec.GetPrev() != prev {
				m.t.Fatalf("%s.%d: record %d follows %d, want %d", chain, p, rec.seq, rec.rec.GetPrev(), prev)
			}
			prev = rec.seq
			for _, c := range rec.rec.GetCells() {
				body, err := openCell(c)
				if err != nil {
					m.t.Fatal(err)
				}
				for _, f := range body.GetFacts() {
					out[c.GetKey()] = append(out[c.GetKey()], string(f))
				}
			}
		}
	}
	return out
}

type stored struct {
	seq uint64
	rec *stagev1.Record
}

func (m *mesh) records(subject string) []stored {
	m.t.Helper()
	var out []stored
	for after := uint64(0); ; {
		msg, err := m.broker.Next(context.Background(), subject, after)
		if err != nil {
			return out
		}
		rec := &stagev1.Record{}
		if err := rec.UnmarshalVT(msg.Data); err != nil {
			m.t.Fatal(err)
		}
		out = append(out, stored{msg.Sequence, rec})
		after = msg.Sequence
	}
}

// row reads a customer's state.
func (m *mesh) row(stage, customer string) sum {
	m.t.Helper()
	view, err := m.store.Read(context.Background(), m.fold.home(customer), state.Query{Rows: []state.Row{{Stage: stage, Key: key(customer)}}})
	if err != nil {
		m.t.Fatal(err)
	}
	var s sum
	_ = json.Unmarshal(view.Rows[0], &s)
	return s
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(time.Minute) // of a machine that does much else
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}
