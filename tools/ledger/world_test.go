package ledger

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// world makes a history by hand: an imitation of a mesh in which the test decides what every record says.
// What a record must say of its inputs is filled in: it covers all that is there.
type world struct {
	t      testing.TB
	now    time.Time
	last   map[string]uint64 // sequence by family of subjects: those of one family share a stream
	chains map[string][]*written
	lanes  map[string][]*arrived
	boxes  map[string][]*posted
	dead   map[string][]*buried
	ids    int

	sent     []Sent
	received []Request
}

type written struct {
	sequence uint64
	record   *stagev1.Record
	bodies   []*stagev1.CellBody
	// raw replaces the encoded record.
	raw []byte
}

type arrived struct {
	sequence uint64
	arrivals *stagev1.Arrivals
	stored   time.Time
}

type posted struct {
	sequence uint64
	letter   *stagev1.Letter
}

type buried struct {
	sequence uint64
	letter   *stagev1.DeadLetter
}

const worldPartitions = 2

// noon is when worlds begin: noon in London too.
var noon = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

func newWorld(t testing.TB) *world {
	w := &world{
		t: t, now: noon, last: map[string]uint64{}, chains: map[string][]*written{}, lanes: map[string][]*arrived{},
		boxes: map[string][]*posted{}, dead: map[string][]*buried{},
	}
	for p := range worldPartitions {
		for stage := range stages {
			w.append(stage, p, &stagev1.Record{Kind: stagev1.RecordKind_RECORD_KIND_GENESIS, Owner: "provisioner"}, nil)
		}
	}
	for p := range worldPartitions {
		w.put("evt.control", p, &stagev1.Arrival{Item: &stagev1.Arrival_Catalog{Catalog: &stagev1.CatalogApplied{Revision: "r1", Order: 1}}})
		for stage := range stages {
			w.open(stage, p, "one")
		}
	}
	return w
}

func (w *world) tick(d time.Duration) { w.now = w.now.Add(d) }

// next is the next sequence of a family.
func (w *world) next(family string) uint64 {
	w.last[family]++
	return w.last[family]
}

func subjectOf(stage, p int) string { return log.Subject(log.Stages()[stage].Chain, p) }

