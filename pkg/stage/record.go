package stage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// write appends a batch as one record and applies it to the store. What is recorded is recorded, also with
// an error: then the store follows later, and the inputs must not be decided again.
func (p *partition) write(ctx context.Context, b *batch) (recorded bool, err error) {
	rec := p.blank(stagev1.RecordKind_RECORD_KIND_BATCH)
	rec.Now, rec.Round, rec.Meeting = asProto(b.now), b.round, p.met(b)
	covers, origins := maps.Clone(p.covers), maps.Clone(p.origins)
	maps.Copy(covers, b.covers)
	maps.Copy(origins, b.origins)
	rec.Covers, rec.Origins = coverList(covers), originList(origins)
	rec.Senders = senderList(b.senders)
	rec.Cells, rec.Addressed, rec.Gaps = b.cells, b.outbox, b.gaps
	seq, err := p.append(ctx, rec)
	if err != nil {
		return false, err
	}
	p.adopt(b)
	err = p.apply(ctx, rec, b.bodies, seq)
	p.relay.add(seq, rec) // whatever the store says, its letters go out
	return true, err
}

// blank is a record with what every record has.
func (p *partition) blank(kind stagev1.RecordKind) *stagev1.Record {
	return &stagev1.Record{
		Generation: p.cfg.Generation.Number, Id: newID(), Prev: p.last, Owner: p.cfg.Replica, Epoch: p.epoch,
		Now: asProto(p.lastNow), Round: p.lastRound, Revision: p.revision, RevisionOrder: p.order, Kind: kind,
		Covers: coverList(p.covers), Origins: originList(p.origins), Suspects: p.suspectList(), Unclean: p.ends(),
		Meeting: p.meeting.done,
	}
}

// newID tells one append from another; it is never part of a fact.
func newID() []byte {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails since Go 1.24
	return id
}

// append puts a record on the chain. The record took effect if and only if there is no error, or one that
// is not fault.Unavailable or errLost and the chain, read again, has it.
func (p *partition) append(ctx context.Context, rec *stagev1.Record) (uint64, error) {
	data, err := rec.MarshalVT()
	if err != nil {
		return 0, fmt.Errorf("encode record: %w", err)
	}
	if len(data) > hardRecordSize { // admit lets no input cause it
		p.ports.Logger.Error("record is over the size that is meant", "stage", p.cfg.Spec.Name, "partition", p.number, "bytes", len(data))
	}
	mark := p.reference.Mark()
	stop := p.metrics.appending(ctx)
	seq, err := p.chain.Append(ctx, p.last, data)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, log.ErrLost):
		return 0, errLost
	case errors.Is(err, log.ErrLogLostData):
		return 0, &HaltError{Subject: p.chainName, Why: err.Error()}
	case errors.Is(err, log.ErrUnknown):
		p.torn = true
		return 0, fmt.Errorf("append to %s: %w", p.chainName, err)
	case errors.Is(err, log.ErrFull):
		return 0, fault.As(fault.Unavailable, fmt.Errorf("append to %s: %w", p.chainName, err))
	default:
		return 0, fmt.Errorf("append to %s: %w", p.chainName, err)
	}
	p.ports.Points.At("stage.appended")
	p.last, p.lastNow, p.lastRound, p.told = seq, asTime(rec.GetNow()), rec.GetRound(), rec.GetRevision()
	if rec.GetKind() == stagev1.RecordKind_RECORD_KIND_BATCH && p.reference.Due() {
		_, _ = p.readBack(ctx, mark, seq) // the record stands whatever it proves; nothing more is decided on a wrong clock
	}
	return seq, nil
}

// apply brings a record into the store. An unreachable store is waited for: the record is in the log, and
// nothing may be decided on states without it. A damaged one is not: trying again does not mend it.
func (p *partition) apply(ctx context.Context, rec *stagev1.Record, bodies []*stagev1.CellBody, seq uint64) error {
	b, err := batchOf(rec, bodies, seq)
	if err != nil {
		return &HaltError{Subject: p.chainName, Why: err.Error()}
	}
	back := p.backoff()
	for {
		err := p.ports.Store.Apply(ctx, p.shard, b)
		if fenced, ok := errors.AsType[*state.FencedError](err); ok {
			p.ports.Logger.Warn("state store moved under the owner; repairing", "stage", p.cfg.Spec.Name,
				"partition", p.number, "store", fenced.Applied, "chain", seq)
			return p.recover(ctx)
		}
		if errors.Is(err, state.ErrDamaged) {
			return p.remake(ctx, err)
		}
		if other, ok := errors.AsType[*state.OtherError](err); ok {
			return p.other(other)
		}
		if err == nil {
			p.applied = seq
			p.noteWake(b.Writes)
			p.ports.Points.At("stage.applied")
			return nil
		}
		p.metrics.storeError(ctx)
		if err := back.wait(ctx, err); err != nil {
			return err
		}
	}
}

// batchOf turns a record into what the store writes: the same for a live record and for one that is
// copied in recovery. bodies may be nil: then the cells are opened.
func batchOf(rec *stagev1.Record, bodies []*stagev1.CellBody, seq uint64) (state.Batch, error) {
	b := state.Batch{
		Prev: rec.GetPrev(),
		Meta: state.Meta{
			Generation: rec.GetGeneration(), Applied: seq, Origins: map[string]uint64{}, Senders: map[string]state.Position{},
			Now: asTime(rec.GetNow()), Revision: rec.GetRevision(),
		},
	}
	for _, o := range rec.GetOrigins() {
		b.Meta.Origins[o.GetLane()] = o.GetSequence()
	}
	for _, s := range rec.GetSenders() {
		b.Meta.Senders[s.GetChain()] = state.Position{Sequence: s.GetSequence(), Index: s.GetIndex()}
	}
	for n, c := range rec.GetCells() {
		var body *stagev1.CellBody
		if bodies != nil {
			body = bodies[n]
		} else {
			var err error
			if body, err = openCell(c); err != nil {
				return b, err
			}
		}
		b.Writes = append(b.Writes, writeOf(c.GetKey(), body))
	}
	return b, nil
}

func writeOf(key string, body *stagev1.CellBody) state.Write {
	w := state.Write{Key: key, Deleted: body.GetDeleted(), Wake: asTime(body.GetWake())}
	if len(body.GetState()) > 0 {
		w.Value = body.GetState()
	}
	for _, d := range body.GetDeltas() {
		w.Deltas = append(w.Deltas, state.Delta{
			Name: d.GetName(), Kind: state.DeltaKind(d.GetKind()), Value: d.GetValue(), Keep: int(d.GetKeep()),
		})
	}
	return w
}

func coverList(m map[string]state.Position) []*stagev1.Cover {
	out := make([]*stagev1.Cover, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, &stagev1.Cover{Input: k, Sequence: m[k].Sequence, Index: m[k].Index})
	}
	return out
}

func originList(m map[string]uint64) []*stagev1.Origin {
	out := make([]*stagev1.Origin, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, &stagev1.Origin{Lane: k, Sequence: m[k]})
	}
	return out
}

func senderList(m map[string]state.Position) []*stagev1.Sender {
	out := make([]*stagev1.Sender, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, &stagev1.Sender{Chain: k, Sequence: m[k].Sequence, Index: m[k].Index})
	}
	return out
}
