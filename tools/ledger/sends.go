package ledger

import (
	"cmp"
	"slices"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
)

// checkSends holds what the providers received against what the mesh says that it did.
func (c *checker) checkSends() {
	if c.h.Received == nil {
		c.skipf("sends: the providers' records are not known")
		return
	}
	if !c.whole {
		c.skipf("sends: chains were trimmed")
		return
	}
	order := make([]*Request, 0, len(c.h.Received))
	for n := range c.h.Received {
		order = append(order, &c.h.Received[n])
	}
	slices.SortStableFunc(order, func(a, b *Request) int { return a.Started.Compare(b.Started) })
	keys := map[string]string{}
	for _, r := range order {
		c.checkRequest(r)
		if r.Key == "" {
			continue
		}
		if other, taken := keys[r.Key]; taken && other != r.Proposal {
			c.breaksf(SendKey, r.Channel, r.Proposal, "it carries the key %s of proposal %s", r.Key, other)
		}
		keys[r.Key] = r.Proposal
	}
	for _, p := range c.proposals.all {
		if !p.made {
			continue
		}
		c.checkOnce(p)
		c.checkAccount(p)
	}
}

// possible says whether the request made a message, or may have.
func (r *Request) possible() bool { return r.Accepted || !r.Refused }

// checkRequest checks that a request was declared before it was made, and is what was declared.
func (c *checker) checkRequest(r *Request) {
	p := c.proposals.byID[r.Proposal]
	if p == nil || !p.made {
		c.breaksf(SendForged, r.Channel, r.Proposal, "a provider received it, and it was never made")
		return
	}
	p.requests = append(p.requests, r)
	if r.Customer != "" && r.Customer != hexOf(p.customer.key) {
		c.breaksf(SendForged, r.Channel, p.id, "it was sent for customer %s, but is about %s", r.Customer, p.customer.key)
	}
	if r.Tenant != "" && r.Tenant != p.customer.tenant() {
		c.breaksf(SendForged, r.Channel, p.id, "it was sent for tenant %s, but is about %s", r.Tenant, p.customer.key)
	}
	declared := 0
	for _, in := range p.intents {
		if !in.now.After(r.Started.Add(c.h.Skew)) {
			declared++
		}
	}
	if n := len(p.requests); declared < n {
		c.breaksf(SendIntent, r.Channel, p.id, "request %d at %s has no INTENT before it: there are %d", n, r.Started, declared)
		return
	}
	if r.Channel != "" && !slices.ContainsFunc(p.intents, func(in intent) bool { return in.channel == r.Channel }) {
		c.breaksf(SendForged, r.Channel, p.id, "it was sent on %s, declared is %s", r.Channel, p.intents[0].channel)
	}
}

// checkOnce checks that a proposal was sent at most once: at providers that keep idempotency keys, that
// repeats carry the key, lie inside its window, and made one message.
func (c *checker) checkOnce(p *proposal) {
	if len(p.requests) < 2 {
		return
	}
	first := p.requests[0]
	possible, messages := 0, map[string]bool{}
	window := c.h.Windows[cmp.Or(first.Channel, p.channel())]
	for _, r := range p.requests {
		if r.Key != first.Key {
			c.breaksf(SendKey, r.Channel, p.id, "it was sent with the keys %q and %q", first.Key, r.Key)
		}
		if r.possible() {
			possible++
		}
		if r.Accepted {
			messages[r.Message] = true
		}
		if window > 0 && r.Started.Sub(first.Started) > window {
			c.breaksf(SendKey, r.Channel, p.id, "it was sent again at %s, %s after the first time, and the key holds for %s", r.Started, r.Started.Sub(first.Started), window)
		}
	}
	switch {
	case window > 0 && first.Key != "":
		if len(messages) > 1 {
			c.breaksf(SendTwice, first.Channel, p.id, "the provider made %d messages of it", len(messages))
		}
	case possible > 1:
		c.breaksf(SendTwice, first.Channel, p.id, "%d requests may have made a message of it", possible)
	}
}

// channel is the one that a proposal was last approved for; empty if it was not.
func (p *proposal) channel() string {
	if len(p.approvals) == 0 {
		return ""
	}
	return p.approvals[len(p.approvals)-1].channel
}

// checkAccount holds how a proposal ended against what the provider has.
func (c *checker) checkAccount(p *proposal) {
	if c.h.Channels != nil && !slices.Contains(c.h.Channels, p.channel()) {
		return
	}
	end := p.end()
	accepted, had, doubt := false, false, false
	for _, r := range p.requests {
		accepted = accepted || r.Accepted
		had = had || r.Accepted && !r.Refused
		doubt = doubt || !r.Accepted && !r.Refused
	}
	switch {
	case end == decisionv1.Resolution_RESOLUTION_UNKNOWN, end == decisionv1.Resolution_RESOLUTION_UNSPECIFIED:
	case end == decisionv1.Resolution_RESOLUTION_SENT && !accepted && !c.h.read(p.ended):
	case end == decisionv1.Resolution_RESOLUTION_SENT && !accepted:
		c.breaksf(ProposalAccount, "", p.id, "it ended as sent, and no provider accepted it")
	case end != decisionv1.Resolution_RESOLUTION_SENT && had:
		c.breaksf(ProposalAccount, "", p.id, "it ended as %v, and a provider accepted it", end)
	case end != decisionv1.Resolution_RESOLUTION_SENT && doubt:
		c.breaksf(ProposalAccount, "", p.id, "it ended as %v, and a provider may have accepted it", end)
	}
}

// definitions are the rules for a customer at what applied: the tenant's own; nil if they are not known, or there are
// none.
func (c *checker) definitions(revision string, who *customer) *Definitions {
	tenant := who.tenant()
	if d := c.h.Tenants[tenant]; d != nil {
		return d
	}
	if set, known := c.h.Sets[revision]; known {
		if revision = set[tenant]; revision == "" {
			return nil
		}
	}
	d := c.h.Definitions[revision]
	if d == nil {
		d = c.h.Definitions[""]
	}
	if d != nil && d.Tenant != "" && d.Tenant != tenant {
		return nil
	}
	return d
}
