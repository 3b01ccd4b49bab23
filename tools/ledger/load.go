package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// Log is what is read of a broker.
type Log interface {
	Last(ctx context.Context, subject string) (log.Message, error)
	Feed(ctx context.Context, from map[string]uint64) (log.Feed, error)
}

// Store is what is read of a state store.
type Store interface {
	Read(ctx context.Context, partition int, q state.Query) (state.View, error)
	Due(ctx context.Context, shard state.Shard, until time.Time, limit int) ([]state.Due, error)
	Keys(ctx context.Context, shard state.Shard, after string, limit int) ([]string, error)
}

// Load reads a mesh's log, and its state store unless that is nil, while the mesh may go on. What it returns
// knows nothing of clients and providers.
func Load(ctx context.Context, broker Log, store Store, gen log.Generation) (*History, error) {
	return NewArchive(broker, gen).Load(ctx, store)
}

// Archive keeps what was read of a log, so that what is trimmed afterwards is still known. It is not safe for
// concurrent use.
type Archive struct {
	broker  Log
	streams int // of each name
	history *History
}

// NewArchive makes an archive that knows nothing yet.
func NewArchive(broker Log, gen log.Generation) *Archive {
	return &Archive{broker: broker, streams: max(gen.Streams, 1), history: &History{
		Generation: gen.Number, Partitions: gen.Partitions, Log: map[string][]log.Message{}, Ends: map[string]uint64{},
	}}
}

// Keep reads everything that was stored since it was read last. It fails with log.ErrGone if messages were trimmed
// that it may not have read.
func (l *Archive) Keep(ctx context.Context) error {
	if err := l.chains(ctx); err != nil {
		return err
	}
	return l.inputs(ctx)
}

// Follow keeps what is stored as it comes, until its context ends or it fails as Keep does. What else goes wrong is
// tried again.
func (l *Archive) Follow(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := l.follow(ctx); errors.Is(err, log.ErrGone) || errors.Is(err, log.ErrLogLostData) {
			return err
		}
		pause(ctx)
	}
	return nil
}

// pause is how long nothing is read after there was nothing to read.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(250 * time.Millisecond):
	}
}

func (l *Archive) follow(ctx context.Context) error {
	tails := map[string]log.Tail{}
	var feeds []log.Feed
	defer func() {
		for _, feed := range feeds {
			feed.Close()
		}
	}()
	for _, name := range allNames() {
		for s := range l.streams {
			from := map[string]uint64{}
			for p := s; p < l.history.Partitions; p += l.streams {
				subject := log.Subject(name, p)
				from[subject] = l.history.end(subject)
			}
			feed, err := l.broker.Feed(ctx, from)
			if err != nil {
				return fmt.Errorf("follow %s: %w", name, err)
			}
			feeds = append(feeds, feed)
			for subject := range from {
				tails[subject] = feed.Tail(subject)
			}
		}
	}
	for ctx.Err() == nil {
		for subject, tail := range tails {
			for msg, ok := tail.Peek(); ok; msg, ok = tail.Peek() {
				tail.Pop()
				l.history.Log[subject] = append(l.history.Log[subject], msg)
			}
			if err := tail.Err(); err != nil {
				return fmt.Errorf("follow %s: %w", subject, err)
			}
		}
		pause(ctx)
	}
	return nil
}

// Load reads what Keep reads, and a state store unless that is nil, while the mesh may go on. What it returns
// stays as it is, and knows nothing of clients and providers.
func (l *Archive) Load(ctx context.Context, store Store) (*History, error) {
	// The log goes on while it is read. The store is read after the chains, for the names of its lists, and
	// before their ends: so it is at a record that is read. Inputs come last: what is covered is there.
	if err := l.chains(ctx); err != nil {
		return nil, err
	}
	if store != nil {
		if err := l.states(ctx, store); err != nil {
			return nil, err
		}
	}
	if err := l.Keep(ctx); err != nil {
		return nil, err
	}
	if err := l.ends(ctx); err != nil {
		return nil, err
	}
	h := *l.history
	h.Log, h.Ends = maps.Clone(h.Log), maps.Clone(h.Ends)
	return &h, nil
}

// chains reads the chains from the last stage to the first: whatever a chain follows from is read after it, so
// it is there.
func (l *Archive) chains(ctx context.Context) error {
	for _, spec := range slices.Backward(log.Stages()) {
		for p := range l.history.Partitions {
			if err := l.KeepSubject(ctx, log.Subject(spec.Chain, p)); err != nil {
				return err
			}
		}
	}
	return nil
}

