package shop

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing/fstest"
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/simulate/schedule"
	"refrain.dev/tools/ledger"
)

// The tenants: the first has customers in all runs, the second in some. Customers of both have the same identifiers, and
// events of both the same ids.
const (
	firstTenant  = "default"
	secondTenant = "outlet"
	bothTenants  = "both"
)

// writeKey is what a tenant's publishers show at the entrance.
func writeKey(tenant string) string { return "key-of-" + tenant }

// twoTenants says whether a second tenant is there in a run, or comes.
func twoTenants(seed uint64) bool { return seed%7 == 3 }

// second chooses the two workspaces of the second tenant, and the one that is left when its definitions are removed.
func (b *Bundles) second(seed uint64) (all []*bundle, err error) {
	rng := rand.New(rand.NewPCG(seed, 0x2ee)) //nolint:gosec // a seed decides everything
	one, other := rng.IntN(2+variants), rng.IntN(2+variants)
	for _, made := range []func() (*bundle, error){b.other[one], b.other[other], b.bare[other]} {
		made, err := made()
		if err != nil {
			return nil, err
		}
		all = append(all, made)
	}
	return all, nil
}

// outlet says how the second tenant's workspaces differ from the first's: names are the same, and mean something else.
func outlet() *strings.Replacer {
	return strings.NewReplacer(
		"tenant: default", "tenant: "+secondTenant, "Thank you for", "The outlet thanks for", "title: News", "title: Bargains",
		"default_zone: Europe/London", "default_zone: Asia/Tokyo", "\n  region: GB", "", "key: event.order_id\n  reentry: always\n  steps:\n  - {id: tell", "reentry: always\n  steps:\n  - {id: tell",
		`value: "6.0"`, `value: "4.0"`,
	)
}

// bareOf is a workspace without definitions.
func bareOf(dir fs.FS) fs.FS {
	text, _ := fs.ReadFile(dir, "workspace.yaml") // what is missing does not compile
	first, _, _ := strings.Cut(string(text), "\n---\n")
	return fstest.MapFS{"workspace.yaml": {Data: []byte(first + "\n")}}
}

// bundlesOf are the workspaces that a tenant may apply in a run; the third of the second tenant's is empty.
func (m *mesh) bundlesOf(tenant string) []*bundle {
	if tenant == secondTenant {
		return m.others
	}
	return m.catalogs[:]
}

// sets are all that may apply in a run, by the revision that records name then.
func (m *mesh) sets() map[string]map[string]string {
	sets := map[string]map[string]string{}
	add := func(set map[string]string) { sets[ledger.SetID(set)] = set }
	for _, one := range m.catalogs {
		add(map[string]string{firstTenant: one.revision})
		for _, other := range m.others {
			add(map[string]string{secondTenant: other.revision})
			add(map[string]string{firstTenant: one.revision, secondTenant: other.revision})
		}
	}
	return sets
}

// secondsOperations are what is done for the second tenant: it comes, changes its definitions, removes them, and
// comes back, while its customers, who are called as the first tenant's are, do what theirs do, or what those do not.
func secondsOperations(seed uint64) schedule.Schedule {
	s := schedule.Schedule{}
	if !twoTenants(seed) {
		return s
	}
	rng := rand.New(rand.NewPCG(seed, 0x7e2)) //nolint:gosec // a seed decides everything
	do := func(at time.Duration, format string, args ...any) {
		s.Operations = append(s.Operations, schedule.Operation{At: at, Client: rng.IntN(clients), Do: fmt.Sprintf(format, args...)})
	}
	of := func() string { return []string{secondTenant, bothTenants}[rng.IntN(2)] }
	const known = 3 // of its customers
	added := time.Duration(0)
	if rng.IntN(2) == 0 {
		added = between(rng, 2*time.Second, 8*time.Second)
	}
	do(added, "apply tenant=%s revision=0", secondTenant)
	for c := range known {
		do(between(rng, 0, added+time.Second), "identify tenant=%s customer=%d zone=%d", of(), c, rng.IntN(3))
		do(added+between(rng, time.Second, 2*time.Second), "consent tenant=%s customer=%d state=given by=user", of(), c)
	}
	for n := range 6 + rng.IntN(4) {
		do(added+between(rng, 2*time.Second, 14*time.Second), "order tenant=%s customer=%d order=%d lane=live late=0s", of(), rng.IntN(known), n)
	}
	gone := added + between(rng, 6*time.Second, 12*time.Second)
	who := rng.IntN(known)
	do(gone, "consent tenant=%s customer=%d state=withdrawn by=%s", []string{firstTenant, secondTenant}[rng.IntN(2)], who, []string{"user", "email"}[rng.IntN(2)])
	for n := range 2 {
		do(gone+between(rng, 2*time.Second, 8*time.Second), "order tenant=%s customer=%d order=%d lane=live late=0s", bothTenants, who, 50+n)
	}
	do(gone, "reserve tenant=%s customer=%d id=%d then=commit", secondTenant, rng.IntN(known), 3000)
	do(gone+time.Second, "ask tenant=%s customer=%d reserve=%v", secondTenant, rng.IntN(known), rng.IntN(2) == 0)
	for n := range 1 + rng.IntN(3) {
		do(added+between(rng, 3*time.Second, 16*time.Second), "apply tenant=%s revision=%d", []string{firstTenant, secondTenant}[n%2], rng.IntN(2))
	}
	if rng.IntN(2) == 0 {
		removed := added + between(rng, 5*time.Second, 15*time.Second)
		do(removed, "apply tenant=%s revision=2", secondTenant)
		if rng.IntN(2) == 0 {
			do(removed+between(rng, 2*time.Second, 6*time.Second), "apply tenant=%s revision=%d", secondTenant, rng.IntN(2))
			do(removed+between(rng, 6*time.Second, 9*time.Second), "order tenant=%s customer=%d order=60 lane=live late=0s", bothTenants, who)
		}
	}
	return s
}

