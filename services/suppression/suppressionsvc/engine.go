package suppressionsvc

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/contact"
	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/state"
	"refrain.dev/pkg/window"
)

const (
	defaultTenant = "default"
	profileStage  = "profile"
	// maxHops bounds how many links from one profile to the next are followed.
	maxHops = 4
)

// engine answers callers: it finds the customer, then reads the row or asks the fold.
type engine struct {
	catalogs Catalogs
	store    Reader
	owner    Owner
	peers    Peers
	hasher   identity.Hasher
	clock    clock.Clock
	zones    *window.Zones
}

// customer is who an identifier resolves to.
type customer struct {
	partition int
	key       string
	profile   *profilev1.Profile
}

// check runs every rule on the row as it is, which is what Reserve would decide on, and has no effect.
func (e *engine) check(ctx context.Context, req *contactv1.CheckRequest) (*contactv1.CheckResponse, error) {
	who, err := e.find(ctx, req.GetTenant(), req.GetIdentifier())
	if err != nil {
		return nil, err
	}
	row, _, err := e.row(ctx, who.partition, stageName, who.key)
	if err != nil {
		return nil, err
	}
	s := &contactv1.State{}
	if err := s.UnmarshalVT(row); err != nil {
		return nil, fmt.Errorf("decode contact state: %w", err)
	}
	defs, err := e.current(ctx, req.GetTenant())
	if err != nil {
		return nil, err
	}
	if err := defs.exists(req.GetContact()); err != nil {
		return nil, err
	}
	c := defs.wanted(req.GetContact(), "")
	env := contact.Env{Now: e.clock.Now(), DefaultZone: defs.DefaultZone, Revision: defs.Revision, Zones: e.zones}
	v := contact.Check(s, c, defs.Policies, env, contact.All)
	res := &contactv1.CheckResponse{Kind: v.Kind, Reasons: v.Reasons, Purpose: c.Purpose}
	if a := defs.Actions[c.Action]; a != nil && !req.GetPolicyOnly() {
		if refusals := a.Refusals(profile.Traits(who.profile), defs.Revision, decide.Explain); len(refusals) > 0 {
			res.Kind, res.Reasons = contactv1.VerdictKind_VERDICT_KIND_SUPPRESSED, slices.Concat(refusals, v.Reasons)
		}
	}
	switch res.GetKind() {
	case contactv1.VerdictKind_VERDICT_KIND_APPROVED:
		res.Treatment, res.Channel, res.Topic = v.Treatment.ID, v.Treatment.Channel, v.Treatment.Topic
	case contactv1.VerdictKind_VERDICT_KIND_DEFERRED:
		res.Until = timestamppb.New(v.Until)
	default:
	}
	return res, nil
}

// reservable refuses to take capacity for a contact that the catalog does not know.
func (e *engine) reservable(ctx context.Context, tenant string, c *contactv1.Contact) error {
	if c.GetChannel() == "" {
		return fault.New(fault.Invalid, "read contact: name the channel; a reservation is for one contact")
	}
	defs, err := e.current(ctx, tenant)
	if err != nil {
		return err
	}
	return defs.exists(c)
}

// current returns the definitions that a tenant applied last. A partition in which nothing happens hears of them only
// with its next record, so the position of the log is no guide for what is merely asked.
func (e *engine) current(ctx context.Context, tenant string) (*Definitions, error) {
	revision, err := e.catalogs.Current(ctx)
	if err != nil {
		return nil, fmt.Errorf("find catalog: %w", err)
	}
	if err := e.catalogs.Prepare(ctx, revision); err != nil {
		return nil, fmt.Errorf("prepare catalog: %w", err)
	}
	defs, ok := e.catalogs.At(revision, cmp.Or(tenant, defaultTenant))
	if !ok {
		return nil, fault.New(fault.Unavailable, "read catalog %s: it is not loaded", revision)
	}
	return defs, nil
}

// find resolves an identifier through its row in the profile stage, wherever that lives, and follows
// profiles that were closed in favour of another.
func (e *engine) find(ctx context.Context, tenant string, id *eventv1.Identifier) (customer, error) {
	tenant = cmp.Or(tenant, defaultTenant)
	home, err := e.home(ctx, tenant, id)
	if err != nil {
		return customer{}, err
	}
	raw, _, err := e.row(ctx, e.hasher.Partition(home), profileStage, identity.IdentifierKey(tenant, home))
	if err != nil {
		return customer{}, err
	}
	resolved := &profilev1.IdentifierRow{}
	if err := resolved.UnmarshalVT(raw); err != nil {
		return customer{}, fmt.Errorf("decode identifier row: %w", err)
	}
	at := home
	if len(resolved.GetProfileId()) > 0 {
		at = resolved.GetProfileId()
	}
	for range maxHops {
		who := customer{partition: e.hasher.Partition(at), key: identity.CustomerKey(tenant, at)}
		raw, whole, err := e.row(ctx, who.partition, profileStage, who.key)
		if err != nil {
			return customer{}, err
		}
		if raw == nil && !whole {
			return customer{}, notYet(profileStage)
		}
		if raw == nil {
			return customer{}, fault.New(fault.NotFound, "find customer: nobody has that identifier")
		}
		p := &profilev1.Profile{}
		if err := p.UnmarshalVT(raw); err != nil {
			return customer{}, fmt.Errorf("decode profile: %w", err)
		}
		if len(p.GetLinkedTo()) == 0 {
			who.profile = p
			return who, nil
		}
		at = p.GetLinkedTo()
	}
	return customer{}, fault.New(fault.Unavailable, "find customer: the profile is being linked; try again")
}

// home is the id of an identifier, normalised.
func (e *engine) home(ctx context.Context, tenant string, id *eventv1.Identifier) ([]byte, error) {
	defs, err := e.current(ctx, tenant)
	if err != nil {
		return nil, err
	}
	kinds := defs.Kinds
	if kinds == nil {
		kinds = event.DefaultKinds()
	}
	value := id.GetValue()
	if id.GetKind() != event.KindProfile {
		if value, err = kinds.Normalise(id.GetKind(), value); err != nil {
			return nil, fault.As(fault.Invalid, fmt.Errorf("read identifier: %w", err))
		}
	}
	home, err := profile.IdentifierID(e.hasher, tenant, &eventv1.Identifier{Kind: id.GetKind(), Value: value})
	if err != nil {
		return nil, fmt.Errorf("find home: %w", err)
	}
	return home, nil
}

// row reads a row of a stage with the stage's meta. A shard that was never written, or is being made again, knows
// nothing: the answer is not "nobody" but "not now". While a record is being written, whole is false: the row is as
// before it or as after it, and one that is not there may be about to come.
func (e *engine) row(ctx context.Context, partition int, of, key string) (row []byte, whole bool, err error) {
	view, err := e.store.Read(ctx, partition, state.Query{Metas: []string{of}, Rows: []state.Row{{Stage: of, Key: key}}})
	if err != nil {
		return nil, false, fmt.Errorf("read row of %s: %w", of, err)
	}
	if !view.Readable(of, 0) {
		return nil, false, notYet(of)
	}
	return view.Rows[0], !view.Metas[of].Unfinished, nil
}

func notYet(of string) error {
	return fault.New(fault.Unavailable, "read row of %s: its states are not there yet", of)
}
