package ledger

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// every stands for all channels or all topics in statements of permission.
const every = "*"

// meant returns a statement about what it must count for by the definitions: names are compared without regard to case,
// hyphens, underscores and blanks, and a withdrawal by an unknown name counts for all.
func (d *Definitions) meant(s statement) statement {
	if d == nil || d.Channels == nil {
		return s
	}
	s.channel, s.topic = meant(s.channel, d.Channels, s.given), meant(s.topic, d.Topics, s.given)
	return s
}

func meant(said string, defined []string, given bool) string {
	if said == every || slices.Contains(defined, said) {
		return said
	}
	bare := func(name string) string {
		return strings.Map(func(r rune) rune {
			if r == '-' || r == '_' || unicode.IsSpace(r) {
				return -1
			}
			return unicode.ToLower(r)
		}, name)
	}
	found := slices.DeleteFunc(slices.Clone(defined), func(name string) bool { return bare(name) != bare(said) })
	switch {
	case len(found) == 1:
		return found[0]
	case given:
		return said
	}
	return every
}

// findArrivals says of every statement what it is about, when it was made and where it arrived, as the lanes and the
// definitions have it.
func (c *checker) findArrivals() {
	for key, who := range c.customers {
		tenant, _, _ := strings.Cut(key, "/")
		for n := range who.statements {
			s := &who.statements[n]
			*s = c.definitions(s.revision, who).meant(*s)
			if e := c.events.causeOf(messageKey{tenant, s.cause}, key); e != nil && len(e.stored) > 0 {
				s.at, s.arrived = e.counts(), e.stored[0]
			}
		}
	}
}

// later says whether a statement certainly arrived after another: further on in one lane, or stored later. Neither
// what its publisher claims nor any clock but the broker's is asked.
func (s statement) later(o statement) bool {
	if s.arrived.subject != "" && s.arrived.subject == o.arrived.subject {
		return s.arrived.at.after(o.arrived.at)
	}
	return s.came().After(o.came())
}

// came is when a statement arrived; one of which nothing is stored arrived when it was made.
func (s statement) came() time.Time {
	if s.arrived.subject == "" {
		return s.at
	}
	return s.arrived.when()
}

// lifts says whether a permission lifts a withdrawal: it arrived later and claims a time not before the withdrawal's.
func (s statement) lifts(o statement) bool { return s.later(o) && !s.at.Before(o.at) }

func (s statement) same(o statement) bool { return s.channel == o.channel && s.topic == o.topic }

// stands says whether a withdrawal is in force among all statements: no permission about the same lifts it that lifts
// all others about the same, and is not over.
func (s statement) stands(all []statement, now time.Time) bool {
	return !slices.ContainsFunc(all, func(p statement) bool { return p.given && p.same(s) && !p.over(now) && p.liftsAll(all, s.same) })
}

// liftsAll says whether a permission lifts all withdrawals of a kind.
func (s statement) liftsAll(all []statement, kind func(statement) bool) bool {
	return !slices.ContainsFunc(all, func(w statement) bool { return !w.given && kind(w) && !s.lifts(w) })
}

func (s statement) over(now time.Time) bool {
	return s.given && !s.until.IsZero() && !now.Before(s.until)
}

func (s statement) covers(channel, topic string) bool {
	return (s.channel == every || s.channel == channel) && (s.topic == every || s.topic == topic)
}

// precise orders statements by how specific they are.
func (s statement) precise() int {
	n := 0
	if s.channel != every {
		n += 2
	}
	if s.topic != every {
		n++
	}
	return n
}