// tail is a chain's last record.
func (w *world) tail(stage, p int) *written {
	all := w.chains[subjectOf(stage, p)]
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

// append adds a record with what every record has.
func (w *world) append(stage, p int, r *stagev1.Record, bodies []*stagev1.CellBody) *written {
	w.ids++
	r.Generation, r.Id = 1, fmt.Appendf(nil, "append-%09d", w.ids)
	if prev := w.tail(stage, p); prev != nil {
		r.Prev, r.Now = prev.sequence, timestamppb.New(w.now)
	}
	rec := &written{sequence: w.next(log.Stages()[stage].Chain), record: r, bodies: bodies}
	w.chains[subjectOf(stage, p)] = append(w.chains[subjectOf(stage, p)], rec)
	return rec
}

func (w *world) open(stage, p int, owner string) *written {
	prev := w.tail(stage, p).record
	return w.append(stage, p, &stagev1.Record{
		Kind: stagev1.RecordKind_RECORD_KIND_OPEN, Owner: owner, Covers: prev.GetCovers(), Origins: prev.GetOrigins(), Revision: prev.GetRevision(), RevisionOrder: prev.GetRevisionOrder(),
	}, nil)
}

// put stores arrivals in a lane.
func (w *world) put(lane string, p int, items ...*stagev1.Arrival) *arrived {
	a := &arrived{w.next("evt"), &stagev1.Arrivals{Items: items}, w.now}
	subject := log.Subject(lane, p)
	w.lanes[subject] = append(w.lanes[subject], a)
	return a
}

// arrival makes an item of an event.
func (w *world) arrival(e *eventv1.Event) *stagev1.Arrival {
	e.ReceivedAt = timestamppb.New(w.now)
	return &stagev1.Arrival{
		ReceivedAt: timestamppb.New(w.now), At: e.GetAt(), Item: &stagev1.Arrival_Payload{Payload: must(e.MarshalVT())},
	}
}

// publish sends an event, stores it and acknowledges it.
func (w *world) publish(lane string, p int, e *eventv1.Event) *Sent {
	a := w.put("evt."+lane, p, w.arrival(e))
	w.sent = append(w.sent, Sent{
		ID: e.GetId(), Kind: e.GetType(), Acknowledged: w.now, Position: &Position{Partition: p, Lane: lane, Sequence: a.sequence},
	})
	return &w.sent[len(w.sent)-1]
}

// deliver relays the addressed facts of a record.
func (w *world) deliver(stage, p int, from *written) {
	for n, a := range from.record.GetAddressed() {
		subject := log.Subject(log.Box(a.GetStage()), int(a.GetPartition()))
		w.boxes[subject] = append(w.boxes[subject], &posted{w.next("box." + a.GetStage()), &stagev1.Letter{
			Sender: subjectOf(stage, p), Sequence: from.sequence, Items: []*stagev1.LetterItem{{Index: uint32(n + 1), Fact: a}},
		}})
	}
}

// bury puts an input into the dead letters and returns the gap.
func (w *world) bury(stage string, p int, input string, at place, payload []byte) *stagev1.Gap {
	subject, id := log.Subject(log.DeadLetters(stage), p), fmt.Sprintf("dead-%s-%d-%d", input, at.sequence, at.index)
	w.dead[subject] = append(w.dead[subject], &buried{w.next("dlq"), &stagev1.DeadLetter{
		Id: id, Stage: stage, Input: input, Sequence: at.sequence, Index: at.index, Code: "POISON", Why: "it cannot be", Payload: payload,
	}})
	return &stagev1.Gap{Input: input, Sequence: at.sequence, Index: at.index, DeadLetter: id, Why: "internal"}
}

// is one cell that a test wants.
type is struct {
	key    string
	facts  []interface{ MarshalVT() ([]byte, error) }
	state  []byte
	gone   bool
	deltas []*stagev1.Delta
	wake   time.Time
	cause  string
}

// decide appends a batch that covers all that there is.
func (w *world) decide(stage, p int, cells ...is) *written {
	spec := log.Stages()[stage]
	tail := w.tail(stage, p)
	r := &stagev1.Record{Kind: stagev1.RecordKind_RECORD_KIND_BATCH, Revision: "r1", RevisionOrder: 1}
	for n := len(w.chains[subjectOf(stage, p)]) - 1; n >= 0; n-- {
		if o := w.chains[subjectOf(stage, p)][n]; o.record.GetKind() == stagev1.RecordKind_RECORD_KIND_OPEN {
			r.Epoch, r.Owner = o.sequence, o.record.GetOwner()
			break
		}
	}
	var bodies []*stagev1.CellBody
	for _, c := range cells {
		body := &stagev1.CellBody{State: c.state, Deleted: c.gone, Deltas: c.deltas, Cause: c.cause}
		if !c.wake.IsZero() {
			body.Wake = timestamppb.New(c.wake)
		}
		for _, f := range c.facts {
			body.Facts = append(body.Facts, must(f.MarshalVT()))
		}
		bodies = append(bodies, body)
		r.Cells = append(r.Cells, &stagev1.Cell{Key: c.key})
	}
	r.Covers, r.Senders = w.covers(spec, p, tail.record)
	r.Origins = w.origins(stage, p)
	return w.append(stage, p, r, bodies)
}

// covers are the ends of a stage's inputs, and the positions of new letters.
func (w *world) covers(spec log.StageSpec, p int, tail *stagev1.Record) ([]*stagev1.Cover, []*stagev1.Sender) {
	var covers []*stagev1.Cover
	inputs := append(slices.Clone(spec.Before), log.Box(spec.Name))
	if spec.After != "" {
		inputs = append(inputs, spec.After)
	}
	for _, input := range inputs {
		subject := log.Subject(input, p)
		c := &stagev1.Cover{Input: input}
		if all := w.lanes[subject]; len(all) > 0 {
			c.Sequence, c.Index = all[len(all)-1].sequence, uint32(len(all[len(all)-1].arrivals.GetItems()))
		}
		if all := w.boxes[subject]; len(all) > 0 {
			c.Sequence, c.Index = all[len(all)-1].sequence, uint32(len(all[len(all)-1].letter.GetItems()))
		}
		if all := w.chains[subject]; len(all) > 0 {
			c.Sequence, c.Index = all[len(all)-1].sequence, uint32(len(all[len(all)-1].record.GetCells()))
		}
		covers = append(covers, c)
	}
	done := uint64(0)
	for _, c := range tail.GetCovers() {
		if c.GetInput() == log.Box(spec.Name) {
			done = c.GetSequence()
		}
	}
	newest := map[string]*stagev1.Sender{}
	for _, l := range w.boxes[log.Subject(log.Box(spec.Name), p)] {
		if l.sequence > done {
			items := l.letter.GetItems()
			s := &stagev1.Sender{Chain: l.letter.GetSender(), Sequence: l.letter.GetSequence(), Index: items[len(items)-1].GetIndex()}
			old := newest[s.GetChain()]
			if old == nil || (place{s.GetSequence(), s.GetIndex()}).after(place{old.GetSequence(), old.GetIndex()}) {
				newest[s.GetChain()] = s
			}
		}
	}
	var senders []*stagev1.Sender
	for _, s := range slices.Sorted(maps.Keys(newest)) {
		senders = append(senders, newest[s])
	}
	return covers, senders
}

func (w *world) origins(stage, p int) []*stagev1.Origin {
	if stage != profile {
		return w.tail(stage-1, p).record.GetOrigins()
	}
	var out []*stagev1.Origin
	for _, lane := range log.Lanes() {
		if all := w.lanes[log.Subject(log.Lane(lane), p)]; len(all) > 0 {
			out = append(out, &stagev1.Origin{Lane: lane, Sequence: all[len(all)-1].sequence})
		}
	}
	return out
}

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}

