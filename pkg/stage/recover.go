package stage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// takeOver makes this process the partition's owner: it appends OPEN, which proves the tail and fences
// whatever an older owner has under way, brings the store up to it, and opens the inputs where the chain
// says that they are covered.
func (p *partition) takeOver(ctx context.Context) error {
	if err := p.open(ctx); err != nil {
		if errors.Is(err, log.ErrFull) {
			return errors.Join(err, p.deliverUnowned(ctx))
		}
		return err
	}
	if err := p.recover(ctx); err != nil {
		return err
	}
	err := p.findEarliest(ctx)
	if errors.Is(err, state.ErrDamaged) {
		err = p.remake(ctx, err)
	}
	if err == nil {
		err = p.missCalls(ctx)
	}
	if err != nil {
		return err
	}
	if p.revision != "" && p.ports.Preparer != nil {
		if err := p.ports.Preparer.Prepare(ctx, p.revision); err != nil {
			return err
		}
	}
	if err := p.openRelay(ctx); err != nil {
		return err
	}
	p.forgetHalt(ctx)
	return nil
}

// deliverUnowned delivers what the chain has addressed, though this process does not own it: a full chain takes no
// owner before it is trimmed, and is not trimmed before that is delivered. Delivered twice, it is recognised.
func (p *partition) deliverUnowned(ctx context.Context) error {
	if err := p.openRelay(ctx); err != nil {
		return err
	}
	if _, err := p.relay.flush(ctx); err != nil {
		return err
	}
	return p.relay.save(ctx, 1)
}

// open appends the OPEN record.
func (p *partition) open(ctx context.Context) error {
	msg, err := p.ports.Broker.Last(ctx, p.chainName)
	if errors.Is(err, log.ErrNotFound) {
		return &HaltError{Subject: p.chainName, Why: "the chain has no record at all, not even its genesis"}
	}
	if err != nil {
		return fmt.Errorf("take over %s: %w", p.chainName, err)
	}
	tail := &stagev1.Record{}
	if err := tail.UnmarshalVT(msg.Data); err != nil {
		return &HaltError{Subject: p.chainName, Why: fmt.Sprintf("its last record %d cannot be read: %v", msg.Sequence, err)}
	}
	if tail.GetGeneration() != p.cfg.Generation.Number {
		return &HaltError{Subject: p.chainName, Why: fmt.Sprintf("it is of generation %d, this process of %d", tail.GetGeneration(), p.cfg.Generation.Number)}
	}
	if err := p.mayOpen(ctx, asTime(tail.GetNow())); err != nil {
		return err
	}
	p.adoptTail(tail, msg.Sequence)
	p.openedAt = p.ports.Clock.Elapsed()
	mark := p.reference.Mark()
	rec := p.blank(stagev1.RecordKind_RECORD_KIND_OPEN)
	rec.Epoch = 0
	seq, err := p.append(ctx, rec)
	if err != nil {
		return err
	}
	p.epoch, p.torn = seq, false
	p.ports.Points.At("stage.opened")
	if p.reference.Off() {
		return nil
	}
	stored, err := p.readBack(ctx, mark, seq)
	if err == nil {
		err = p.chainAhead(ctx, p.lastNow, stored)
	}
	if isUntimely(err) {
		p.standDown(ctx)
	}
	return err
}

// adoptTail continues where the last record of the chain stands.
func (p *partition) adoptTail(tail *stagev1.Record, seq uint64) {
	p.last, p.lastNow, p.lastRound, p.revision, p.told = seq, asTime(tail.GetNow()), tail.GetRound(), tail.GetRevision(), tail.GetRevision()
	p.order = tail.GetRevisionOrder()
	p.covers, p.origins, p.senders = map[string]state.Position{}, map[string]uint64{}, map[string]state.Position{}
	for _, c := range tail.GetCovers() {
		p.covers[c.GetInput()] = state.Position{Sequence: c.GetSequence(), Index: c.GetIndex()}
	}
	for _, o := range tail.GetOrigins() {
		p.origins[o.GetLane()] = o.GetSequence()
	}
	p.meeting = meeting{done: tail.GetMeeting(), left: tail.GetMeeting()}
	p.suspect(tail)
}

