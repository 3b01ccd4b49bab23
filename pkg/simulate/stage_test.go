package simulate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/protobuf/types/known/timestamppb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/simulate"
	"refrain.dev/pkg/simulate/schedule"
	"refrain.dev/pkg/simulate/sweep"
	"refrain.dev/pkg/stage"
)

// The tests' fold counts entries per customer, each id once, tells another customer where an entry says so,
// and counts once more when a timer is due.

type entry struct {
	Customer, ID, Tell string
	Later              time.Duration
}

type tally struct {
	Count int
	Due   []time.Time
}

type tallies struct{ partitions int }

func (f tallies) home(customer string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(customer))
	return int(h.Sum32()) % f.partitions
}

func (f tallies) Needs(in stage.Input, _ time.Time) (stage.Needs, error) {
	if in.Source == stage.FromLane || in.Source == stage.FromBox {
		e := entry{}
		if err := json.Unmarshal(in.Payload, &e); err != nil {
			return stage.Needs{}, err
		}
		return stage.Needs{Rows: []string{e.Customer}, Members: []stage.Member{{Set: "seen/" + e.Customer, Value: e.ID}}}, nil
	}
	return stage.Needs{Rows: []string{in.Key}}, nil
}

func (f tallies) Decide(in stage.Input, rows stage.Rows, env stage.Env) (stage.Outcome, error) {
	switch in.Source { //nolint:exhaustive // the test has no other inputs
	case stage.FromLane, stage.FromBox:
		return f.entry(in, rows, env)
	case stage.FromTimer:
		t := load(rows, in.Key)
		due := slices.DeleteFunc(slices.Clone(t.Due), func(at time.Time) bool { return at.After(env.Now) })
		if len(due) == 0 {
			return stage.Outcome{}, nil
		}
		t.Count += len(due)
		t.Due = slices.DeleteFunc(t.Due, func(at time.Time) bool { return !at.After(env.Now) })
		return stage.Outcome{Cells: []stage.Cell{cell(in.Key, t, len(due))}}, nil
	case stage.FromBefore:
		t := load(rows, in.Key)
		t.Count += len(in.Facts)
		return stage.Outcome{Cells: []stage.Cell{cell(in.Key, t, len(in.Facts))}}, nil
	}
	return stage.Outcome{}, nil
}

func (f tallies) entry(in stage.Input, rows stage.Rows, env stage.Env) (stage.Outcome, error) {
	e := entry{}
	if err := json.Unmarshal(in.Payload, &e); err != nil {
		return stage.Outcome{}, err
	}
	if rows.Has("seen/"+e.Customer, e.ID) {
		return stage.Outcome{}, nil
	}
	t := load(rows, e.Customer)
	t.Count++
	if e.Later > 0 {
		t.Due = append(t.Due, env.Now.Add(e.Later))
	}
	c := cell(e.Customer, t, 1)
	if in.Source == stage.FromLane { // letters are known by their position
		c.Deltas = []*stagev1.Delta{{Name: "seen/" + e.Customer, Kind: stagev1.DeltaKind_DELTA_KIND_ADD, Value: []byte(e.ID)}}
	}
	out := stage.Outcome{Cells: []stage.Cell{c}}
	if e.Tell != "" {
		letter, err := json.Marshal(entry{Customer: e.Tell, ID: "letter-" + e.ID})
		if err != nil {
			return stage.Outcome{}, err
		}
		out.Addressed = []stage.Addressed{{Stage: "profile", Partition: f.home(e.Tell), Payload: letter}}
	}
	return out, nil
}

func (f tallies) Gap(stage.Input, stage.Rows, stage.Env, string) stage.Outcome {
	return stage.Outcome{}
}

func load(rows stage.Rows, key string) tally {
	t := tally{}
	_ = json.Unmarshal(rows.Own(key), &t) //nolint:errcheck // there may be none
	return t
}

func cell(key string, t tally, facts int) stage.Cell {
	data, _ := json.Marshal(t) //nolint:errcheck,errchkjson // it is no channel
	c := stage.Cell{Key: key, State: data}
	for range facts {
		c.Facts = append(c.Facts, []byte("x"))
	}
	if len(t.Due) > 0 {
		c.Wake = slices.MinFunc(t.Due, time.Time.Compare)
	}
	return c
}

// nodes of the stages' world: two replicas of each, which both believe that they own everything.
func stageNodes() []string { return []string{"profile-0", "profile-1", "decision-0", "decision-1"} }

