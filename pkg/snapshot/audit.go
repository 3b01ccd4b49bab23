package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// auditor compares the state store with what the log led to, a part of a snapshot at a time.
type auditor struct {
	library *Library
	records records
	store   state.Store
	spec    log.StageSpec
}

// suspect is an entry that the store does not hold as the snapshot says. It may have changed since.
type suspect struct {
	place place
	entry *stagev1.SnapshotEntry // of the snapshot; nil if it has none
	row   []byte                 // as the store has it; nil if it has none
	wrote uint64                 // the record that wrote the row, as the store says
	list  [][]byte
	lacks bool // the set lacks a member
}

// auditRows is how many entries are read at once, and auditSuspects after how many suspects the rest is not
// looked at any more.
const (
	auditRows     = 64
	auditSuspects = 64
)

// part compares one part of a snapshot with the store and says what is wrong; "" if nothing is, or if it cannot
// be told now. The store may be anywhere behind the snapshot: then its owner is repairing it.
func (a *auditor) part(ctx context.Context, shard state.Shard, s *Snapshot, number int) (string, error) {
	parts := s.Index.GetParts()
	part := parts[number]
	entries, err := a.library.Part(ctx, part)
	if err != nil {
		return "", err
	}
	after := ""
	if number > 0 {
		after = string(parts[number-1].GetLast())
	}
	for chunk := range slices.Chunk(entries, auditRows) {
		wrong, err := a.entries(ctx, shard, s, chunk)
		if wrong != "" || err != nil {
			return wrong, err
		}
	}
	return a.strangers(ctx, shard, s, span{entries: entries, after: after, last: number == len(parts)-1})
}

// view reads what is needed and says whether it can be compared.
func (a *auditor) view(ctx context.Context, shard state.Shard, s *Snapshot, q state.Query) (v state.View, ok bool, err error) {
	q.Metas = []string{shard.Stage}
	v, err = a.store.Read(ctx, shard.Partition, q)
	if err != nil {
		return v, false, fmt.Errorf("audit %s/%d: %w", shard.Stage, shard.Partition, err)
	}
	meta := v.Metas[shard.Stage]
	if meta.Damaged {
		return v, false, fmt.Errorf("audit %s/%d: %w", shard.Stage, shard.Partition, state.ErrDamaged)
	}
	return v, !meta.Unfinished && meta.Applied >= s.Index.GetSequence(), nil
}

// entries compares some entries with the store.
func (a *auditor) entries(ctx context.Context, shard state.Shard, s *Snapshot, entries []*stagev1.SnapshotEntry) (string, error) {
	q := state.Query{}
	for _, e := range entries {
		name := string(e.GetName())
		switch kindOf(e) {
		case kindRow:
			q.Rows = append(q.Rows, state.Row{Stage: shard.Stage, Key: name})
		case kindList:
			q.Lists = append(q.Lists, state.List{Stage: shard.Stage, Name: name, Newest: maxList})
		case kindSet:
			for _, m := range e.GetSet().GetMembers() {
				q.Members = append(q.Members, state.Member{Stage: shard.Stage, Set: name, Value: string(m)})
			}
		}
	}
	v, ok, err := a.view(ctx, shard, s, q)
	if errors.Is(err, state.ErrDamaged) {
		return notAStores, nil
	}
	if err != nil || !ok {
		return "", err
	}
	applied := v.Metas[shard.Stage].Applied
	return a.confirm(ctx, shard, s, applied, suspects(entries, v, bounds{s.Index.GetSequence(), applied}))
}

// notAStores is what is wrong with a shard that is damaged.
const notAStores = "something in it was not written by a store"

// maxList is more than any list holds.
const maxList = 1 << 30

// bounds are the last records of the snapshot and of the store.
type bounds struct{ snapshot, applied uint64 }

// suspects picks out what the store does not hold as the snapshot says, without asking whether it changed since.
func suspects(entries []*stagev1.SnapshotEntry, v state.View, at bounds) []suspect {
	var out []suspect
	rows, lists, members := 0, 0, 0
	for _, e := range entries {
		x := suspect{place: place{string(e.GetName()), kindOf(e)}, entry: e}
		wrong := false
		switch x.place.kind {
		case kindRow:
			x.row, x.wrote = v.Rows[rows], v.Sequences[rows]
			same := x.wrote == e.GetSequence() && bytes.Equal(x.row, e.GetRow().GetValue())
			changed := x.wrote > at.snapshot && x.wrote <= at.applied
			wrong = x.row == nil || !same && !changed
			rows++
		case kindList:
			x.list = v.Lists[lists]
			wrong = !slices.EqualFunc(x.list, e.GetList().GetValues(), bytes.Equal)
			lists++
		case kindSet:
			for range e.GetSet().GetMembers() {
				x.lacks = x.lacks || !v.Members[members]
				members++
			}
			wrong = x.lacks
		}
		if wrong {
			out = append(out, x)
		}
	}
	return out
}

