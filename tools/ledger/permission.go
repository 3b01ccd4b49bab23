package ledger

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// every stands for all channels or all topics in statements of permission.
const every = "*"

// holds returns the statements in force after some of them: per channel and topic the last.
func holds(all []statement) []statement {
	var out []statement
	for _, s := range all {
		if n := slices.IndexFunc(out, s.same); n >= 0 {
			out[n] = s
		} else {
			out = append(out, s)
		}
	}
	return out
}

func (s statement) same(o statement) bool { return s.channel == o.channel && s.topic == o.topic }

// with adds a statement to those in force, unless a newer one about the same is there.
func with(held []statement, s statement) []statement {
	out := slices.Clone(held)
	n := slices.IndexFunc(out, s.same)
	switch {
	case n < 0:
		return append(out, s)
	case !out[n].at.After(s.at):
		out[n] = s
	}
	return out
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

// permits says whether statements permit a contact at an instant. Required says that silence is no
// permission.
func permits(held []statement, m *contact, required bool, now time.Time) bool {
	if m.purpose == "legal" {
		return true
	}
	if !required && m.purpose != "marketing" {
		return !slices.ContainsFunc(held, func(s statement) bool { return s.objects(m) })
	}
	var best *statement
	for n := range held {
		s := &held[n]
		over := s.given && !s.until.IsZero() && !now.Before(s.until)
		switch {
		case !s.given && s.channel == every && s.topic == every:
			return false
		case over || !s.covers(m.channel, m.topic):
		case best == nil || s.precise() > best.precise():
			best = s
		}
	}
	switch {
	case best == nil:
		return !required
	case !best.given:
		return false
	}
	return !slices.ContainsFunc(held, func(s statement) bool {
		return !s.given && s.covers(best.channel, best.topic) && !s.at.Before(best.at)
	})
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
		if !within(all, n) && permits(holds(all[:n]), m, required, now) {
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

// lifted says whether it was taken back, before an instant, in a profile that took it in. For an address that is
// not the only place: the profile of the person who has it now may never have heard of either.
func (c *checker) lifted(o *optOut, before time.Time) bool {
	return slices.ContainsFunc(o.said, func(key string) bool {
		who := c.customers[key]
		return who != nil && slices.ContainsFunc(who.statements, func(s statement) bool {
			return s.given && s.same(o.statement) && s.at.After(o.at) && s.now.Before(before)
		})
	})
}

// optOuts are what clients say was taken away, by customer and by address.
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
		if e := c.events.byKey[eventKey{tenant, s.ID}]; e != nil {
			about, o.said, o.basis = slices.Clone(e.customers), e.customers, e.basis
			if !e.at.IsZero() {
				o.at = e.at
			}
		}
		if s.OptOut.Customer != "" {
			about = append(about, tenant+"/c/"+s.OptOut.Customer)
		}
		if len(s.Identifiers) > 0 {
			_, address, _ := strings.Cut(s.Identifiers[0], ":")
			about = append(about, strings.ToLower(address))
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
	for _, found := range o[strings.ToLower(m.address)] {
		if !slices.Contains(all, found) {
			all = append(all, found)
		}
	}
	return all
}

// checkOptOut checks that a contact was not made later than the bound after an acknowledged opt-out, unless
// permission was given again.
func (c *checker) checkOptOut(m *contact, outs optOuts) {
	required := c.definitions(m.revision).required(m)
	all := m.customer.statements
	for _, o := range outs.about(m) {
		if !m.at.After(o.sent.Acknowledged.Add(c.bound()+c.h.Skew)) || !o.covers(m.channel, m.topic) && !o.objects(m) || c.lifted(o, m.at) {
			continue
		}
		from, to := c.during(m, all, o.sent.Acknowledged)
		stopped := true
		for n := from; n <= to; n++ {
			stopped = stopped && (within(all, n) || !permits(with(holds(all[:n]), o.statement), m, required, m.at))
		}
		if stopped {
			c.breaksf(ContactOptOut, "", m.customer.key, "%s of %s on %s was sent at %s, %s after opt-out %s was acknowledged", m.id, m.action, m.channel,
				m.at, m.at.Sub(o.sent.Acknowledged), o.sent.ID)
		}
	}
}