// recover brings the store to the chain's last record. A shard that turns out to be damaged is made again.
func (p *partition) recover(ctx context.Context) error {
	err := p.follow(ctx)
	if errors.Is(err, state.ErrDamaged) {
		return p.remake(ctx, err)
	}
	return err
}

// remake throws the partition's states away, because something in them was not written by a store, and brings
// them back from the log. Until then whoever reads them knows nothing.
func (p *partition) remake(ctx context.Context, why error) error {
	p.ports.Logger.Error("the state store holds something else; the partition's states are made again",
		"stage", p.cfg.Spec.Name, "partition", p.number, "error", why)
	p.metrics.reset(ctx)
	if err := p.ports.Store.Reset(ctx, p.shard); err != nil {
		return fmt.Errorf("reset states of %s: %w", p.chainName, err)
	}
	p.applied = 0
	p.ports.Points.At("stage.reset")
	if err := p.follow(ctx); err != nil {
		return err
	}
	return p.findEarliest(ctx)
}

// other says why a partition must not go on whose store has a part of a record that its chain does not have.
func (p *partition) other(e *state.OtherError) *HaltError {
	return &HaltError{Subject: p.chainName, Why: fmt.Sprintf(
		"the state store has a part of record %d after %d, and the chain does not: the log lost data", e.Target, e.Applied)}
}

// follow is recover for a shard that is not damaged: behind or empty, a snapshot is restored where that is
// needed or cheaper, and the records after it are copied, in order; ahead, the log lost data.
func (p *partition) follow(ctx context.Context) error {
	name := p.cfg.Spec.Name
	view, err := p.ports.Store.Read(ctx, p.number, state.Query{Metas: []string{name}})
	if err != nil {
		return fmt.Errorf("read meta of %s: %w", p.chainName, err)
	}
	meta := view.Metas[name]
	if meta.Damaged {
		return fmt.Errorf("read meta of %s: %w", p.chainName, state.ErrDamaged)
	}
	if meta.Applied > 0 && meta.Generation != p.cfg.Generation.Number {
		return &HaltError{Subject: p.chainName, Why: fmt.Sprintf(
			"the state store is of generation %d, this process of %d", meta.Generation, p.cfg.Generation.Number)}
	}
	if meta.Applied > p.last {
		return p.ahead(ctx, meta)
	}
	p.applied = meta.Applied
	p.senders = meta.Senders
	if p.senders == nil {
		p.senders = map[string]state.Position{}
	}
	if p.applied == p.last {
		return nil
	}
	whole, err := p.rebuilder().prepare(ctx, p.shard, meta, p.last)
	if beyond, ok := errors.AsType[*beyondError](err); ok {
		return p.beyond(ctx, beyond)
	}
	if err != nil {
		return err
	}
	if p.applied, p.senders = whole.Applied, whole.Senders; p.senders == nil {
		p.senders = map[string]state.Position{}
	}
	return p.copyRecords(ctx)
}

// copyRecords applies the chain's records after p.applied, in order, up to p.last.
func (p *partition) copyRecords(ctx context.Context) error {
	subject := p.chainName
	feed, err := p.ports.Broker.Feed(ctx, map[string]uint64{subject: p.applied})
	if err != nil {
		return fmt.Errorf("read %s: %w", subject, err)
	}
	defer feed.Close()
	tail := feed.Tail(subject)
	started, copied := p.ports.Clock.Elapsed(), 0
	for p.applied < p.last {
		msg, err := log.Take(ctx, p.ports.Clock, tail)
		if err != nil {
			return fmt.Errorf("read %s: %w", subject, err)
		}
		if err := p.copyRecord(ctx, msg); err != nil {
			return err
		}
		copied++
	}
	p.metrics.recovered(ctx, copied)
	p.ports.Logger.Info("state store recovered", "stage", p.cfg.Spec.Name, "partition", p.number,
		"records", copied, "took", (p.ports.Clock.Elapsed() - started).Round(time.Millisecond).String())
	return p.findEarliest(ctx)
}

