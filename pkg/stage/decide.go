package stage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// maxDepth is how many mailboxes a cause may pass before it is taken for a loop.
const maxDepth = 16

// batch is what one step decided: everything a record needs and everything that follows from it.
type batch struct {
	now     time.Time
	round   uint32
	taken   int // how many of the pending items it took
	inputs  int // how many of them were inputs
	covers  map[string]state.Position
	origins map[string]uint64
	senders map[string]state.Position
	letter  map[letterID]bool // applied in this batch
	cells   []*stagev1.Cell
	bodies  []*stagev1.CellBody
	outbox  []*stagev1.Addressed
	gaps    []*stagev1.Gap
	calls   []Call
	replies []reply
	unknown []state.Due // timers that no row knows
	size    int
	meeting []item // letters of a meeting that goes on after this batch
	met     bool   // a meeting ends with it
	// stir says that the stages after must learn of it even without facts.
	stir bool
}

type letterID struct {
	sender string
	pos    state.Position
}

type reply struct {
	to    *request
	reply any
	err   error
}

func (b *batch) worthARecord() bool {
	return len(b.cells) > 0 || len(b.outbox) > 0 || len(b.gaps) > 0 || b.stir || len(b.senders) > 0 && b.inputs > 0
}

func (b *batch) answer() {
	for _, r := range b.replies {
		r.to.answer(r.reply, r.err)
	}
}

// decide lets the fold decide as many pending items as fit a record, all under one revision.
func (p *partition) decide(ctx context.Context, lim limit) (*batch, error) {
	items := p.careful.alone(p.pending[:min(len(p.pending), p.cfg.Batch)])
	now, err := p.decideAt(lim)
	if err != nil {
		return nil, err
	}
	b := &batch{
		now: now, round: lim.round, covers: map[string]state.Position{}, origins: map[string]uint64{},
		senders: map[string]state.Position{}, letter: map[letterID]bool{}, stir: p.revision != p.told,
	}
	for n := range items {
		if p.brings(&items[n]) {
			items = items[:n]
			break
		}
	}
	rows, err := p.load(ctx, items, b.now)
	if err != nil {
		return nil, err
	}
	for n := range items {
		it := &items[n]
		if it.input != nil && !p.repeated(it, b) && !rows.inVain(it.input) {
			err := p.decideOne(ctx, it, rows, b)
			if errors.Is(err, errFull) {
				break
			}
			if lacks(err) && n > 0 && !lim.replay {
				break // what was decided before it need not wait for what it needs
			}
			if err != nil {
				return nil, err
			}
		}
		if it.meets {
			p.meets(n, it, b)
		} else {
			p.cover(it, b)
		}
		b.taken++
		if b.size >= softRecordSize {
			break
		}
	}
	return b, nil
}

// repeated says whether a letter's fact was applied already: a repeat is recognised by its position.
func (p *partition) repeated(it *item, b *batch) bool {
	if it.sender == "" {
		return false
	}
	id := letterID{it.sender, it.letter}
	if b.letter[id] || !after(it.letter, p.senders[it.sender]) || !after(it.letter, b.senders[it.sender]) {
		return true
	}
	b.letter[id] = true
	return false
}

func after(a, b state.Position) bool {
	return a.Sequence > b.Sequence || a.Sequence == b.Sequence && a.Index > b.Index
}

// cover moves covers, origins and senders past an item.
func (p *partition) cover(it *item, b *batch) {
	if it.reader == nil {
		return
	}
	if after(it.pos, b.covers[it.reader.name]) {
		b.covers[it.reader.name] = it.pos
	}
	if it.sender != "" && after(it.letter, p.senders[it.sender]) && after(it.letter, b.senders[it.sender]) {
		b.senders[it.sender] = it.letter
	}
	if !it.last() {
		return
	}
	if lane := it.reader.lane; lane != "" {
		if lane == log.LaneControl {
			b.origins[log.Barrier] = it.pos.Sequence
		}
		if !it.ping {
			b.origins[lane] = it.pos.Sequence
		}
		b.stir = true
		return
	}
	for _, o := range it.origins {
		if o.GetSequence() <= p.origins[o.GetLane()] {
			continue
		}
		b.origins[o.GetLane()] = max(b.origins[o.GetLane()], o.GetSequence())
		b.stir = b.stir || o.GetLane() != log.Barrier
	}
}

