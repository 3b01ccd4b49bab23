package profilesvc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/state"
)

// engine reads profiles: identifier, home, row, profile.
type engine struct {
	store  Reader
	rules  CurrentRules
	hasher identity.Hasher
	// partitions of the generation.
	partitions int
	clock      clock.Clock
	// wait bounds how long a read waits for the position that it asks for.
	wait time.Duration
}

// staleError says that the view is older than what the caller asked for.
type staleError struct {
	at *eventv1.Position
}

// Error implements error.
func (e *staleError) Error() string {
	return fmt.Sprintf("the view has not reached %s lane position %d of partition %d", e.at.GetLane(), e.at.GetSequence(), e.at.GetPartition())
}

func isStale(err error) bool {
	_, ok := errors.AsType[*staleError](err)
	return ok
}

const (
	pollEvery     = 10 * time.Millisecond
	maxHops       = 4
	maxTimeline   = 2000
	usualTimeline = 100
)

// errNotFound is the answer for an identifier that nobody has.
func errNotFound() error { return fault.New(fault.NotFound, "nobody has that identifier") }

// find resolves an identifier and reads its profile, from a state at least as new as at. It looks again
// until the state is that new or the wait is over.
func (e *engine) find(ctx context.Context, tenant string, id *eventv1.Identifier, at *eventv1.Position) (*profilev1.Profile, int, error) {
	home, err := e.home(ctx, tenant, id)
	if err != nil {
		return nil, 0, err
	}
	if at != nil && int(at.GetPartition()) >= e.partitions {
		return nil, 0, fault.New(fault.Invalid, "at_least: there is no partition %d", at.GetPartition())
	}
	// The wait bounds only the looking again: a read that is under way when it ends still answers.
	over := e.clock.Elapsed() + e.wait
	for {
		p, partition, err := e.look(ctx, tenant, home, at)
		if !isStale(err) && !errors.Is(err, errUnknown) {
			return p, partition, err
		}
		if e.clock.Elapsed() >= over || clock.Sleep(ctx, e.clock, pollEvery) != nil {
			return nil, 0, err
		}
	}
}

func (e *engine) home(ctx context.Context, tenant string, id *eventv1.Identifier) ([]byte, error) {
	rules, err := e.rules.Current(ctx, tenant)
	if err != nil {
		return nil, err
	}
	normal, err := rules.Normalise(id)
	if err != nil {
		return nil, fault.New(fault.Invalid, "identifier: %w", err)
	}
	return profile.IdentifierID(e.hasher, tenant, normal)
}

// look reads once: the identifier's row and the profile it made, and if it resolves elsewhere that
// profile. Closed profiles are followed to the one they were linked to.
func (e *engine) look(ctx context.Context, tenant string, home []byte, at *eventv1.Position) (*profilev1.Profile, int, error) {
	fence, err := e.reached(ctx, at)
	if err != nil {
		return nil, 0, err
	}
	partition := e.hasher.Partition(home)
	view, err := e.store.Read(ctx, partition, state.Query{Metas: []string{stageName}, Rows: []state.Row{
		{Stage: stageName, Key: identity.IdentifierKey(tenant, home)}, {Stage: stageName, Key: identity.CustomerKey(tenant, home)},
	}})
	if err != nil {
		return nil, 0, fmt.Errorf("read identifier: %w", err)
	}
	row := &profilev1.IdentifierRow{}
	if err := row.UnmarshalVT(view.Rows[0]); err != nil {
		return nil, 0, fmt.Errorf("decode identifier row: %w", err)
	}
	id, raw, meta := home, view.Rows[1], view.Metas[stageName]
	if !view.Readable(stageName, 0) {
		return nil, 0, errUnknown
	}
	known := there(&view, 1)
	if to := row.GetProfileId(); len(to) > 0 && !bytes.Equal(to, home) {
		id, raw = to, nil
		partition = e.hasher.Partition(id)
	}
	for range maxHops {
		if raw == nil {
			if raw, meta, known, err = e.row(ctx, partition, identity.CustomerKey(tenant, id)); err != nil {
				return nil, 0, err
			}
		}
		if !fence.passed(partition, meta) {
			return nil, 0, &staleError{at: at}
		}
		if !known {
			return nil, 0, errUnknown
		}
		if raw == nil {
			return nil, 0, errNotFound()
		}
		p := &profilev1.Profile{}
		if err := p.UnmarshalVT(raw); err != nil {
			return nil, 0, fmt.Errorf("decode profile row: %w", err)
		}
		if len(p.GetLinkedTo()) == 0 {
			return p, partition, nil
		}
		id, raw = p.GetLinkedTo(), nil
		partition = e.hasher.Partition(id)
	}
	return nil, 0, fault.New(fault.Unavailable, "resolve identifier: its profile is being linked; try again")
}