func (p *partition) copyRecord(ctx context.Context, msg log.Message) error {
	rec := &stagev1.Record{}
	if err := rec.UnmarshalVT(msg.Data); err != nil {
		return &HaltError{Subject: msg.Subject, Why: fmt.Sprintf("record %d cannot be read: %v", msg.Sequence, err)}
	}
	if rec.GetPrev() != p.applied {
		return &HaltError{Subject: msg.Subject, Why: fmt.Sprintf("record %d follows %d, but %d is the one before it here", msg.Sequence, rec.GetPrev(), p.applied)}
	}
	b, err := batchOf(rec, nil, msg.Sequence)
	if err != nil {
		return &HaltError{Subject: msg.Subject, Why: err.Error()}
	}
	if err := p.ports.Store.Apply(ctx, p.shard, b); err != nil {
		if _, ok := errors.AsType[*state.FencedError](err); ok {
			return fault.As(fault.Unavailable, fmt.Errorf("copy record %d: %w", msg.Sequence, err))
		}
		if other, ok := errors.AsType[*state.OtherError](err); ok {
			return p.other(other)
		}
		return fmt.Errorf("copy record %d: %w", msg.Sequence, err)
	}
	for _, s := range rec.GetSenders() {
		p.senders[s.GetChain()] = state.Position{Sequence: s.GetSequence(), Index: s.GetIndex()}
	}
	p.applied = msg.Sequence
	p.ports.Points.At("stage.copied")
	return nil
}

// inputs lists what the partition reads.
func (p *partition) inputs() []*reader {
	spec := p.cfg.Spec
	var rs []*reader
	add := func(name string, source Source, lane string) {
		rs = append(rs, &reader{name: name, subject: log.Subject(name, p.number), source: source, lane: lane, cover: p.covers[name]})
	}
	for _, name := range spec.Before {
		lane, source := laneOf(name), FromBefore
		if lane != "" {
			source = FromLane
		}
		add(name, source, lane)
	}
	if spec.After != "" {
		add(spec.After, FromAfter, "")
	}
	add(log.Box(spec.Name), FromBox, "")
	add(log.Redrive(spec.Name), FromRedrive, "")
	return rs
}

func laneOf(input string) string {
	for _, l := range log.Lanes() {
		if input == log.Lane(l) {
			return l
		}
	}
	return ""
}

// openInputs opens a feed per input for partitions that are taken over together: one consumer per
// process and stream.
func openInputs(ctx context.Context, broker log.Broker, parts []*partition) ([]log.Feed, error) {
	from := map[string]map[string]uint64{} // by input class, then subject
	for _, p := range parts {
		p.readers = p.inputs()
		for _, r := range p.readers {
			class := fmt.Sprintf("%s/%d", feedClass(r), p.number%p.cfg.Generation.Streams)
			if from[class] == nil {
				from[class] = map[string]uint64{}
			}
			// The covered message itself is read again: it may be covered only in part.
			from[class][r.subject] = max(r.cover.Sequence, 1) - 1
		}
	}
	var feeds []log.Feed
	for _, class := range slices.Sorted(maps.Keys(from)) {
		subjects := from[class]
		feed, err := broker.Feed(ctx, subjects)
		if err != nil {
			closeAll(feeds)
			return nil, fmt.Errorf("open inputs: %w", err)
		}
		feeds = append(feeds, feed)
		var readers []*reader
		for _, p := range parts {
			for _, r := range p.readers {
				if _, ok := subjects[r.subject]; ok {
					r.tail = feed.Tail(r.subject)
					readers = append(readers, r)
				}
			}
		}
		if err := compareStreams(ctx, broker, parts[0].cfg.Generation, readers); err != nil {
			closeAll(feeds)
			return nil, fmt.Errorf("open inputs: %w", err)
		}
	}
	return feeds, nil
}

func closeAll(feeds []log.Feed) {
	for _, f := range feeds {
		f.Close()
	}
}

// feedClass puts the readers of one stream together.
func feedClass(r *reader) string {
	if r.lane != "" {
		return "lanes"
	}
	return r.name
}
