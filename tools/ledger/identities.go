package ledger

import (
	"bytes"
	"strings"

	"github.com/nyaruka/phonenumbers"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"
)

// dialled is a telephone number as it is dialled from everywhere, such as +4930123456, by the rules of the region if it
// has no country code; as it is written if it is none.
func dialled(written, region string) string {
	n, err := phonenumbers.Parse(written, region)
	if err != nil {
		return written
	}
	return phonenumbers.Format(n, phonenumbers.E164)
}

// region is that of a tenant's telephone numbers without country code; empty if it has none, or it is not known.
func (c *checker) region(tenant string) string {
	if found, known := c.regions[tenant]; known {
		return found
	}
	region := ""
	if d := c.h.Tenants[tenant]; d != nil {
		region = d.Region
	}
	for _, revision := range sorted(c.h.Definitions) {
		if d := c.h.Definitions[revision]; d != nil && (d.Tenant == tenant || d.Tenant == "") && d.Region != "" {
			region = d.Region
		}
	}
	if c.regions == nil {
		c.regions = map[string]string{}
	}
	c.regions[tenant] = region
	return region
}

// alias is one that took effect: it names two user_ids.
type alias struct {
	event    *event
	customer string // the row
	earlier  string // the other user_id
}

// kindAlias is the kind of events that say that two identifiers are the same person.
const kindAlias = 6

// alias notes an event that took effect and names two user_ids.
func (x *reading) alias(message []byte, e *event) {
	if number(message, 4) != kindAlias {
		return
	}
	var users []string
	for w := (wire{rest: message}); w.next(); {
		if w.num == 7 && string(field(w.data, 1)) == "user_id" {
			users = append(users, "user_id:"+string(field(w.data, 2)))
		}
	}
	if len(users) == 2 && users[0] == e.first {
		x.aliases = append(x.aliases, alias{e, x.cell.key, users[1]})
	}
}

// person is the row of a customer in the end: that of the profile for which others were closed.
func (c *checker) person(row string) string {
	for range c.customers { // each is closed once
		who := c.customers[row]
		if who == nil || who.linkedTo == "" {
			break
		}
		row = who.linkedTo
	}
	return row
}

// checkIdentities checks who is who: one address is one customer, and two user_ids are two.
func (c *checker) checkIdentities() {
	if !c.whole {
		c.skipf("who is who: chains were trimmed")
		return
	}
	addresses, users, known := map[string]string{}, map[string]string{}, map[string]*event{}
	for _, e := range c.events.all {
		if e.applied == 0 {
			continue
		}
		kind, _, _ := strings.Cut(e.first, ":")
		id := e.key.tenant + "/" + e.first
		if kind != "user_id" {
			id = e.key.tenant + "/" + folded(e.first, c.region(e.key.tenant))
		}
		for _, row := range e.customers {
			person := c.person(row)
			switch kind {
			case "email", "phone":
				if other, taken := addresses[id]; taken && other != person {
					c.breaksf(IdentitySplit, "", row, "event %s, published under %s, took effect on it, and another one on %s", e.key.id, kind, other)
				}
				addresses[id] = person
			case "user_id":
				if other, taken := users[person]; taken && other != id {
					c.breaksf(IdentityMerged, "", row, "event %s took effect on it, and so did one of another user_id", e.key.id)
				}
				users[person] = id
				if first := known[id]; first == nil || e.effect.Before(first.effect) {
					known[id] = e
				}
			}
		}
	}
	c.checkAliases(known)
}

// checkAliases checks that an alias of two customers who were both known is refused in the timelines of both. What it
// asks goes from home to home: where anything was given up on the way, nothing is known of the answer.
func (c *checker) checkAliases(known map[string]*event) {
	if len(c.aliases) == 0 || !c.h.Settled {
		return
	}
	for p := range c.h.Partitions {
		for g := range c.chains[p][profile].gave {
			if !strings.HasPrefix(g.input, "evt.") {
				c.skipf("aliases: the profile stage gave up what others had told it")
				return
			}
		}
	}
	refused := c.refusals()
	for _, a := range c.aliases {
		other := known[a.event.key.tenant+"/"+a.earlier]
		if other == nil || !other.effect.Add(early+c.h.Skew).Before(a.event.effect) || other.customers[0] == a.customer {
			continue
		}
		for _, row := range []string{a.customer, other.customers[0]} {
			if !refused[refusal{a.event.key.id, c.person(row)}] {
				c.breaksf(IdentityAlias, "", row, "alias %s names two known customers, and the timeline does not say that it is refused", a.event.key.id)
			}
		}
	}
}

// refusal is a line in a customer's timeline about an alias.
type refusal struct{ event, customer string }

// refusals are the lines of all timelines that say that an alias is refused.
func (c *checker) refusals() map[refusal]bool {
	found := map[refusal]bool{}
	for p := range c.h.Partitions {
		for n := range c.chains[p][profile].records {
			r := &c.chains[p][profile].records[n]
			for i := range r.cells {
				for _, d := range r.cells[i].deltas {
					name, kind := deltaOf(d)
					line := field(d, 3)
					if kind == stagev1.DeltaKind_DELTA_KIND_APPEND && bytes.HasSuffix(name, []byte("/timeline")) && string(field(line, 3)) == "alias_refused" {
						found[refusal{string(field(line, 7)), c.person(r.cells[i].key)}] = true
					}
				}
			}
		}
	}
	return found
}
