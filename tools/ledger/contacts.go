package ledger

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
)

// contact is one contact with a customer that was made, or may have been.
type contact struct {
	id       string
	customer *customer
	at       time.Time

	channel, action, purpose, topic string
	labels                          []string
	revision                        string
	// obeys and counts say how it stands to caps.
	obeys, counts bool
	// mine says that a caller made it by itself, doubt that nobody knows whether it was made: these count, but
	// are not judged by when they were made. A repeat of a request is judged, and does not count; nor does one of
	// which the provider said for certain that it made no message of it, though it did: nobody else can know.
	mine, doubt, repeat, denied bool
	// decided is the record of the verdict, seen the one before it: what was known when it was decided lies
	// between what the two cover.
	decided, seen *record
	address       string
}

// checkContacts counts contacts anew and judges each by the rules.
func (c *checker) checkContacts() {
	if !c.whole {
		c.skipf("contacts: chains were trimmed")
		return
	}
	c.gatherContacts()
	if c.h.Definitions == nil {
		c.skipf("caps, gaps, quiet hours and consent: the definitions are not known")
	}
	if c.h.Sent == nil {
		c.skipf("opt-outs by when they were acknowledged: the client's log is not known")
	}
	slices.SortStableFunc(c.contacts, func(a, b *contact) int { return a.at.Compare(b.at) })
	for _, m := range c.contacts {
		m.customer.contacts = append(m.customer.contacts, m)
		if at := m.inbox(); at != "" {
			c.inboxes[at] = append(c.inboxes[at], m)
		}
	}
	c.findArrivals()
	outs := c.optOuts()
	for _, m := range c.contacts {
		if d := c.definitions(m.revision, m.customer); d != nil {
			c.checkRoom(d, m)
			if !m.doubt && !m.mine {
				c.checkQuiet(d, m)
				c.checkConsent(d, m)
			}
		}
		if !m.doubt && !m.mine {
			c.checkOptOut(m, outs)
		}
	}
}

// gatherContacts finds what reached customers: every request that may have made a message, and what the mesh
// takes for sent or in doubt without one. Callers' own contacts are there already.
func (c *checker) gatherContacts() {
	for _, p := range c.proposals.all {
		if !p.made || len(p.approvals) == 0 {
			continue
		}
		seen := false
		for _, r := range p.requests {
			if r.possible() {
				c.reached(p, contact{at: r.Started, channel: r.Channel, address: r.Address, repeat: seen, denied: r.Refused})
				seen = seen || !r.Refused
			}
		}
		known := c.h.Received != nil && c.h.read(p.ended) && (c.h.Channels == nil || slices.Contains(c.h.Channels, p.channel()))
		sent := p.end() == decisionv1.Resolution_RESOLUTION_SENT && !known
		if doubt := p.end() == decisionv1.Resolution_RESOLUTION_UNKNOWN; !seen && len(p.intents) > 0 && (sent || doubt) {
			c.reached(p, contact{at: p.intents[len(p.intents)-1].now, doubt: doubt})
		}
	}
	for _, m := range c.contacts {
		if m.mine {
			m.obeys, _ = c.definitions(m.revision, m.customer).flags(m.action, m.purpose)
		}
	}
}

// reached adds a contact by a proposal, unless it was for the team or the staff.
func (c *checker) reached(p *proposal, m contact) {
	a := &p.approvals[len(p.approvals)-1]
	if d := c.definitions(string(a.record.revision), p.customer); a.to != "" && a.to != "customer" || d != nil && d.Staff[a.channel] {
		return
	}
	m.id, m.customer, m.action, m.purpose, m.labels = p.id, p.customer, p.action, p.purpose, p.labels
	m.channel, m.topic, m.revision = cmp.Or(m.channel, a.channel), a.topic, string(a.record.revision)
	m.decided, m.seen = a.record, a.before
	m.obeys, m.counts = c.definitions(m.revision, m.customer).flags(m.action, m.purpose)
	m.counts = m.counts && !m.repeat && !m.denied
	c.contacts = append(c.contacts, &m)
}

// flags say how contacts of an action stand to caps; without a word about it the purpose decides.
func (d *Definitions) flags(action, purpose string) (obeys, counts bool) {
	if d != nil {
		if a, ok := d.Actions[action]; ok {
			return a.Obeys, a.Counts
		}
	}
	marketing := purpose == "" || purpose == "marketing"
	return marketing, marketing
}

