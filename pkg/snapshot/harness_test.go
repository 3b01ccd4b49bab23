package snapshot

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.opentelemetry.io/otel/metric/noop"
	"pgregory.net/rapid"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

const (
	chain = "prf.0"
	stage = "profile"
)

var shard = state.Shard{Stage: stage}

func at(second int) time.Time { return time.Unix(1_700_000_000+int64(second), 0).UTC() }

// names that rows, lists and sets have; small parts hold a few of them.
func names() []string {
	var out []string
	for n := range 30 {
		out = append(out, fmt.Sprintf("default/c/%02d", n))
	}
	return out
}

// history draws records, the first at sequence 1, with gaps between: other chains share the stream.
func history(rt *rapid.T, most int) []state.Batch {
	var out []state.Batch
	sequence := uint64(0)
	for range rapid.IntRange(1, most).Draw(rt, "records") {
		b := state.Batch{Prev: sequence}
		sequence += uint64(rapid.IntRange(1, 3).Draw(rt, "step"))
		b.Meta = state.Meta{
			Generation: 1, Applied: sequence, Now: at(int(sequence)), Revision: fmt.Sprint("r", sequence/5),
			Origins: map[string]uint64{"live": sequence * 2}, Senders: map[string]state.Position{},
		}
		if rapid.Bool().Draw(rt, "letter") {
			b.Meta.Senders[rapid.SampledFrom([]string{"prf.1", "act.2"}).Draw(rt, "sender")] = state.Position{Sequence: sequence, Index: 1}
		}
		for range rapid.IntRange(0, 6).Draw(rt, "writes") {
			b.Writes = append(b.Writes, drawWrite(rt))
		}
		out = append(out, b)
	}
	return out
}

func drawWrite(rt *rapid.T) state.Write {
	w := state.Write{Key: rapid.SampledFrom(names()).Draw(rt, "key")}
	switch rapid.IntRange(0, 5).Draw(rt, "write") {
	case 0:
		w.Deleted = true
	case 1:
	default:
		w.Value = bytes.Repeat([]byte{byte(rapid.IntRange(0, 255).Draw(rt, "byte"))}, rapid.IntRange(0, 40).Draw(rt, "size"))
		if rapid.Bool().Draw(rt, "wakes") {
			w.Wake = at(rapid.IntRange(-100, 100).Draw(rt, "wake"))
		}
	}
	for range rapid.IntRange(0, 3).Draw(rt, "deltas") {
		w.Deltas = append(w.Deltas, state.Delta{
			Name: rapid.SampledFrom(names()[:8]).Draw(rt, "name"), Kind: state.DeltaKind(rapid.SampledFrom([]int{1, 1, 1, 2, 3, 3, 4}).Draw(rt, "kind")),
			Value: []byte{byte(rapid.IntRange(0, 9).Draw(rt, "value"))}, Keep: rapid.IntRange(0, 4).Draw(rt, "keep"),
		})
	}
	return w
}

// content is everything that a store can tell of a shard.
type content struct {
	Meta    state.Meta
	Keys    []string
	View    state.View
	Due     []state.Due
	Members map[string][]string
}

func contentOf(t testing.TB, s state.Store) content {
	t.Helper()
	var c content
	var err error
	if c.Keys, err = s.Keys(t.Context(), shard, "", 10_000); err != nil {
		t.Fatal(err)
	}
	if c.Due, err = s.Due(t.Context(), shard, at(10_000), 10_000); err != nil {
		t.Fatal(err)
	}
	q := state.Query{Metas: []string{stage}}
	for _, k := range c.Keys {
		q.Rows = append(q.Rows, state.Row{Stage: stage, Key: k})
	}
	for _, n := range names()[:8] {
		q.Lists = append(q.Lists, state.List{Stage: stage, Name: n, Newest: 1000})
		for m := range 10 {
			q.Members = append(q.Members, state.Member{Stage: stage, Set: n, Value: string([]byte{byte(m)})})
		}
	}
	if c.View, err = s.Read(t.Context(), 0, q); err != nil {
		t.Fatal(err)
	}
	c.Meta = c.View.Metas[stage]
	return c
}

func diff(a, b content) string { return cmp.Diff(a, b, cmpopts.EquateEmpty()) }

func apply(t testing.TB, s state.Store, batches ...state.Batch) {
	t.Helper()
	for _, b := range batches {
		if err := s.Apply(t.Context(), shard, b); err != nil {
			t.Fatal(err)
		}
	}
}

// library is one in memory, with the log that it is in.
func library(t testing.TB) (*Library, *log.Memory) {
	t.Helper()
	m := log.NewMemory()
	l := NewLibrary(m.Objects(), m.KV(), 1)
	l.piece = 3
	return l, m
}

