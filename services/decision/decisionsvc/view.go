package decisionsvc

import (
	"bytes"
	"context"
	"fmt"
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/state"
)

const (
	// recheck is how long a query waits before it looks again whether the state has caught up.
	recheck = 4 * time.Millisecond
	// maxHops bounds how many links from one profile to the next are followed.
	maxHops = 4
)

// view is what one read saw of a customer.
type view struct {
	partition int
	key       string
	customer  []byte
	// known is false if what was read may not be used: a shard of the partition was never written, is being made
	// again, or what was asked for in it is being written.
	known bool
	// passing says that nothing but a write that is under way keeps the view from being known.
	passing bool
	profile *profilev1.Profile
	state   *decisionv1.State
	contact *contactv1.State
	// lists in the order asked for.
	lists [][][]byte
	metas map[string]state.Meta
}

// subject is whom a query is about.
type subject struct {
	tenant     string
	identifier *eventv1.Identifier
	// lists asks for lists of the customer's key beside the rows.
	lists func(key string) []state.List
}

// look reads everything about a customer: in one round trip if the identifier made the profile, in two if
// it resolves to another one, in one more for each profile that was closed for another one.
//
// What is promised of it: each row is as one record of its chain left it, never half of one, also while that
// record is being written to the store. The rows of different stages are each as far as their stage is. The
// identifier's row only says where to look; it may be a record older or newer than the profile, and where it
// still leads to a profile that is closed, the link in that is followed.
func (e *engine) look(ctx context.Context, of subject) (*view, error) {
	id, err := profile.IdentifierID(e.hasher, of.tenant, of.identifier)
	if err != nil {
		return nil, err
	}
	v, resolved, err := e.read(ctx, of, id, identity.IdentifierKey(of.tenant, id))
	if err == nil && resolved != nil && !bytes.Equal(resolved, id) {
		v, _, err = e.read(ctx, of, resolved, "")
	}
	for range maxHops {
		if err != nil || !v.known || len(v.profile.GetLinkedTo()) == 0 {
			break
		}
		v, _, err = e.read(ctx, of, v.profile.GetLinkedTo(), "")
	}
	return v, err
}

// read reads the rows of a profile's id, and the identifier's row where asked; resolved is the profile
// that the identifier resolves to.
func (e *engine) read(ctx context.Context, of subject, id []byte, identifier string) (v *view, resolved []byte, err error) {
	v = &view{partition: e.hasher.Partition(id), key: identity.CustomerKey(of.tenant, id), customer: id}
	q := state.Query{
		Metas: []string{profileStage, decisionStage, suppressionStage},
		Rows:  []state.Row{{Stage: profileStage, Key: v.key}, {Stage: decisionStage, Key: v.key}, {Stage: suppressionStage, Key: v.key}},
	}
	if identifier != "" {
		q.Rows = append(q.Rows, state.Row{Stage: profileStage, Key: identifier})
	}
	if of.lists != nil {
		q.Lists = of.lists(v.key)
		q.Metas = append(q.Metas, dispatchStage)
	}
	got, err := e.store.Read(ctx, v.partition, q)
	if err != nil {
		return nil, nil, fmt.Errorf("read customer: %w", err)
	}
	v.metas, v.lists = got.Metas, got.Lists
	v.judge(q, &got)
	if err := v.decode(of.tenant, got.Rows); err != nil {
		return nil, nil, err
	}
	if identifier == "" || got.Rows[3] == nil {
		return v, nil, nil
	}
	row := &profilev1.IdentifierRow{}
	if err := row.UnmarshalVT(got.Rows[3]); err != nil {
		return nil, nil, fmt.Errorf("decode identifier: %w", err)
	}
	if len(row.GetProfileId()) != identity.IDSize {
		return v, nil, nil
	}
	return v, row.GetProfileId(), nil
}

// judge says whether what was read may be used. Of the rows each may be from before or after a record that is
// being written; of a list that is not known.
func (v *view) judge(q state.Query, got *state.View) {
	v.known, v.passing = true, true
	for i, stage := range []string{profileStage, decisionStage, suppressionStage} {
		v.known = v.known && got.Readable(stage, i)
	}
	for _, stage := range q.Metas {
		meta := got.Metas[stage]
		v.known = v.known && (len(q.Lists) == 0 || !meta.Unfinished)
		v.passing = v.passing && (!meta.Unfinished || meta.Target != 0) && (meta.Applied != 0 || stage == dispatchStage)
	}
	v.passing = v.passing && !v.known
}

func (v *view) decode(tenant string, rows [][]byte) error {
	var err error
	if v.profile, err = decodeProfile(rows[0]); err != nil {
		return err
	}
	v.state = &decisionv1.State{}
	if err := v.state.UnmarshalVT(rows[1]); err != nil {
		return fmt.Errorf("decode decision state: %w", err)
	}
	v.state, _ = takeRefresh(v.state)
	v.state.Tenant, v.state.Customer = tenant, v.customer
	v.contact = &contactv1.State{}
	if err := v.contact.UnmarshalVT(rows[2]); err != nil {
		return fmt.Errorf("decode ledger: %w", err)
	}
	return nil
}

// ledger is the contact state that a check is made on. The profile is the newer of the two: what it forbids is
// forbidden, before suppression has heard of it.
func (v *view) ledger(rules *Rules) *contactv1.State {
	if v.profile == nil {
		return v.contact
	}
	ledger := v.contact.CloneVT()
	ledger.Basis = profile.Basis(v.profile, rules.Addresses)
	return ledger
}

// covers says whether every row is at least as new as a position. A position of another partition, that of
// an identifier that resolves elsewhere, cannot be told from here.
func (v *view) covers(at *eventv1.Position) bool {
	if at == nil {
		return true
	}
	if int(at.GetPartition()) != v.partition {
		return false
	}
	for _, stage := range []string{profileStage, decisionStage, suppressionStage} {
		if v.metas[stage].Origins[at.GetLane()] < at.GetSequence() {
			return false
		}
	}
	return true
}

// await looks until the view is not kept from being known by a write under way and covers a position, or until
// the time for it is over: fresh is false if it does not cover the position.
func (e *engine) await(ctx context.Context, of subject, at *eventv1.Position) (v *view, fresh bool, err error) {
	for {
		v, err = e.look(ctx, of)
		if err != nil {
			return v, true, err
		}
		fresh = v.covers(at)
		if fresh && !v.passing {
			return v, true, nil
		}
		if !fresh && int(at.GetPartition()) != v.partition {
			return v, false, nil
		}
		if left, ok := e.clock.Left(ctx); ok && left < 2*recheck {
			return v, fresh, nil
		}
		if err := clock.Sleep(ctx, e.clock, recheck); err != nil {
			return v, fresh, nil //nolint:nilerr // what was seen is the answer
		}
	}
}