// inputs reads everything else: lanes, mailboxes, redrives and dead letters.
func (l *Archive) inputs(ctx context.Context) error {
	for _, name := range inputNames() {
		for p := range l.history.Partitions {
			if err := l.KeepSubject(ctx, log.Subject(name, p)); err != nil {
				return err
			}
		}
	}
	return nil
}

func inputNames() []string {
	names := []string{log.DeadLetters("ingest")}
	for _, lane := range log.Lanes() {
		names = append(names, log.Lane(lane))
	}
	for _, spec := range log.Stages() {
		names = append(names, log.Box(spec.Name), log.Redrive(spec.Name), log.DeadLetters(spec.Name))
	}
	return names
}

// allNames are the names of everything that is read.
func allNames() []string {
	names := inputNames()
	for _, spec := range log.Stages() {
		names = append(names, spec.Chain)
	}
	return names
}

// ends notes how far chains have grown meanwhile: others may cover that.
func (l *Archive) ends(ctx context.Context) error {
	for _, spec := range log.Stages() {
		for p := range l.history.Partitions {
			subject := log.Subject(spec.Chain, p)
			last, err := l.broker.Last(ctx, subject)
			if err != nil && !errors.Is(err, log.ErrNotFound) {
				return fmt.Errorf("read the end of %s: %w", subject, err)
			}
			l.history.Ends[subject] = last.Sequence
		}
	}
	return nil
}

// KeepSubject reads a subject from where it was read to its present end. It fails as Keep does.
func (l *Archive) KeepSubject(ctx context.Context, subject string) error {
	last, err := l.broker.Last(ctx, subject)
	if errors.Is(err, log.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the end of %s: %w", subject, err)
	}
	have := l.history.Log[subject]
	from := uint64(0)
	if len(have) > 0 {
		from = have[len(have)-1].Sequence
	}
	if from >= last.Sequence {
		return nil
	}
	feed, err := l.broker.Feed(ctx, map[string]uint64{subject: from})
	if err != nil {
		return fmt.Errorf("read %s: %w", subject, err)
	}
	defer feed.Close()
	tail := feed.Tail(subject)
	for from < last.Sequence {
		msg, err := next(ctx, tail)
		if err != nil {
			return fmt.Errorf("read %s: %w", subject, err)
		}
		have, from = append(have, msg), msg.Sequence
	}
	l.history.Log[subject] = have
	return nil
}

// tries is how often a shard is read that moves while it is read.
const tries = 20

// states reads every shard. One that does not stand still is left out.
func (l *Archive) states(ctx context.Context, store Store) error {
	l.history.States = map[state.Shard]*Shard{}
	for _, spec := range log.Stages() {
		for p := range l.history.Partitions {
			subject, shard := log.Subject(spec.Chain, p), state.Shard{Stage: spec.Name, Partition: p}
			for range tries {
				s, err := dump(ctx, store, shard, namesIn(l.history.Log[subject]))
				if err != nil {
					return err
				}
				if s != nil && s.Meta.Applied <= l.history.end(subject) {
					l.history.States[shard] = s
					break
				}
				if err := l.KeepSubject(ctx, subject); err != nil {
					return err
				}
				if s != nil && s.Meta.Applied > l.history.end(subject) {
					l.history.States[shard] = s // ahead of its chain, unless there is more of that by the next try
				}
			}
		}
	}
	return nil
}

func (h *History) end(subject string) uint64 {
	all := h.Log[subject]
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1].Sequence
}

// names are the lists and sets, with their members, that a chain speaks of.
type names struct {
	lists   []string
	members []state.Member
}

// namesIn collects the names of lists and sets in a chain.
func namesIn(messages []log.Message) names {
	d := decoder{interned: map[string]string{}}
	var out names
	lists, members := map[string]bool{}, map[state.Member]bool{}
	for _, msg := range messages {
		r, _ := d.record(msg, nil)
		d.cells = d.cells[:0]
		for n := range r.cells {
			for _, delta := range r.cells[n].deltas {
				name, value := d.name(field(delta, 1)), string(field(delta, 3))
				switch number(delta, 2) {
				case uint64(state.DeltaAppend):
					if !lists[name] {
						lists[name] = true
						out.lists = append(out.lists, name)
					}
				case uint64(state.DeltaAdd):
					if m := (state.Member{Set: name, Value: value}); !members[m] {
						members[m] = true
						out.members = append(out.members, m)
					}
				}
			}
		}
	}
	return out
}