func runStages(c schedule.Case, trace func(string)) simulate.Result {
	w := simulate.New(simulate.Config{Seed: c.Seed, Schedule: c.Schedule, Trace: trace})
	gen := log.Generation{Number: 1, Partitions: 2, Streams: 1, Replicas: 1, Secret: []byte(strings.Repeat("s", 32))}
	if _, err := log.Provision(context.Background(), w.Log(), gen, log.ProvisionConfig{}); err != nil {
		w.Violate("provision", err.Error())
	}
	fold := tallies{gen.Partitions}
	for _, name := range stageNodes() {
		w.Node(name, simulate.NodeConfig{}).Start(func(p *simulate.Process) error {
			service, _, _ := strings.Cut(name, "-")
			s := stage.New(stage.Config{Spec: log.Stage(service), Generation: gen, Replica: p.Name(), Batch: 4}, fold, stage.Ports{
				Broker: p.Broker(), KV: p.KV(), Store: p.Store(), Clock: p.Clock(), Logger: slog.New(slog.DiscardHandler),
				Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(), Points: p.Points(),
			})
			return stage.NewFreeRunner().Run(p.Context(), s)
		})
	}
	return w.Run(func(ctx context.Context, p *simulate.Process) error {
		want := map[string]int{}
		for n := range 24 {
			e := entry{Customer: fmt.Sprint("c", n%5), ID: fmt.Sprint("id", n)}
			if n%4 == 0 {
				e.Tell = fmt.Sprint("c", (n+1)%5)
				want[e.Tell]++
			}
			if n%6 == 0 {
				e.Later = 300 * time.Millisecond
				want[e.Customer]++
			}
			want[e.Customer]++
			if err := publishEntry(ctx, p, fold, e); err != nil {
				return err
			}
			_ = p.Sleep(ctx, 20*time.Millisecond)
		}
		w.Calm()
		if !p.Until(ctx, time.Minute, time.Second, func() bool { return maps.Equal(counted(w, "act"), want) }) {
			w.Violate("counted", fmt.Sprintf("got %v, then %v, want %v", counted(w, "prf"), counted(w, "act"), want))
		}
		return nil
	})
}

func publishEntry(ctx context.Context, p *simulate.Process, fold tallies, e entry) error {
	payload, err := json.Marshal(e)
	if err != nil {
		return err
	}
	now := timestamppb.New(p.Clock().Now())
	a := &stagev1.Arrivals{Items: []*stagev1.Arrival{{ReceivedAt: now, At: now, Item: &stagev1.Arrival_Payload{Payload: payload}}}}
	data, err := a.MarshalVT()
	if err != nil {
		return err
	}
	_, err = p.Broker().Publish(ctx, log.Subject(log.Lane(log.LaneLive), fold.home(e.Customer)), data)
	return err
}

// counted is the number of facts per customer in the chains of a stage, which must be whole.
func counted(w *simulate.World, chain string) map[string]int {
	counts := map[string]int{}
	for p := range 2 {
		subject, prev := log.Subject(chain, p), uint64(0)
		for after := uint64(0); ; {
			m, err := w.Log().Next(context.Background(), subject, after)
			if errors.Is(err, log.ErrNotFound) {
				break
			}
			rec := &stagev1.Record{}
			if err := errors.Join(err, rec.UnmarshalVT(m.Data)); err != nil {
				w.Violate("records", err.Error())
				break
			}
			if rec.GetPrev() != prev {
				w.Violate("chain", fmt.Sprintf("%s: record %d follows %d, want %d", subject, m.Sequence, rec.GetPrev(), prev))
			}
			after, prev = m.Sequence, m.Sequence
			for _, c := range rec.GetCells() {
				body := &stagev1.CellBody{}
				if err := body.UnmarshalVT(c.GetSealed()); err != nil {
					w.Violate("cells", err.Error())
				}
				counts[c.GetKey()] += len(body.GetFacts())
			}
		}
	}
	return counts
}

func stageCase(seed uint64) schedule.Case {
	p := schedule.Profile{
		Least: 1, Most: 6, Steps: 3000, Span: time.Second, AtPoints: 30, Passes: 10,
		Targets: schedule.Targets{
			Nodes: stageNodes(), Points: []string{"stage.appended"},
			Places: map[schedule.Class][]string{
				schedule.Log: {"prf.", "act.", "box."}, schedule.Feed: {"evt.", "prf."}, schedule.Stream: {"PROFILES-g1-0", "EVENTS-g1-0"},
				schedule.KV: {""}, schedule.State: {"0", "1"},
			},
		},
	}
	return schedule.Case{Seed: seed, Schedule: schedule.Schedule{Faults: schedule.Generate(seed, p)}}
}

// Real stages run in coroutines, unchanged, and what they do repeats.
func TestStagesRunUnchanged(t *testing.T) {
	points := map[string]bool{}
	for seed := range quickly(20, 5) {
		a, b := runStages(stageCase(seed), nil), runStages(stageCase(seed), nil)
		for goal := range a.Goals {
			if strings.HasPrefix(goal, "point.") {
				points[goal] = true
			}
		}
		if a.Hash == b.Hash {
			continue
		}
		n, first, second := simulate.Diverge(func(trace func(string)) { runStages(stageCase(seed), trace) })
		t.Fatalf("seed %d does not repeat: line %d differs:\n%s\n%s", seed, n, first, second)
	}
	t.Log(slices.Sorted(maps.Keys(points)))
}

// Two replicas of every stage that fight over its partitions count everything once, whatever goes wrong.
func TestStagesCountOnce(t *testing.T) {
	r := sweep.Run(t.Context(), sweep.Config{First: 1, Count: quickly(100, 20), Workers: 2}, func(seed uint64) simulate.Result {
		return runStages(stageCase(seed), nil)
	})
	t.Log(r)
	for _, f := range r.Failures {
		t.Errorf("seed %d: %s: %.1500s\n%s", f.Seed, f.Rule(), f.Violations[0].Text, f.Schedule)
	}
}