// appliedFor notes what became of the second tenant's definitions.
func (m *mesh) appliedFor(tenant string, b *bundle) {
	if tenant != secondTenant {
		return
	}
	bare := b == m.others[len(m.others)-1]
	switch {
	case bare:
		m.world.Reach("tenant removed")
	case m.removed:
		m.world.Reach("tenant back")
	case m.world.Elapsed() > 2*time.Second:
		m.world.Reach("tenant added")
	}
	m.removed = bare
}

// tenants are whose customers an operation is about: as a rule the first's.
func (a arguments) tenants() []string {
	switch a["tenant"] {
	case bothTenants:
		return []string{firstTenant, secondTenant}
	case secondTenant:
		return []string{secondTenant}
	}
	return []string{firstTenant}
}

// tenant is whose customer, or definitions, an operation is about that is done for one.
func (a arguments) tenant() string { return a.tenants()[0] }

// publishAll publishes what an operation makes, for each tenant that it is about: as another event of the same id.
func (c *client) publishAll(ctx context.Context, a arguments, of func(arguments) *eventv1.Event) error {
	e := of(a)
	for _, tenant := range a.tenants() {
		one := e.CloneVT()
		one.Tenant = tenant
		if err := c.publish(ctx, one, a["lane"]); err != nil {
			return err
		}
	}
	return nil
}

// scanTenants notes what tenants who are there at the same time must have met with.
func (m *mesh) scanTenants(h *ledger.History) {
	if !twoTenants(m.seed) {
		return
	}
	ids := map[string]string{}
	for _, s := range h.Sent {
		if other, taken := ids[s.ID]; taken && other != s.Tenant {
			m.world.Reach("one event id of two tenants")
		}
		ids[s.ID] = s.Tenant
	}
	reached := map[string]string{}
	for _, r := range h.Received {
		if other, taken := reached[r.Address]; taken && other != r.Tenant && r.Address != "" {
			m.world.Reach("one address of two tenants")
		}
		reached[r.Address] = r.Tenant
		m.scanWithdrawn(h, r)
	}
}

// scanWithdrawn notes a contact of one tenant with somebody who had withdrawn from the other.
func (m *mesh) scanWithdrawn(h *ledger.History, r ledger.Request) {
	for _, s := range h.Sent {
		if s.OptOut == nil || s.Acknowledged.IsZero() || s.Tenant == r.Tenant || r.Started.Before(s.Acknowledged.Add(ledger.DefaultBound)) {
			continue
		}
		if len(s.Identifiers) > 0 && strings.Contains(strings.ToLower(r.Address), strings.ToLower(afterColon(s.Identifiers[0]))) {
			m.world.Reach("withdrawn from another tenant")
		}
	}
}

// afterColon is the value of an identifier; that of a user begins every address of it.
func afterColon(identifier string) string {
	_, value, _ := strings.Cut(identifier, ":")
	return value
}

// removable says whether an event is a permission of a tenant that may have removed what it is for.
func removable(e *eventv1.Event) bool {
	return e.GetTenant() == secondTenant && e.GetConsent().GetState() == eventv1.ConsentState_CONSENT_STATE_GIVEN
}
