package ledger

import (
	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
)

// checkProposals accounts for every proposal: made once, ended at most once.
func (c *checker) checkProposals() {
	if !c.whole {
		c.skipf("proposals and deliveries: chains were trimmed")
		return
	}
	t := &c.out.Totals
	for _, p := range c.proposals.all {
		if p.queued && finals(p.statuses) == 0 {
			c.out.OpenDeliveries++
		}
		if !p.made {
			c.breaksf(ProposalForged, "", p.id, "it is spoken of, and was never made")
			continue
		}
		t.Proposals++
		if p.deferred {
			t.Deferred++
		}
		if len(p.ends) > 1 {
			c.breaksf(ProposalEnds, "", p.id, "it ended %d times: %v", len(p.ends), p.ends)
		}
		tally(t, p.end())
		if c.h.Settled {
			c.checkEnded(p)
		}
	}
}

// end is how a proposal ended; unspecified while it has not.
func (p *proposal) end() decisionv1.Resolution {
	if len(p.ends) == 0 {
		return decisionv1.Resolution_RESOLUTION_UNSPECIFIED
	}
	return p.ends[0]
}

// checkEnded checks that nothing of a settled mesh is under way: a proposal that was chosen has ended, waits
// for an instant that has not come, or is in the dead letters.
func (c *checker) checkEnded(p *proposal) {
	waits := p.verdict == contactv1.VerdictKind_VERDICT_KIND_DEFERRED && (c.h.Now.IsZero() || p.deferredUntil.After(c.h.Now))
	switch {
	case p.givenUp:
	case p.queued && finals(p.statuses) == 0:
		c.breaksf(SettledOpen, "", p.id, "its delivery has no end after %d calls", len(p.intents))
	case p.chosen && len(p.ends) == 0 && !waits:
		c.breaksf(SettledOpen, "", p.id, "it was chosen and has no end")
	}
}

// tally counts one end.
func tally(t *Totals, end decisionv1.Resolution) {
	switch end {
	case decisionv1.Resolution_RESOLUTION_SENT:
		t.Sent++
	case decisionv1.Resolution_RESOLUTION_SUPPRESSED:
		t.Suppressed++
	case decisionv1.Resolution_RESOLUTION_SUPERSEDED:
		t.Superseded++
	case decisionv1.Resolution_RESOLUTION_EXPIRED:
		t.Expired++
	case decisionv1.Resolution_RESOLUTION_WITHDRAWN:
		t.Withdrawn++
	case decisionv1.Resolution_RESOLUTION_UNKNOWN:
		t.Unknown++
	case decisionv1.Resolution_RESOLUTION_UNSPECIFIED:
		t.Open++
	}
}