// take builds a snapshot of batches onto another one.
func take(t testing.TB, l *Library, base *Snapshot, batches []state.Batch) *Snapshot {
	t.Helper()
	s, err := l.Build(t.Context(), build(base, batches))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func build(base *Snapshot, batches []state.Batch) Build {
	after := state.Meta{}
	if base != nil {
		after = base.Meta()
	}
	d := NewDelta(after)
	for _, b := range batches {
		d.Add(b)
	}
	return Build{Chain: chain, Base: base, Delta: d, Owner: "test", Now: at(0), Part: 200, Keep: 3}
}

// entries are all of a snapshot.
func entries(t testing.TB, l *Library, s *Snapshot) []*stagev1.SnapshotEntry {
	t.Helper()
	var out []*stagev1.SnapshotEntry
	for _, p := range s.Index.GetParts() {
		of, err := l.Part(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, of...)
	}
	if !slices.IsSortedFunc(out, compare) {
		t.Error("the entries are not in order")
	}
	return out
}

// world is a chain in a log, a store, and a keeper of them.
type world struct {
	t       testing.TB
	log     *log.Memory
	store   *state.Memory
	keeper  *Keeper
	last    uint64
	now     time.Time
	owned   []int
	visited []string
}

func newWorld(t testing.TB, s Settings) *world {
	t.Helper()
	w := &world{t: t, store: state.NewMemory(), owned: []int{0}, now: time.Now()}
	m, gen, err := log.ProvisionMemory(t.Context(), log.Generation{Number: 1, Partitions: 2, Streams: 1, Replicas: 1}, log.WithClock(func() time.Time { return w.now }))
	if err != nil {
		t.Fatal(err)
	}
	w.log, w.last = m, 1
	w.keeper = NewKeeper(Config{Settings: s, Spec: log.Stage(stage), Generation: gen, Replica: "test"}, Ports{
		Broker: m, KV: m.KV(), Objects: m.Objects(), Store: w.store, Clock: shifted{w: w}, Logger: slog.New(slog.DiscardHandler),
		Meter: noop.NewMeterProvider(), Points: func(name string) { w.visited = append(w.visited, name) }, Decode: decodeRecord,
		Owned: func() []int { return w.owned },
	})
	w.keeper.adopt(w.owned)
	return w
}

// shifted is the wall clock at the world's time of day.
type shifted struct {
	clock.Wall

	w *world
}

// Now implements clock.Clock.
func (s shifted) Now() time.Time { return s.w.now }

// record appends what a batch of writes does to the chain, and to the store.
func (w *world) record(writes ...state.Write) uint64 {
	w.t.Helper()
	rec := &stagev1.Record{Generation: 1, Prev: w.last, Kind: stagev1.RecordKind_RECORD_KIND_BATCH}
	for _, x := range writes {
		body := &stagev1.CellBody{State: x.Value, Deleted: x.Deleted, Wake: asProto(x.Wake)}
		for _, d := range x.Deltas {
			body.Deltas = append(body.Deltas, &stagev1.Delta{Name: d.Name, Kind: stagev1.DeltaKind(d.Kind), Value: d.Value, Keep: uint32(d.Keep)}) //nolint:gosec // small
		}
		sealed, err := body.MarshalVT()
		if err != nil {
			w.t.Fatal(err)
		}
		rec.Cells = append(rec.Cells, &stagev1.Cell{Key: x.Key, Sealed: sealed})
	}
	return w.append(rec)
}

func (w *world) append(rec *stagev1.Record) uint64 {
	w.t.Helper()
	data, err := rec.MarshalVT()
	if err != nil {
		w.t.Fatal(err)
	}
	was := w.last
	if w.last, err = w.log.Append(w.t.Context(), chain, w.last, data); err != nil {
		w.t.Fatal(err)
	}
	b, err := decodeRecord(rec, w.last)
	if err != nil {
		w.t.Fatal(err)
	}
	if was == 1 {
		b.Prev = 0 // the genesis does nothing here
	}
	if err := w.store.Apply(w.t.Context(), shard, b); err != nil {
		w.t.Fatal(err)
	}
	return w.last
}

func decodeRecord(rec *stagev1.Record, sequence uint64) (state.Batch, error) {
	b := state.Batch{Prev: rec.GetPrev(), Meta: state.Meta{Generation: 1, Applied: sequence}}
	for _, o := range rec.GetOrigins() {
		if b.Meta.Origins == nil {
			b.Meta.Origins = map[string]uint64{}
		}
		b.Meta.Origins[o.GetLane()] = o.GetSequence()
	}
	for _, c := range rec.GetCells() {
		body := &stagev1.CellBody{}
		if err := body.UnmarshalVT(c.GetSealed()); err != nil {
			return b, err
		}
		w := state.Write{Key: c.GetKey(), Deleted: body.GetDeleted(), Wake: asTime(body.GetWake())}
		if len(body.GetState()) > 0 {
			w.Value = body.GetState()
		}
		for _, d := range body.GetDeltas() {
			w.Deltas = append(w.Deltas, state.Delta{Name: d.GetName(), Kind: state.DeltaKind(d.GetKind()), Value: d.GetValue(), Keep: int(d.GetKeep())})
		}
		b.Writes = append(b.Writes, w)
	}
	return b, nil
}

// row writes a row.
func row(key, value string) state.Write { return state.Write{Key: key, Value: []byte(value)} }
