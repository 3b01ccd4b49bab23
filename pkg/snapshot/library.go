package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// format is the version of the index and of the parts.
const format = 1

// Library reads and keeps the snapshots of one generation's chains. It holds nothing; it is safe for
// concurrent use.
type Library struct {
	objects    log.Objects
	kv         log.KV
	generation uint32
	piece      int // how many writes are restored at once
}

// NewLibrary returns the snapshots that are kept in a store of objects, listed in the store beside the log.
func NewLibrary(objects log.Objects, kv log.KV, generation uint32) *Library {
	return &Library{objects: objects, kv: kv, generation: generation, piece: pieceWrites}
}

// Snapshot is a listed snapshot with its index, which was checked.
type Snapshot struct {
	// Listing as it stands in the manifest.
	Listing *stagev1.SnapshotListing
	// Index with the parts.
	Index *stagev1.SnapshotIndex
}

// Meta is the shard's at the snapshot's last record.
func (s *Snapshot) Meta() state.Meta {
	i := s.Index
	m := state.Meta{
		Generation: i.GetGeneration(), Applied: i.GetSequence(), Origins: map[string]uint64{}, Senders: map[string]state.Position{},
		Now: asTime(i.GetNow()), Revision: i.GetRevision(),
	}
	for _, o := range i.GetOrigins() {
		m.Origins[o.GetLane()] = o.GetSequence()
	}
	for _, s := range i.GetSenders() {
		m.Senders[s.GetChain()] = state.Position{Sequence: s.GetSequence(), Index: s.GetIndex()}
	}
	return m
}

// manifestKey is where a chain's manifest is.
func (l *Library) manifestKey(chain string) string {
	return fmt.Sprintf("snapshot/%d/%s", l.generation, chain)
}

// prefix begins the names of a chain's objects.
func (l *Library) prefix(chain string) string { return fmt.Sprintf("%d/%s/", l.generation, chain) }

// List returns a chain's snapshots, the newest first; none is no error.
func (l *Library) List(ctx context.Context, chain string) ([]*stagev1.SnapshotListing, error) {
	m, _, err := l.manifest(ctx, chain)
	return m.GetSnapshots(), err
}

func (l *Library) manifest(ctx context.Context, chain string) (*stagev1.SnapshotManifest, uint64, error) {
	m := &stagev1.SnapshotManifest{Generation: l.generation}
	value, revision, err := l.kv.Get(ctx, l.manifestKey(chain))
	if errors.Is(err, log.ErrNotFound) {
		return m, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the manifest of %s: %w", chain, err)
	}
	if err := m.UnmarshalVT(value); err != nil || m.GetGeneration() != l.generation {
		return nil, 0, damaged("the manifest of %s cannot be read: %w", chain, err)
	}
	return m, revision, nil
}

// change replaces a chain's manifest, unless somebody else has changed it.
func (l *Library) change(ctx context.Context, chain string, m *stagev1.SnapshotManifest, revision uint64) error {
	value, err := m.MarshalVT()
	if err != nil {
		return fmt.Errorf("encode the manifest of %s: %w", chain, err)
	}
	if err := l.kv.Update(ctx, l.manifestKey(chain), value, revision); err != nil {
		return fmt.Errorf("write the manifest of %s: %w", chain, err)
	}
	return nil
}

// Newest opens the newest snapshot of a chain whose index is whole; nil if there is none. Damaged ones are
// forgotten.
func (l *Library) Newest(ctx context.Context, chain string) (*Snapshot, error) {
	listed, err := l.List(ctx, chain)
	if err != nil {
		return nil, err
	}
	for _, listing := range listed {
		s, err := l.Open(ctx, chain, listing)
		if errors.Is(err, ErrDamaged) {
			if err := l.Forget(ctx, chain, listing.GetSequence()); err != nil {
				return nil, err
			}
			continue
		}
		return s, err
	}
	return nil, nil //nolint:nilnil // none is an answer
}

