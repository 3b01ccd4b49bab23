package snapshot

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/failpoint"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/state"
)

// Build is what a snapshot is made of and for.
type Build struct {
	// Chain that it is of.
	Chain string
	// Base is the snapshot that the records follow; nil if they begin with genesis.
	Base *Snapshot
	// Delta is what the records after Base do.
	Delta *Delta
	// Owner who builds it, for people.
	Owner string
	// Now is the time of day.
	Now time.Time
	// Part and Keep as in Settings.
	Part, Keep int
	// Points are told of every step: snapshot.stored, snapshot.verified, snapshot.listed.
	Points failpoint.Points
}

// Build stores a snapshot, reads back what it stored, checks it, and lists it. Parts of the base that are
// named again were checked when they were stored. If somebody else has changed the manifest meanwhile nothing
// is listed: *log.ConflictError.
func (l *Library) Build(ctx context.Context, b Build) (*Snapshot, error) {
	m, revision, err := l.manifest(ctx, b.Chain)
	if err != nil {
		return nil, err
	}
	sequence := b.Delta.Meta().Applied
	if listed := m.GetSnapshots(); len(listed) > 0 && listed[0].GetSequence() >= sequence {
		return nil, fault.New(fault.Conflict, "build snapshot of %s at %d: there is one at %d", b.Chain, sequence, listed[0].GetSequence())
	}
	s, err := l.store(ctx, b)
	if err != nil {
		return nil, fmt.Errorf("build snapshot of %s at %d: %w", b.Chain, sequence, err)
	}
	b.Points.At("snapshot.stored")
	again, err := l.Open(ctx, b.Chain, s.Listing)
	if err == nil {
		err = l.verify(ctx, again.Index, named(b.Base))
	}
	if err != nil {
		return nil, fmt.Errorf("verify snapshot of %s at %d: %w", b.Chain, sequence, err)
	}
	b.Points.At("snapshot.verified")
	m.Snapshots = slices.Insert(m.GetSnapshots(), 0, s.Listing)
	m.Snapshots = m.GetSnapshots()[:min(len(m.GetSnapshots()), b.Keep)]
	if err := l.change(ctx, b.Chain, m, revision); err != nil {
		return nil, err
	}
	b.Points.At("snapshot.listed")
	return s, nil
}

// named are the parts of a snapshot.
func named(s *Snapshot) map[string]bool {
	out := map[string]bool{}
	if s != nil {
		for _, p := range s.Index.GetParts() {
			out[p.GetObject()] = true
		}
	}
	return out
}

// store stores the parts and the index.
func (l *Library) store(ctx context.Context, b Build) (*Snapshot, error) {
	meta := b.Delta.Meta()
	prefix := fmt.Sprintf("%s%d/", l.prefix(b.Chain), meta.Applied)
	g := &merger{library: l, out: writer{library: l, prefix: prefix, size: b.Part}, delta: b.Delta, places: b.Delta.sorted()}
	var base []*stagev1.SnapshotPart
	listing := &stagev1.SnapshotListing{
		Sequence: meta.Applied, Records: b.Delta.Records(), At: asProto(b.Now), Owner: b.Owner,
	}
	if b.Base != nil {
		base = b.Base.Index.GetParts()
		listing.BuiltFrom, listing.Records = b.Base.Listing.GetSequence(), listing.Records+b.Base.Listing.GetRecords()
	}
	if err := g.run(ctx, base); err != nil {
		return nil, err
	}
	index := indexOf(b.Chain, meta)
	index.Parts = g.out.parts
	for _, p := range index.GetParts() {
		listing.Size += p.GetSize()
		listing.Rows += uint64(p.GetRows())
	}
	data, err := index.MarshalVT()
	if err != nil {
		return nil, fmt.Errorf("encode index: %w", err)
	}
	if listing.Object, listing.Sha256, err = l.put(ctx, prefix+"index-", data); err != nil {
		return nil, err
	}
	return &Snapshot{Listing: listing, Index: index}, nil
}

// indexOf is an index without parts.
func indexOf(chain string, m state.Meta) *stagev1.SnapshotIndex {
	i := &stagev1.SnapshotIndex{
		Format: format, Chain: chain, Generation: m.Generation, Sequence: m.Applied, Now: asProto(m.Now), Revision: m.Revision,
	}
	for _, lane := range slices.Sorted(maps.Keys(m.Origins)) {
		i.Origins = append(i.Origins, &stagev1.Origin{Lane: lane, Sequence: m.Origins[lane]})
	}
	for _, chain := range slices.Sorted(maps.Keys(m.Senders)) {
		at := m.Senders[chain]
		i.Senders = append(i.Senders, &stagev1.Sender{Chain: chain, Sequence: at.Sequence, Index: at.Index})
	}
	return i
}

// merger merges the parts of a snapshot with the changes that records make.
type merger struct {
	library *Library
	out     writer
	delta   *Delta
	places  []place // that are still to be changed, in order
}

// run goes through the base part by part. One that no change touches is named again, unless a part that was
// begun before it would stay small.
func (g *merger) run(ctx context.Context, base []*stagev1.SnapshotPart) error {
	for n, part := range base {
		last := n == len(base)-1
		if !g.touches(part, last) && !g.out.small() {
			if err := g.out.flush(ctx); err != nil {
				return err
			}
			g.out.reuse(part)
			continue
		}
		entries, err := g.library.Part(ctx, part)
		if err != nil {
			return err
		}
		if err := g.merge(ctx, entries, last); err != nil {
			return err
		}
	}
	if err := g.rest(ctx); err != nil {
		return err
	}
	return g.out.flush(ctx)
}

// touches says whether a change belongs into a part: those up to its last name, and what follows all parts.
func (g *merger) touches(part *stagev1.SnapshotPart, last bool) bool {
	return len(g.places) > 0 && (last || g.places[0].name <= string(part.GetLast()))
}

// merge brings the entries of a part and the changes among them to the writer.
func (g *merger) merge(ctx context.Context, entries []*stagev1.SnapshotEntry, last bool) error {
	for _, e := range entries {
		if err := g.before(ctx, e); err != nil {
			return err
		}
		if len(g.places) > 0 && g.places[0].is(e) {
			p := g.places[0]
			g.places = g.places[1:]
			if e = g.delta.changes[p].apply(p, e); e == nil {
				continue
			}
		}
		if err := g.out.add(ctx, e); err != nil {
			return err
		}
	}
	if last {
		return g.rest(ctx)
	}
	return nil
}

// before brings the changes that come before an entry.
func (g *merger) before(ctx context.Context, e *stagev1.SnapshotEntry) error {
	for len(g.places) > 0 && g.places[0].less(e) {
		if err := g.take(ctx); err != nil {
			return err
		}
	}
	return nil
}

// rest brings all changes that are left.
func (g *merger) rest(ctx context.Context) error {
	for len(g.places) > 0 {
		if err := g.take(ctx); err != nil {
			return err
		}
	}
	return nil
}

// take brings the next change, of a place that held nothing before.
func (g *merger) take(ctx context.Context) error {
	p := g.places[0]
	g.places = g.places[1:]
	if e := g.delta.changes[p].apply(p, nil); e != nil {
		return g.out.add(ctx, e)
	}
	return nil
}

func (p place) is(e *stagev1.SnapshotEntry) bool {
	return p.kind == kindOf(e) && p.name == string(e.GetName())
}

func (p place) less(e *stagev1.SnapshotEntry) bool {
	if p.name != string(e.GetName()) {
		return p.name < string(e.GetName())
	}
	return p.kind < kindOf(e)
}