// permits says whether all that a customer said permits a contact at an instant. Required says that silence is no
// permission.
func permits(all []statement, m *contact, required bool, now time.Time) bool {
	if m.purpose == "legal" {
		return true
	}
	if !required && m.purpose != "marketing" {
		return !slices.ContainsFunc(all, func(s statement) bool { return s.objects(m) && s.stands(all, now) })
	}
	if slices.ContainsFunc(all, func(s statement) bool {
		return !s.given && s.channel == every && s.topic == every && s.stands(all, now)
	}) {
		return false
	}
	about := slices.DeleteFunc(slices.Clone(all), func(s statement) bool { return !s.covers(m.channel, m.topic) })
	slices.SortStableFunc(about, func(a, b statement) int { return b.precise() - a.precise() })
	for len(about) > 0 {
		n := 1
		for n < len(about) && about[n].same(about[0]) {
			n++
		}
		if word, said := decides(about[:n], all, now); said {
			return word
		}
		about = about[n:]
	}
	return !required
}

// decides is the last word of the statements about one channel and topic, if they have one: a withdrawal that stands
// says no. Else the permission says yes that claims the latest time, of those that no withdrawal ended that contains
// them; if it is over, it says nothing.
func decides(about, all []statement, now time.Time) (word, said bool) {
	if slices.ContainsFunc(about, func(s statement) bool { return !s.given && s.stands(all, now) }) {
		return false, true
	}
	var best *statement
	for n := range about {
		s := &about[n]
		contains := func(w statement) bool { return w.covers(s.channel, s.topic) }
		if s.given && s.liftsAll(all, contains) && (best == nil || s.at.After(best.at)) {
			best = s
		}
	}
	return true, best != nil && !best.over(now)
}

// objects says whether a statement stops a contact that needs no permission.
func (s statement) objects(m *contact) bool {
	if s.given || s.channel != m.channel && s.channel != every {
		return false
	}
	return s.basis == "complaint" || s.basis == "stop" || s.channel == m.channel && s.topic == m.topic
}

// required says whether a contact needs permission.
func (d *Definitions) required(m *contact) bool {
	required := m.purpose == "marketing"
	if d == nil {
		return required
	}
	for n := range d.Policies {
		p := &d.Policies[n]
		if p.Consent == "" || !p.governs(m) {
			continue
		}
		if p.Consent == "required" {
			return true
		}
		required = false
	}
	return required
}

// checkConsent checks that the profile permitted a contact when it was approved, and again, with the bound,
// when it was made.
func (c *checker) checkConsent(d *Definitions, m *contact) {
	required := d.required(m)
	least, most := c.known(m)
	all := m.customer.statements
	from, to := 0, 0
	for n, s := range all {
		if s.sequence <= least {
			from = n + 1
		}
		if s.sequence <= most {
			to = n + 1
		}
	}
	if !c.permitted(m, all, from, to, m.decided.now, required) {
		c.breaksf(ContactConsent, "", m.customer.key, "%s of %s on %s was approved in record %d, and the profile did not permit it", m.id, m.action, m.channel, m.decided.sequence)
		return
	}
	from, to = c.during(m, all, m.at.Add(-c.bound()))
	if !c.permitted(m, all, from, to, m.at.Add(-c.bound()), required) {
		c.breaksf(ContactOptOut, "", m.customer.key, "%s of %s on %s was sent at %s, and permission had ended more than %s before", m.id, m.action, m.channel, m.at, c.bound())
	}
}

func (c *checker) bound() time.Duration {
	if c.h.Bound == 0 {
		return DefaultBound
	}
	return c.h.Bound
}

// during says how many statements stood in the profile at an instant, and until a contact was made.
func (c *checker) during(m *contact, all []statement, since time.Time) (from, to int) {
	for n, s := range all {
		if s.now.Before(since.Add(-c.h.Skew)) {
			from = n + 1
		}
		if !s.now.After(m.at.Add(c.h.Skew)) {
			to = n + 1
		}
	}
	return from, max(from, to)
}

// permitted says whether a contact was permitted at any point between two lengths of the statements.
func (c *checker) permitted(m *contact, all []statement, from, to int, now time.Time, required bool) bool {
	for n := from; n <= max(from, to); n++ {
		if !within(all, n) && permits(all[:n], m, required, now) {
			return true
		}
	}
	return false
}