// decideOne decides one input, or gives it up.
func (p *partition) decideOne(ctx context.Context, it *item, rows *overlay, b *batch) error {
	in := *it.input
	var to *request
	if c, ok := in.Request.(call); ok {
		in.Request, to = c.body, c.to
	}
	if b.round > 0 && !in.StoredAt.IsZero() {
		in.StoredAt = in.ReceivedAt // under the replay clock the broker's time is no part of the day that is replayed
	}
	span := p.startSpan(ctx, &in)
	defer span.End()
	env := Env{Now: b.now, Partition: p.number, Epoch: p.epoch, Revision: p.revision, Round: b.round}
	out, err := p.consult(&in, rows, env)
	if lacks(err) {
		return err
	}
	if err == nil {
		err = b.admit(out, rows)
	}
	if errors.Is(err, errFull) {
		return err
	}
	b.inputs++
	if err != nil && to != nil {
		b.replies = append(b.replies, reply{to: to, err: err})
		return nil
	}
	p.tried(ctx, err != nil)
	if err != nil {
		span.RecordError(err)
		return p.fail(ctx, &in, rows, b, fault.As(fault.Of(err), err))
	}
	out = out.inTime(&in, rows, b.now)
	if in.Traceparent == "" && len(out.Links) > 0 {
		defer p.startLinked(ctx, &in, out.Links).End()
	}
	if err := p.take(ctx, &in, out, rows, b); err != nil {
		return err
	}
	if to != nil {
		b.replies = append(b.replies, reply{to: to, reply: out.Reply})
	}
	if in.Source == FromTimer && !in.look && !touches(out, in.Key) {
		b.unknown = append(b.unknown, state.Due{Key: in.Key, At: in.entry})
	}
	return nil
}

// fail gives an input up in the way of its kind.
func (p *partition) fail(ctx context.Context, in *Input, rows *overlay, b *batch, cause error) error {
	switch in.Source {
	case FromTimer:
		return p.putOff(ctx, in, rows, b, cause)
	case FromCall:
		return p.giveUpResult(ctx, in, rows, b, cause)
	case FromLane, FromBefore, FromAfter, FromBox, FromRedrive, FromRPC:
	}
	letter, err := p.giveUp(ctx, in, rows, b, cause)
	if err != nil {
		return err
	}
	return b.passOn(in, letter, rows)
}

func touches(out Outcome, key string) bool {
	return slices.ContainsFunc(out.Cells, func(c Cell) bool { return c.Key == key && (c.State != nil || c.Deleted) })
}