// errUnknown says that nothing is known of a customer now, which is not that there is none.
var errUnknown = fault.As(fault.Unavailable, errors.New("states are being made again; try again soon"))

// there says whether a row that was read may be used: it is as one record left it, also while another record is
// being written. One that is not there may be about to come then.
func there(view *state.View, row int) bool {
	return view.Readable(stageName, row) && (view.Rows[row] != nil || !view.Metas[stageName].Unfinished)
}

func (e *engine) row(ctx context.Context, partition int, key string) (row []byte, meta state.Meta, known bool, err error) {
	view, err := e.store.Read(ctx, partition, state.Query{Metas: []string{stageName}, Rows: []state.Row{{Stage: stageName, Key: key}}})
	if err != nil {
		return nil, state.Meta{}, false, fmt.Errorf("read profile: %w", err)
	}
	return view.Rows[0], view.Metas[stageName], there(&view, 0), nil
}

// fence is what a partition must have applied so that a read from it is new enough.
type fence struct {
	set     bool
	home    int
	applied uint64
}

// reached says whether the partition of a position has covered it, and up to where its chain goes. What
// is read from another partition must have applied its letters as far.
func (e *engine) reached(ctx context.Context, at *eventv1.Position) (fence, error) {
	if at == nil {
		return fence{}, nil
	}
	home := int(at.GetPartition())
	view, err := e.store.Read(ctx, home, state.Query{Metas: []string{stageName}})
	if err != nil {
		return fence{}, fmt.Errorf("read position: %w", err)
	}
	meta := view.Metas[stageName]
	if meta.Origins[at.GetLane()] < at.GetSequence() {
		return fence{}, &staleError{at: at}
	}
	return fence{set: true, home: home, applied: meta.Applied}, nil
}

func (f fence) passed(partition int, meta state.Meta) bool {
	if !f.set || partition == f.home {
		return true
	}
	sender := log.Subject(log.Stage(stageName).Chain, f.home)
	return meta.Senders[sender].Sequence >= f.applied
}

// timeline merges what all stages noted about a profile, each cause before what follows from it; at most limit lines, the
// newest.
func (e *engine) timeline(ctx context.Context, p *profilev1.Profile, partition, limit int) ([]*profilev1.TimelineEntry, error) {
	name := timelineOf(identity.CustomerKey(p.GetTenant(), p.GetId()))
	var q state.Query
	for _, s := range log.Stages() {
		q.Metas = append(q.Metas, s.Name)
		q.Lists = append(q.Lists, state.List{Stage: s.Name, Name: name, Newest: limit})
	}
	view, err := e.store.Read(ctx, partition, q)
	if err != nil {
		return nil, fmt.Errorf("read timeline: %w", err)
	}
	for _, s := range q.Metas {
		if view.Metas[s].Unfinished {
			return nil, errUnknown
		}
	}
	var out []*profilev1.TimelineEntry
	for _, list := range view.Lists {
		for _, raw := range list {
			line := &profilev1.TimelineEntry{}
			if err := line.UnmarshalVT(raw); err != nil {
				return nil, fmt.Errorf("decode timeline entry: %w", err)
			}
			out = append(out, line)
		}
	}
	slices.SortStableFunc(out, profile.CompareLines) // the lists come in the order of the stages, each in its own order
	return out[max(0, len(out)-limit):], nil
}