// within says whether the first n statements end in the middle of a cell, which nobody ever saw so.
func within(all []statement, n int) bool {
	return n > 0 && n < len(all) && all[n-1].cell == all[n].cell
}

// optOut is one acknowledged opt-out, as a statement.
type optOut struct {
	statement

	sent *Sent
	// said are the customers whose profiles took it in.
	said []string
}

// lifted says whether it was taken back, before an instant, in a profile that took it in, by what arrived after it. For an address that is
// not the only place: the profile of the person who has it now may never have heard of either.
func (c *checker) lifted(o *optOut, before time.Time) bool {
	return slices.ContainsFunc(o.said, func(key string) bool {
		who := c.customers[key]
		return who != nil && slices.ContainsFunc(who.statements, func(s statement) bool {
			return s.given && s.same(o.statement) && s.lifts(o.statement) && s.now.Before(before)
		})
	})
}

// optOuts are what clients say was taken away, by customer and by tenant and address.
type optOuts map[string][]*optOut

// optOuts collects them.
func (c *checker) optOuts() optOuts {
	out := optOuts{}
	for n := range c.h.Sent {
		s := &c.h.Sent[n]
		if s.OptOut == nil || s.Acknowledged.IsZero() {
			continue
		}
		tenant := cmp.Or(s.Tenant, defaultTenant)
		o := &optOut{sent: s, statement: statement{at: s.Acknowledged, channel: s.OptOut.Channel, topic: s.OptOut.Topic}}
		var about []string
		if e := c.sentAs(s); e != nil {
			about, o.said, o.basis = slices.Clone(e.customers), e.customers, e.basis
			if len(e.stored) > 0 {
				o.arrived, o.at = e.stored[0], e.counts()
			}
		}
		if s.OptOut.Customer != "" {
			about = append(about, tenant+"/c/"+s.OptOut.Customer)
		}
		if len(s.Identifiers) > 0 {
			_, address, _ := strings.Cut(folded(s.Identifiers[0], c.region(tenant)), ":")
			about = append(about, inboxOf(tenant, address))
		}
		slices.Sort(about)
		for _, key := range slices.Compact(about) {
			out[key] = append(out[key], o)
		}
	}
	return out
}

// about returns those about the recipient of a contact: the customer, or the address itself.
func (o optOuts) about(m *contact) []*optOut {
	if m.address == "" || len(o) == 0 {
		return o[m.customer.key]
	}
	all := slices.Clone(o[m.customer.key])
	for _, found := range o[m.inbox()] {
		if !slices.Contains(all, found) {
			all = append(all, found)
		}
	}
	return all
}

// checkOptOut checks that a contact was not made later than the bound after an acknowledged opt-out, unless
// permission was given again.
func (c *checker) checkOptOut(m *contact, outs optOuts) {
	required := c.definitions(m.revision, m.customer).required(m)
	all := m.customer.statements
	for _, said := range outs.about(m) {
		o := *said
		o.statement = c.definitions(m.revision, m.customer).meant(o.statement)
		if !m.at.After(o.sent.Acknowledged.Add(c.bound()+c.h.Skew)) || !o.covers(m.channel, m.topic) && !o.objects(m) || c.lifted(&o, m.at) {
			continue
		}
		from, to := c.during(m, all, o.sent.Acknowledged)
		stopped := true
		for n := from; n <= to; n++ {
			stopped = stopped && (within(all, n) || !permits(append(slices.Clip(all[:n]), o.statement), m, required, m.at))
		}
		if stopped {
			c.breaksf(ContactOptOut, "", m.customer.key, "%s of %s on %s was sent at %s, %s after opt-out %s was acknowledged", m.id, m.action, m.channel,
				m.at, m.at.Sub(o.sent.Acknowledged), o.sent.ID)
		}
	}
}