// dump reads a shard: what it holds if it stood still meanwhile, else nil.
func dump(ctx context.Context, store Store, shard state.Shard, known names) (*Shard, error) {
	s := &Shard{Rows: map[string][]byte{}, Timers: map[string]time.Time{}, Lists: map[string][][]byte{}, Sets: map[string]map[string]bool{}}
	x := &dumping{store: store, shard: shard, into: s}
	for _, part := range []func(context.Context) error{
		x.meta, x.rows, x.timers,
		func(ctx context.Context) error { return x.lists(ctx, known.lists) },
		func(ctx context.Context) error { return x.sets(ctx, known.members) },
	} {
		if err := part(ctx); err != nil {
			return nil, fmt.Errorf("read the states of %s.%d: %w", shard.Stage, shard.Partition, err)
		}
	}
	before := s.Meta
	if err := x.meta(ctx); err != nil {
		return nil, fmt.Errorf("read the states of %s.%d: %w", shard.Stage, shard.Partition, err)
	}
	if before.Applied != s.Meta.Applied || before.Unfinished {
		return nil, nil //nolint:nilnil // it moved: there is nothing that it holds
	}
	return s, nil
}

type dumping struct {
	store Store
	shard state.Shard
	into  *Shard
}

// page is how much is read in one call.
const page = 256

func (x *dumping) meta(ctx context.Context) error {
	view, err := x.store.Read(ctx, x.shard.Partition, state.Query{Metas: []string{x.shard.Stage}})
	x.into.Meta = view.Metas[x.shard.Stage]
	return err //nolint:wrapcheck // the caller says what was read
}

func (x *dumping) rows(ctx context.Context) error {
	for after := ""; ; {
		keys, err := x.store.Keys(ctx, x.shard, after, page)
		if err != nil || len(keys) == 0 {
			return err //nolint:wrapcheck // the caller says what was read
		}
		q := state.Query{}
		for _, key := range keys {
			q.Rows = append(q.Rows, state.Row{Stage: x.shard.Stage, Key: key})
		}
		view, err := x.store.Read(ctx, x.shard.Partition, q)
		if err != nil {
			return err //nolint:wrapcheck // the caller says what was read
		}
		for n, key := range keys {
			if view.Rows[n] != nil {
				x.into.Rows[key] = view.Rows[n]
			}
		}
		after = keys[len(keys)-1]
	}
}

func (x *dumping) timers(ctx context.Context) error {
	dues, err := x.store.Due(ctx, x.shard, time.UnixMicro(1<<53-1), math.MaxInt32)
	for _, d := range dues {
		x.into.Timers[d.Key] = d.At
	}
	return err //nolint:wrapcheck // the caller says what was read
}

func (x *dumping) lists(ctx context.Context, lists []string) error {
	for len(lists) > 0 {
		part := lists[:min(len(lists), page)]
		lists = lists[len(part):]
		q := state.Query{}
		for _, name := range part {
			q.Lists = append(q.Lists, state.List{Stage: x.shard.Stage, Name: name, Newest: math.MaxInt32})
		}
		view, err := x.store.Read(ctx, x.shard.Partition, q)
		if err != nil {
			return err //nolint:wrapcheck // the caller says what was read
		}
		for n, name := range part {
			x.into.Lists[name] = view.Lists[n]
		}
	}
	return nil
}

func (x *dumping) sets(ctx context.Context, members []state.Member) error {
	for len(members) > 0 {
		part := members[:min(len(members), page)]
		members = members[len(part):]
		q := state.Query{}
		for _, m := range part {
			q.Members = append(q.Members, state.Member{Stage: x.shard.Stage, Set: m.Set, Value: m.Value})
		}
		view, err := x.store.Read(ctx, x.shard.Partition, q)
		if err != nil {
			return err //nolint:wrapcheck // the caller says what was read
		}
		for n, m := range part {
			if x.into.Sets[m.Set] == nil {
				x.into.Sets[m.Set] = map[string]bool{}
			}
			x.into.Sets[m.Set][m.Value] = view.Members[n]
		}
	}
	return nil
}