// governs says whether a policy applies to a contact.
func (p *Policy) governs(m *contact) bool {
	if !p.Selects {
		return m.obeys
	}
	return selects(p.Purposes, m.purpose) && selects(p.Channels, m.channel)
}

func selects(selector []string, value string) bool {
	return len(selector) == 0 || slices.Contains(selector, value)
}

// matches says whether all selectors of a cap match a contact.
func (l *Limit) matches(m *contact) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	return is(l.Channel, m.channel) && is(l.Topic, m.topic) && is(l.Purpose, m.purpose) && is(l.Action, m.action) &&
		(l.Label == "" || slices.Contains(m.labels, l.Label))
}

// inbox is the address that a contact reached, in its tenant; empty if it is not known.
func (m *contact) inbox() string {
	if m.address == "" {
		return ""
	}
	return inboxOf(m.customer.tenant(), m.address)
}

// inboxOf names an address of a tenant's customers: another tenant's at the same address are other customers.
func inboxOf(tenant, address string) string { return tenant + "/" + strings.ToLower(address) }

// checkRoom checks that a contact exceeded no cap and kept every gap, counting what was before it: with its customer,
// and, where others were contacted at the same address, there too.
func (c *checker) checkRoom(d *Definitions, m *contact) {
	broken := c.checkAgainst(d, m, m.customer.contacts, [2]Rule{ContactCap, ContactGap})
	if shared := c.shared(m); shared != nil && !broken {
		broken = c.checkAgainst(d, m, shared, [2]Rule{ContactAddress, ContactAddress})
	}
	if broken {
		c.out.Totals.CapsExceeded++
	}
}

// shared are the contacts with a contact's customer, and with anybody else at its address; nil if nobody else was
// contacted there.
func (c *checker) shared(m *contact) []*contact {
	var others []*contact
	for _, o := range c.inboxes[m.inbox()] {
		if o.customer != m.customer {
			others = append(others, o)
		}
	}
	if others == nil {
		return nil
	}
	all := append(slices.Clone(m.customer.contacts), others...)
	slices.SortStableFunc(all, func(a, b *contact) int { return a.at.Compare(b.at) })
	return all
}

// checkAgainst checks a contact against those of a list that were before it. Rules are what is broken: a cap, a gap.
func (c *checker) checkAgainst(d *Definitions, m *contact, list []*contact, rules [2]Rule) (over bool) {
	for n := range d.Policies {
		p := &d.Policies[n]
		if m.repeat || !m.obeys || !p.governs(m) {
			continue
		}
		for i := range p.Limits {
			l := &p.Limits[i]
			if !l.matches(m) {
				continue
			}
			if others := c.others(d, p, l, m, list); others >= c.allowed(p, i, m, list) {
				over = true
				c.breaksf(rules[0], "", m.customer.key, "%s of %s at %s is contact %d, where cap %d of %s allows %d", m.id, m.action, m.at, others+1, i, p.Name, l.Max)
			}
		}
		for _, o := range list {
			if o == m {
				break
			}
			gap := p.Gap
			if d, other := c.decidedLater(o, m); other {
				gap = min(gap, d.policyOf(p.Name).Gap)
			}
			if since := m.at.Sub(o.at); o.counts && o.id != m.id && selects(p.Channels, o.channel) && since < gap-c.h.Skew {
				c.breaksf(rules[1], "", m.customer.key, "%s of %s at %s is %s after %s, where %s wants %s", m.id, m.action, m.at, since, o.id, p.Name, gap)
			}
		}
	}
	return over
}

// decidedLater says whether a contact that was made before m was decided after it by the rules of another
// revision, and by which. It knew of m: what its rules allow is allowed.
func (c *checker) decidedLater(o, m *contact) (d *Definitions, yes bool) {
	d = c.definitions(o.revision, o.customer)
	if o.customer != m.customer { // of another chain
		return d, d != nil && o.revision != m.revision && o.decided.now.After(m.decided.now)
	}
	return d, d != nil && o.revision != m.revision && o.decided.sequence > m.decided.sequence
}