// Open reads a snapshot's index. ErrDamaged says that it is not what was listed.
func (l *Library) Open(ctx context.Context, chain string, listing *stagev1.SnapshotListing) (*Snapshot, error) {
	data, err := l.get(ctx, listing.GetObject(), listing.GetSha256())
	if err != nil {
		return nil, err
	}
	index := &stagev1.SnapshotIndex{}
	if err := index.UnmarshalVT(data); err != nil {
		return nil, damaged("index %s cannot be read: %w", listing.GetObject(), err)
	}
	switch {
	case index.GetFormat() != format:
		return nil, fault.New(fault.Invalid, "snapshot %s is of format %d, this build reads %d", listing.GetObject(), index.GetFormat(), format)
	case index.GetChain() != chain, index.GetGeneration() != l.generation, index.GetSequence() != listing.GetSequence():
		return nil, damaged("index %s is that of %s at %d", listing.GetObject(), index.GetChain(), index.GetSequence())
	}
	return &Snapshot{Listing: listing, Index: index}, nil
}

// Part reads a part's entries and checks them.
func (l *Library) Part(ctx context.Context, part *stagev1.SnapshotPart) ([]*stagev1.SnapshotEntry, error) {
	data, err := l.get(ctx, part.GetObject(), part.GetSha256())
	if err != nil {
		return nil, err
	}
	entries, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("part %s: %w", part.GetObject(), err)
	}
	if n := len(entries); n == 0 || n != int(part.GetEntries()) ||
		!bytes.Equal(entries[0].GetName(), part.GetFirst()) || !bytes.Equal(entries[n-1].GetName(), part.GetLast()) {
		return nil, damaged("part %s does not hold what its index says", part.GetObject())
	}
	return entries, nil
}

// Verify reads all of a snapshot and checks every part and frame.
func (l *Library) Verify(ctx context.Context, s *Snapshot) error {
	return l.verify(ctx, s.Index, nil)
}

// verify reads the parts of an index, but for those that are known to be good.
func (l *Library) verify(ctx context.Context, index *stagev1.SnapshotIndex, good map[string]bool) error {
	var last *stagev1.SnapshotEntry
	for _, part := range index.GetParts() {
		if good[part.GetObject()] {
			last = nil
			continue
		}
		entries, err := l.Part(ctx, part)
		if err != nil {
			return err
		}
		if last != nil && compare(last, entries[0]) >= 0 {
			return damaged("part %s begins before the end of the one before it", part.GetObject())
		}
		last = entries[len(entries)-1]
	}
	return nil
}

// get reads an object and checks its hash. One that is not there is damage: it was listed.
func (l *Library) get(ctx context.Context, object string, hash []byte) ([]byte, error) {
	data, err := l.objects.Get(ctx, object)
	switch {
	case errors.Is(err, log.ErrNotFound):
		return nil, damaged("object %s is missing", object)
	case errors.Is(err, log.ErrCorrupted):
		return nil, damaged("object %s: %w", object, err)
	case err != nil:
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	if got := sha256.Sum256(data); !bytes.Equal(got[:], hash) {
		return nil, damaged("object %s has another hash", object)
	}
	return data, nil
}

// put stores an object under a name that ends with its hash.
func (l *Library) put(ctx context.Context, prefix string, data []byte) (name string, hash []byte, err error) {
	sum := sha256.Sum256(data)
	name = prefix + hex.EncodeToString(sum[:])
	if err := l.objects.Put(ctx, name, data); err != nil {
		return "", nil, fmt.Errorf("store snapshot: %w", err)
	}
	return name, sum[:], nil
}

// Forget removes a snapshot that was found to be damaged from the manifest, so that nobody relies on it.
func (l *Library) Forget(ctx context.Context, chain string, sequence uint64) error {
	m, revision, err := l.manifest(ctx, chain)
	if err != nil {
		return err
	}
	before := len(m.GetSnapshots())
	m.Snapshots = slices.DeleteFunc(m.GetSnapshots(), func(s *stagev1.SnapshotListing) bool { return s.GetSequence() == sequence })
	if len(m.GetSnapshots()) == before {
		return nil
	}
	return l.change(ctx, chain, m, revision)
}