// consult asks the fold; a panic of the pure code is an error of it.
func (p *partition) consult(in *Input, rows *overlay, env Env) (out Outcome, err error) {
	defer func() {
		if r := recover(); r != nil {
			p.ports.Logger.Error("fold panicked", "stage", p.cfg.Spec.Name, "partition", p.number, "input", in.Name,
				"sequence", in.Sequence, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = fault.New(fault.Internal, "the fold panicked: %v", r)
		}
	}()
	if in.broken != nil {
		return Outcome{}, fault.As(fault.Invalid, in.broken)
	}
	if in.unloaded != nil {
		return Outcome{}, in.unloaded
	}
	if in.poisoned = in.isParked(rows.late[in.Key]); in.poisoned {
		return Outcome{}, fault.New(fault.Internal, "it waits for its dead letter to come back")
	}
	p.ports.Points.In("stage.folding", p.cfg.Spec.Name, in.Key)
	if a := in.unsent; a != nil {
		return Outcome{Addressed: []Addressed{{Stage: a.GetStage(), Partition: int(a.GetPartition()), Payload: a.GetPayload(), From: a.GetFrom()}}}, nil
	}
	return p.fold.Decide(asDecided(in), rows, env)
}

// take lets an outcome take effect on the batch and on what the next inputs see.
func (p *partition) take(ctx context.Context, in *Input, out Outcome, rows *overlay, b *batch) error {
	out = out.closing(in)
	for _, c := range out.Cells {
		if err := b.put(in, c, rows); err != nil {
			return err
		}
	}
	from := in.Key
	if len(out.Cells) > 0 {
		from = out.Cells[0].Key
	}
	for n, a := range out.Addressed {
		fact := &stagev1.Addressed{
			Stage: a.Stage, Partition: uint32(a.Partition), Payload: a.Payload, //nolint:gosec // partitions are few
			Depth: in.Depth + 1, Traceparent: in.Traceparent, At: asProto(in.At), From: cmp.Or(a.From, from),
		}
		if fact.GetDepth() > maxDepth {
			if err := p.loop(ctx, in, n, fact, rows, b); err != nil {
				return err
			}
			continue
		}
		b.outbox = append(b.outbox, fact)
		b.size += len(a.Payload) + len(a.Stage) + len(a.From) + factOverhead
	}
	for _, c := range out.Calls {
		c.Traceparent = in.Traceparent
		b.calls = append(b.calls, c)
	}
	return nil
}

// put lets a cell take effect on the batch and on what the next inputs see.
func (b *batch) put(in *Input, c Cell, rows *overlay) error {
	body := &stagev1.CellBody{
		Facts: c.Facts, State: c.State, Deleted: c.Deleted, Deltas: c.Deltas, Wake: asProto(c.Wake),
		At: asProto(in.At), Traceparent: in.Traceparent, Cause: in.id(),
	}
	sealed, err := body.MarshalVT()
	if err != nil {
		return fmt.Errorf("encode cell: %w", err)
	}
	b.cells = append(b.cells, &stagev1.Cell{Key: c.Key, Sealed: sealed})
	b.bodies = append(b.bodies, body)
	b.size += len(sealed) + len(c.Key) + 16
	rows.put(c)
	return nil
}

// understood says whether the fold can be asked about an input.
func (in *Input) understood() bool { return in.unsent == nil && (in.broken == nil || in.poisoned) }

// id names an input for causes and dead letters.
func (in *Input) id() string {
	switch in.Source {
	case FromTimer:
		return timerID(in.Key, in.At)
	case FromRPC, FromCall:
		return in.Name + "/" + in.ID
	case FromLane, FromBefore, FromAfter, FromBox, FromRedrive:
	}
	return fmt.Sprintf("%s/%d/%d", in.Name, in.Sequence, in.Index)
}

func timerID(row string, at time.Time) string {
	return timerInput + "/" + row + "/" + at.UTC().Format(time.RFC3339Nano)
}

// overlay is what the batch's inputs see: what was loaded, under what the inputs before have left.
type overlay struct {
	own     map[string][]byte
	members map[Member]bool
	foreign map[state.Row][]byte
	known   map[string]bool                // foreign stages whose shard is known
	late    map[string]*stagev1.LateWakeUp // by row; those of the batch's timers
}

func (o *overlay) Own(key string) []byte { return o.own[key] }

func (o *overlay) Has(set, value string) bool { return o.members[Member{Set: set, Value: value}] }

func (o *overlay) Foreign(stage, key string) ([]byte, bool) {
	return o.foreign[state.Row{Stage: stage, Key: key}], o.known[stage]
}

func (o *overlay) put(c Cell) {
	if c.State != nil {
		o.own[c.Key] = c.State
	}
	if c.Deleted {
		delete(o.own, c.Key)
	}
	for _, d := range c.Deltas {
		switch d.GetKind() {
		case stagev1.DeltaKind_DELTA_KIND_ADD:
			o.members[Member{Set: d.GetName(), Value: string(d.GetValue())}] = true
		case stagev1.DeltaKind_DELTA_KIND_DROP:
			maps.DeleteFunc(o.members, func(m Member, _ bool) bool { return m.Set == d.GetName() })
		case stagev1.DeltaKind_DELTA_KIND_APPEND, stagev1.DeltaKind_DELTA_KIND_TRIM, stagev1.DeltaKind_DELTA_KIND_UNSPECIFIED:
		}
	}
}
