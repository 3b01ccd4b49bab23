package dispatchsvc

import (
	"cmp"
	"context"
	"slices"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/contact"
	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/source"
	"refrain.dev/pkg/window"
)

// catalogs gives what dispatch takes from the compiled catalogs: the file where the ports meet packages
// catalog, contact and profile.
type catalogs struct {
	*source.Catalogs[*catalog.Catalog]

	zones *window.Zones
}

func newCatalogs(store source.Store, c clock.Clock, cache *catalog.Cache) *catalogs {
	return &catalogs{Catalogs: source.New(store, c, cache.Decode), zones: &window.Zones{}}
}

// At implements Catalogs.
func (c *catalogs) At(revision, tenant string) (Definitions, bool) {
	held, ok := c.Catalogs.At(revision, tenant)
	return definitionsOf(orEmpty(held), c.zones), ok
}

// orEmpty is what holds for a tenant that has no catalog.
func orEmpty(held source.Held[*catalog.Catalog]) *catalog.Catalog {
	if held.Revision == "" {
		return catalog.Empty()
	}
	return held.Catalog
}

// Normalise implements Normaliser by the tenant's kinds that are in force.
func (c *catalogs) Normalise(ctx context.Context, tenant, kind, value string) (string, error) {
	held, err := c.InForce(ctx, tenant)
	if err != nil {
		return "", err //nolint:wrapcheck // says what it read
	}
	return orEmpty(held).Kinds.Normalise(kind, value) //nolint:wrapcheck // the caller says what it wanted
}

func definitionsOf(c *catalog.Catalog, zones *window.Zones) Definitions {
	return Definitions{
		Revision: c.Revision,
		Kinds:    c.Kinds,
		Channels: c.Channels,
		Topics:   c.Topics,
		Templates: func(action, treatment string) *decide.Templates {
			if a := c.Actions[action]; a != nil {
				return a.Templates(treatment)
			}
			return nil
		},
		LastCheck: func(p *profilev1.Profile, last LastContact) []*reasonv1.Reason { return lastCheck(c, zones, p, last) },
		Address: func(p *profilev1.Profile, ref *decisionv1.TreatmentRef) string {
			at := contact.Address(basisOf(c, p), c.Reach(ref.GetChannel()))
			if approved := ref.GetAddress(); approved != "" && at.GetAddress() != approved {
				at = profile.Reaches(p, approved)
			}
			return cmp.Or(at.GetWritten(), at.GetAddress())
		},
		Traits: profile.Traits,
	}
}

// basisOf is what the last check rests on. Contact ledgers are suppression's to wait for, before it approves.
func basisOf(c *catalog.Catalog, p *profilev1.Profile) *decisionv1.ContactBasis {
	b := profile.Basis(p, c.Addresses())
	b.Awaits = nil
	return b
}

// lastBasis is the basis for a contact that was approved at an address: whatever address was learned since is not asked.
func lastBasis(c *catalog.Catalog, p *profilev1.Profile, ref *decisionv1.TreatmentRef) *decisionv1.ContactBasis {
	b, r := basisOf(c, p), c.Reach(ref.GetChannel())
	if ref.GetAddress() == "" || r.Trait || contact.Address(b, r).GetAddress() == ref.GetAddress() {
		return b
	}
	if at := profile.Reaches(p, ref.GetAddress()).CloneVT(); at != nil {
		at.Channel = r.Channel
		b.Endpoints = []*profilev1.Endpoint{at}
		return b
	}
	b.Endpoints = slices.DeleteFunc(slices.Clone(b.GetEndpoints()), func(ep *profilev1.Endpoint) bool {
		return ep.GetAddress() != ref.GetAddress()
	})
	return b
}

// lastCheck runs the contact policies against an empty ledger: room was taken at the verdict, and what
// may have changed since is permission, holds, endpoints and the hour.
func lastCheck(c *catalog.Catalog, zones *window.Zones, p *profilev1.Profile, last LastContact) []*reasonv1.Reason {
	obeys := last.Proposal.GetPurpose() == "marketing"
	if a := c.Actions[last.Proposal.GetAction()]; a != nil {
		obeys = a.ObeysCaps
	}
	verdict := contact.Check(
		&contactv1.State{Tenant: p.GetTenant(), Customer: p.GetId(), Basis: lastBasis(c, p, last.Treatment)},
		contact.Contact{
			ID: last.Proposal.GetId(), Action: last.Proposal.GetAction(), Purpose: last.Proposal.GetPurpose(), Obeys: obeys,
			Treatments: []contact.Treatment{{
				ID: last.Treatment.GetId(), Channel: last.Treatment.GetChannel(), Topic: last.Treatment.GetTopic(),
				Reach: c.Reach(last.Treatment.GetChannel()), To: last.Treatment.GetTo(),
			}},
		},
		c.Policies,
		contact.Env{Now: last.Now, DefaultZone: c.Workspace.GetDefaultZone(), Revision: c.Revision, Zones: zones},
		contact.Fast,
	)
	if verdict.Kind == contactv1.VerdictKind_VERDICT_KIND_APPROVED {
		return nil
	}
	return verdict.Reasons
}