// confirm follows the records after the snapshot, up to where the store was when it was read, and says whether
// a suspect is as they say after all.
func (a *auditor) confirm(ctx context.Context, shard state.Shard, s *Snapshot, applied uint64, of []suspect) (string, error) {
	if len(of) == 0 {
		return "", nil
	}
	of = of[:min(len(of), auditSuspects)]
	d := NewDelta(s.Meta())
	d.only = map[string]bool{}
	for _, x := range of {
		d.only[x.place.name] = true
	}
	chain := log.Subject(a.spec.Chain, shard.Partition)
	if err := a.records.collect(ctx, chain, d, applied, maxList); err != nil {
		return "", fmt.Errorf("audit: %w", err)
	}
	if d.Meta().Applied != applied {
		return "", nil // the store is between records: it is not that of this chain, which its owner finds
	}
	for _, x := range of {
		if wrong := x.judge(d.changes[x.place]); wrong != "" {
			return wrong, nil
		}
	}
	return "", nil
}

// judge says what is wrong with a suspect, given what became of its place since the snapshot; nil for nothing.
func (x *suspect) judge(since *change) string {
	want := x.entry
	if since != nil {
		want = since.apply(x.place, x.entry)
	}
	switch x.place.kind {
	case kindRow:
		switch {
		case want == nil && x.row != nil:
			return "a row is there that should not be"
		case want != nil && x.row == nil:
			return "a row is missing"
		case want != nil && (x.wrote != want.GetSequence() || !bytes.Equal(x.row, want.GetRow().GetValue())):
			return "a row is another one"
		}
	case kindList:
		if !slices.EqualFunc(x.list, want.GetList().GetValues(), bytes.Equal) {
			return "a list is another one"
		}
	case kindSet:
		if x.lacks && (since == nil || !since.replaced) {
			return "a set lacks a member"
		}
	}
	return ""
}

// span is the entries of a part and what names belong there: those after the last of the part before.
type span struct {
	entries []*stagev1.SnapshotEntry
	after   string
	last    bool // no part follows
}

func (p *span) end() string { return string(p.entries[len(p.entries)-1].GetName()) }

// strangers looks for rows in the store that the part does not have.
func (a *auditor) strangers(ctx context.Context, shard state.Shard, s *Snapshot, p span) (string, error) {
	known := map[string]bool{}
	for _, e := range p.entries {
		if kindOf(e) == kindRow {
			known[string(e.GetName())] = true
		}
	}
	for after := p.after; ; {
		keys, err := a.store.Keys(ctx, shard, after, auditRows)
		if errors.Is(err, state.ErrDamaged) {
			return notAStores, nil
		}
		if err != nil {
			return "", fmt.Errorf("audit %s/%d: %w", shard.Stage, shard.Partition, err)
		}
		if len(keys) == 0 {
			return "", nil
		}
		after = keys[len(keys)-1]
		keys = slices.DeleteFunc(keys, func(k string) bool { return known[k] || !p.last && k > p.end() })
		if wrong, err := a.unknown(ctx, shard, s, keys); wrong != "" || err != nil {
			return wrong, err
		}
		if !p.last && after >= p.end() {
			return "", nil
		}
	}
}

// unknown looks at rows that the snapshot does not have: they must have come after it.
func (a *auditor) unknown(ctx context.Context, shard state.Shard, s *Snapshot, keys []string) (string, error) {
	if len(keys) == 0 {
		return "", nil
	}
	q := state.Query{}
	for _, k := range keys {
		q.Rows = append(q.Rows, state.Row{Stage: shard.Stage, Key: k})
	}
	v, ok, err := a.view(ctx, shard, s, q)
	if errors.Is(err, state.ErrDamaged) {
		return notAStores, nil
	}
	if err != nil || !ok {
		return "", err
	}
	var of []suspect
	for i, k := range keys {
		if v.Rows[i] != nil && v.Sequences[i] <= s.Index.GetSequence() {
			of = append(of, suspect{place: place{k, kindRow}, row: v.Rows[i], wrote: v.Sequences[i]})
		}
	}
	return a.confirm(ctx, shard, s, v.Metas[shard.Stage].Applied, of)
}