// history encodes the world, brings its records into a store and reads that.
func (w *world) history() *History {
	w.t.Helper()
	h := &History{
		Generation: 1, Partitions: worldPartitions, Log: map[string][]log.Message{}, Sent: w.sent, Received: w.received, AllSent: true,
		Definitions: map[string]*Definitions{"": worldDefinitions()}, Settled: true, Now: w.now, Skew: time.Second,
		Sets:    map[string]map[string]string{"r1": {"default": "r1"}},
		Windows: map[string]time.Duration{"push": time.Hour},
	}
	add := func(subject string, sequence uint64, data []byte) {
		h.Log[subject] = append(h.Log[subject], log.Message{Subject: subject, Sequence: sequence, Data: data, Time: w.now})
	}
	store := state.NewMemory()
	for p := range worldPartitions {
		for stage := range stages {
			for _, r := range w.chains[subjectOf(stage, p)] {
				for n, body := range r.bodies {
					r.record.Cells[n].Sealed = must(body.MarshalVT())
				}
				data := must(r.record.MarshalVT())
				if r.raw != nil {
					data = r.raw
				}
				add(subjectOf(stage, p), r.sequence, data)
				w.apply(store, stage, p, r)
			}
		}
	}
	for subject, all := range w.lanes {
		for _, a := range all {
			add(subject, a.sequence, must(a.arrivals.MarshalVT()))
			h.Log[subject][len(h.Log[subject])-1].Time = a.stored
		}
	}
	for subject, all := range w.boxes {
		for _, l := range all {
			add(subject, l.sequence, must(l.letter.MarshalVT()))
		}
	}
	for subject, all := range w.dead {
		for _, d := range all {
			add(subject, d.sequence, must(d.letter.MarshalVT()))
		}
	}
	h.States = map[state.Shard]*Shard{}
	for p := range worldPartitions {
		for _, spec := range log.Stages() {
			shard := state.Shard{Stage: spec.Name, Partition: p}
			s, err := dump(w.t.Context(), store, shard, namesIn(h.Log[log.Subject(spec.Chain, p)]))
			if err != nil {
				w.t.Fatal(err)
			}
			h.States[shard] = s
		}
	}
	return h
}

// apply writes a record to the store, as its owner would.
func (w *world) apply(store *state.Memory, stage, p int, r *written) {
	w.t.Helper()
	shard := state.Shard{Stage: log.Stages()[stage].Name, Partition: p}
	view, err := store.Read(w.t.Context(), p, state.Query{Metas: []string{shard.Stage}})
	if err != nil {
		w.t.Fatal(err)
	}
	b := state.Batch{Prev: view.Metas[shard.Stage].Applied, Meta: state.Meta{
		Generation: 1, Applied: r.sequence, Origins: map[string]uint64{}, Senders: map[string]state.Position{}, Revision: r.record.GetRevision(),
	}}
	if r.record.GetNow() != nil {
		b.Meta.Now = r.record.GetNow().AsTime()
	}
	for _, o := range r.record.GetOrigins() {
		b.Meta.Origins[o.GetLane()] = o.GetSequence()
	}
	for _, s := range r.record.GetSenders() {
		b.Meta.Senders[s.GetChain()] = state.Position{Sequence: s.GetSequence(), Index: s.GetIndex()}
	}
	for n, body := range r.bodies {
		write := state.Write{Key: r.record.GetCells()[n].GetKey(), Deleted: body.GetDeleted()}
		if len(body.GetState()) > 0 {
			write.Value = body.GetState()
		}
		if body.GetWake() != nil {
			write.Wake = body.GetWake().AsTime()
		}
		for _, d := range body.GetDeltas() {
			write.Deltas = append(write.Deltas, state.Delta{Name: d.GetName(), Kind: state.DeltaKind(d.GetKind()), Value: d.GetValue(), Keep: int(d.GetKeep())})
		}
		b.Writes = append(b.Writes, write)
	}
	if err := store.Apply(w.t.Context(), shard, b); err != nil {
		w.t.Fatal(err)
	}
}
