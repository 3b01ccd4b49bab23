package main

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/contact"
	"refrain.dev/pkg/decide"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/window"
)

//go:embed testdata/shop
var testdata embed.FS

const (
	// coreSteps is how many calls are made between two looks at the clock.
	coreSteps = 100
	// spent is the trait that the banners look at.
	spent = 55.5
	// placement is filled on request.
	placement = "web-banner"
)

func workspace() (fs.FS, error) { return fs.Sub(testdata, "testdata/shop") }

// fixture is a customer with a contact ledger, and the rules of the workspace.
type fixture struct {
	now      time.Time
	policies []*contact.Policy
	rules    decide.Rules
	place    *decide.Placement
	env      decide.Env
	ledger   *contactv1.State
	zones    *window.Zones
}

// newFixture is a customer who was contacted some days ago, each number of days once.
func newFixture(daysAgo ...int) (*fixture, error) {
	files, err := workspace()
	if err != nil {
		return nil, fmt.Errorf("open the workspace: %w", err)
	}
	_, c, problems := catalog.Read(files)
	if c == nil {
		return nil, fmt.Errorf("compile the workspace: %v", problems)
	}
	value, err := event.FromAny(spent)
	if err != nil {
		return nil, fmt.Errorf("make a trait: %w", err)
	}
	f := &fixture{
		now: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC), policies: c.Policies, zones: &window.Zones{},
		rules:  decide.Rules{Revision: c.Revision, Actions: c.Actions, Placements: c.Placements, Journeys: c.Journeys},
		ledger: &contactv1.State{Tenant: "default", Basis: &decisionv1.ContactBasis{Zone: &profilev1.Zone{Name: "Europe/London", Provenance: "trait"}}},
	}
	f.place = f.rules.Placement(placement)
	f.env = decide.Env{Now: f.now, Traits: []*profilev1.Trait{{Name: "spent", Value: value}}}
	for n, days := range daysAgo {
		f.ledger.Ledger = append(f.ledger.Ledger, &contactv1.LedgerEntry{
			Id: fmt.Sprint("contact-", n), At: timestamppb.New(f.now.AddDate(0, 0, -days)), State: contactv1.EntryState_ENTRY_STATE_COMMITTED,
			Channel: "web", Action: "banner-1", Purpose: decide.PurposeMarketing, Counts: true, Zone: "Europe/London",
		})
	}
	return f, nil
}

// allows is what contact.Check says about a banner.
func (f *fixture) allows(a *decide.Action, t contact.Treatment) []*reasonv1.Reason {
	v := contact.Check(f.ledger, contact.Contact{
		Action: a.Name, Purpose: a.Purpose, Obeys: a.ObeysCaps, Counts: a.CountsTowardCaps, Treatments: []contact.Treatment{t},
	}, f.policies, contact.Env{Now: f.now, Revision: f.rules.Revision, Zones: f.zones}, contact.Fast)
	if v.Kind == contactv1.VerdictKind_VERDICT_KIND_APPROVED {
		return nil
	}
	return v.Reasons
}

func (f *fixture) query() *decisionv1.DecisionMade {
	check := func(c decide.Contact, _ decide.Mode) []*reasonv1.Reason {
		return f.allows(c.Action, contact.Treatment{ID: c.Treatment.GetId(), Channel: c.Treatment.GetChannel(), To: c.Treatment.GetTo()})
	}
	state := &decisionv1.State{Tenant: "default", Customer: []byte("customer-0123456")}
	return decide.Query(state, decide.Question{Placement: f.place, Check: check}, f.rules, f.env)
}

// best is the banner that the query chose; empty for none.
func (f *fixture) best() string {
	for _, c := range f.query().GetCandidates() {
		if c.GetChosen() && c.GetAction() != decide.NoAction {
			return c.GetAction()
		}
	}
	return ""
}

// coreSuite compares the two functions that decide with what somebody would write in a hurry.
func coreSuite(context.Context, string) (*suite, error) {
	f, err := newFixture(2, 4, 9, 12, 16, 21, 33, 45, 60, 75)
	if err != nil {
		return nil, err
	}
	banner, caps, banners := f.rules.Actions["banner-6"], naiveCaps(), naiveBanners()
	web := contact.Treatment{ID: "banner", Channel: "web", To: decide.ToCustomer}
	check := func() bool { return len(f.allows(banner, web)) == 0 }
	choose := func() bool { return f.best() == "banner-6" }
	return &suite{
		close: func() error { return nil },
		figures: []figure{{
			name: "contact.Check, three caps, ten contacts", unit: "check",
			ours: side{what: "contact.Check (basis, consent, do-not-contact, windows, caps; reasons)", step: often(check)},
			bare: side{what: "a loop in Go over the same ledger that counts for the same caps", step: often(func() bool { return naiveAllows(f.ledger.GetLedger(), caps, f.now) })},
		}, {
			name: "decide.Query, eight candidates", unit: "query",
			ours: side{what: "decide.Query with contact.Check inside (expressions, ranking, every candidate with its reasons)", step: often(choose)},
			bare: side{what: "the same choice as a loop in Go, without a reason", step: often(func() bool {
				return naiveBest(spent, f.ledger.GetLedger(), caps, banners, f.now) == "banner-6"
			})},
		}},
	}, nil
}

// often calls something that must say yes.
func often(yes func() bool) step {
	return func(context.Context) (int, error) {
		for range coreSteps {
			if !yes() {
				return 0, fmt.Errorf("the answer is wrong")
			}
		}
		return coreSteps, nil
	}
}