// allowed is how many contacts a cap of m's revision allows; as many as there are if one before it was decided later by
// rules without that cap.
func (c *checker) allowed(p *Policy, limit int, m *contact, list []*contact) int {
	most := p.Limits[limit].Max
	for _, o := range list {
		if o == m {
			break
		}
		if d, other := c.decidedLater(o, m); other {
			q := d.policyOf(p.Name)
			if limit >= len(q.Limits) {
				return math.MaxInt
			}
			most = max(most, q.Limits[limit].Max)
		}
	}
	return most
}

// policyOf is the policy of a name; an empty one if there is none.
func (d *Definitions) policyOf(name string) *Policy {
	if n := slices.IndexFunc(d.Policies, func(p Policy) bool { return p.Name == name }); n >= 0 {
		return &d.Policies[n]
	}
	return &Policy{}
}

// others counts the contacts before m in its window: in the zone, of those that may have been the
// recipient's, that leaves the fewest.
func (c *checker) others(d *Definitions, p *Policy, l *Limit, m *contact, list []*contact) int {
	count := func(same func(*contact) bool) int {
		n := 0
		for _, o := range list {
			if o == m {
				break
			}
			if o.counts && o.id != m.id && selects(p.Channels, o.channel) && l.matches(o) && same(o) {
				n++
			}
		}
		return n
	}
	if l.Rolling > 0 {
		return count(func(o *contact) bool { return m.at.Sub(o.at) < l.Rolling-c.h.Skew })
	}
	fewest := -1
	for _, places := range c.placesOf(d, p, l, m) {
		most := 0
		for _, zone := range places {
			most = max(most, count(func(o *contact) bool {
				return sameWindow(l.Calendar, o.at, m.at, zone) && sameWindow(l.Calendar, o.at, m.at.Add(c.h.Skew), zone)
			}))
		}
		if fewest < 0 || most < fewest {
			fewest = most
		}
	}
	return max(fewest, 0)
}

// placesOf are the zones in which a calendar window counts: one, if the cap names it, else the recipient's.
func (c *checker) placesOf(d *Definitions, p *Policy, l *Limit, m *contact) [][]*time.Location {
	if l.Zone != "" && l.Zone != "recipient" {
		if zone := c.zones.load(l.Zone); zone != nil {
			return [][]*time.Location{{zone}}
		}
	}
	return c.recipientZones(d, p, m)
}

// sameWindow says whether two instants are in one calendar window of a zone.
func sameWindow(unit string, a, b time.Time, zone *time.Location) bool {
	return windowOf(unit, a.In(zone)) == windowOf(unit, b.In(zone))
}

// windowOf numbers the calendar windows.
func windowOf(unit string, t time.Time) int {
	y, m, d := t.Date()
	day := int(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
	switch unit {
	case "week": // day 0 was a Thursday; weeks begin on Monday
		return floor(day+3, 7)
	case "month":
		return y*12 + int(m)
	}
	return day
}

func floor(a, b int) int {
	if a < 0 {
		return (a - b + 1) / b
	}
	return a / b
}

// checkQuiet checks that a contact was not made in quiet hours, with the skew of clocks on both sides.
func (c *checker) checkQuiet(d *Definitions, m *contact) {
	for n := range d.Policies {
		p := &d.Policies[n]
		if p.Quiet == nil || !m.obeys || !p.governs(m) {
			continue
		}
		quiet := func(places []*time.Location) bool {
			return slices.ContainsFunc(places, func(zone *time.Location) bool {
				return p.Quiet.at(m.at, zone) && p.Quiet.at(m.at.Add(c.h.Skew), zone) && p.Quiet.at(m.at.Add(-c.h.Skew), zone)
			})
		}
		candidates := c.recipientZones(d, p, m)
		if !slices.ContainsFunc(candidates, func(places []*time.Location) bool { return !quiet(places) }) {
			c.breaksf(ContactQuiet, "", m.customer.key, "%s of %s at %s is in the quiet hours of %s, in %v", m.id, m.action, m.at, p.Name, candidates[len(candidates)-1])
		}
	}
}

// at says whether the clock on the wall of a zone is in the quiet hours.
func (q *Quiet) at(t time.Time, zone *time.Location) bool {
	local := t.In(zone)
	minute := local.Hour()*60 + local.Minute()
	if q.From <= q.To {
		return minute >= q.From && minute < q.To
	}
	return minute >= q.From || minute < q.To
}
