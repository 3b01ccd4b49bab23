package shop

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/simulate/schedule"
	"refrain.dev/tools/ledger"
)

// caller is the first of the customers who are known by their telephone number, and whom other operations do not know.
const caller = 20

// spellings are how people write their telephone number.
func spellings() []string { return []string{"international", "dialled", "national", "bracketed"} }

// phone is a customer's number, in one of the spellings.
func phone(customer int, written string) *eventv1.Identifier {
	value := fmt.Sprintf("+44 7700 900%03d", customer)
	switch written {
	case "dialled":
		value = fmt.Sprintf("0044 7700 900%03d", customer)
	case "national":
		value = fmt.Sprintf("07700 900%03d", customer)
	case "bracketed":
		value = fmt.Sprintf("(07700) 900-%03d", customer)
	}
	return &eventv1.Identifier{Kind: "phone", Value: value}
}

// nobodys says whether an event is about a number only that has no country code where the tenant's workspace has no region:
// it is refused.
func nobodys(e *eventv1.Event) bool {
	first := e.GetIdentifiers()
	return e.GetTenant() == secondTenant && len(first) == 1 && first[0].GetKind() == "phone" && !strings.HasPrefix(first[0].GetValue(), "+")
}

// callback is what somebody asks for who is known by the number only.
func (c *client) callback(a arguments) *eventv1.Event {
	who := phone(a.number("customer"), a["written"])
	e := c.event(eventv1.Kind_KIND_TRACK, "callback_asked", who)
	e.Context = &eventv1.Context{TimeZone: zones()[a.number("zone")%len(zones())]}
	e.Properties = []*eventv1.Property{text("order_id", a["order"])}
	c.world.Reach("number " + a["written"])
	return e
}

// alias says that a customer was known by another identifier before: a device, or a user_id.
func (c *client) alias(a arguments) *eventv1.Event {
	earlier := user(a.number("with"))
	if a["with"] == "" {
		earlier = device(a.number("device"))
	}
	return c.event(eventv1.Kind_KIND_ALIAS, "alias", user(a.number("customer")), earlier)
}

// knownOtherwise are customers who are known by telephone numbers, in whatever spelling, or by identifiers of before.
func knownOtherwise(seed uint64) schedule.Schedule {
	s := schedule.Schedule{}
	rng := rand.New(rand.NewPCG(seed, 0x1de)) //nolint:gosec // a seed decides everything
	do := func(at time.Duration, format string, args ...any) {
		s.Operations = append(s.Operations, schedule.Operation{At: at, Client: rng.IntN(clients), Do: fmt.Sprintf(format, args...)})
	}
	written := func() string { return spellings()[rng.IntN(4)] }
	switch {
	case twoTenants(seed):
		do(between(rng, 0, 20*time.Second), "callback tenant=%s customer=%d written=%s order=0 zone=0", bothTenants, caller, written())
	case seed%7 == 5:
		callers(rng, do, written)
	case seed%7 == 1:
		aliases(rng, do)
	}
	return s
}

// callers ask to be called, say no in another spelling than the one in which they said yes, and ask again.
func callers(rng *rand.Rand, do func(time.Duration, string, ...any), written func() string) {
	for c := caller; c < caller+2; c++ {
		zone, said := rng.IntN(3), between(rng, 9*time.Second, 14*time.Second)
		do(0, "consent customer=%d state=given by=phone written=%s", c, written())
		for n := range 2 + rng.IntN(2) {
			do(between(rng, time.Second, 8*time.Second), "callback customer=%d written=%s order=%d zone=%d", c, written(), n, zone)
		}
		if rng.IntN(2) == 0 { // a person has the number
			known := between(rng, 4*time.Second, 8*time.Second)
			do(known, "identify customer=%d zone=%d written=%s", c, zone, written())
			do(known, "consent customer=%d state=given by=user", c)
		}
		do(said, "consent customer=%d state=withdrawn by=phone written=%s", c, written())
		for n := range 3 {
			do(said+between(rng, 0, 12*time.Second), "callback customer=%d written=%s order=%d zone=%d", c, written(), 10+n, zone)
		}
	}
}

// aliases say of devices whose they were, before and after these were seen, and of customers that they are one.
func aliases(rng *rand.Rand, do func(time.Duration, string, ...any)) {
	for n := range 2 {
		who, at := rng.IntN(customers), between(rng, 2*time.Second, 15*time.Second)
		do(between(rng, 0, at), "visit device=%d", caller+n)
		do(at, "alias customer=%d device=%d", who, caller+n)
		do(at+between(rng, 0, 8*time.Second), "visit device=%d", caller+n)
		do(at+between(rng, 0, 8*time.Second), "alias customer=%d with=%d", who, (who+1+rng.IntN(customers-1))%customers)
	}
}

// scanNumbers notes what became of numbers and aliases.
func (m *mesh) scanNumbers(h *ledger.History) {
	spelt := map[string]string{} // by the digits that tell one number from another
	for _, s := range h.Sent {
		if len(s.Identifiers) == 0 || !strings.HasPrefix(s.Identifiers[0], "phone:") || s.Acknowledged.IsZero() {
			continue
		}
		own := s.Tenant + s.Identifiers[0][len(s.Identifiers[0])-3:]
		if before, known := spelt[own]; known && before != s.Identifiers[0] {
			m.world.Reach("one number in two spellings")
			if s.OptOut != nil {
				m.world.Reach("withdrawn by another spelling")
			}
		}
		spelt[own] = s.Identifiers[0]
	}
	if m.seed%7 == 1 {
		m.scanAliases(h)
	}
}

// scanAliases notes aliases that linked what a device had done, or were refused.
func (m *mesh) scanAliases(h *ledger.History) {
	named := map[string]bool{}
	for _, s := range h.Sent {
		named[s.ID] = s.Kind == "alias"
	}
	for p := range partitions {
		records(h, log.Subject("prf", p), func(_ *stagev1.Record, facts [][]byte) {
			for _, data := range facts {
				f := &profilev1.Fact{}
				if f.UnmarshalVT(data) != nil {
					continue
				}
				if named[f.GetIdentityLinked().GetCause()] {
					m.world.Reach("alias of a device")
				}
				if c := f.GetIdentityConflict(); c.GetKind() == "user_id" && named[c.GetCause()] {
					m.world.Reach("alias of two customers refused")
				}
			}
		})
	}
}
