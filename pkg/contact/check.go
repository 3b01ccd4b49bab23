package contact

import (
	"cmp"
	"time"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/window"
)

// Contact is a contact that somebody wants to make.
type Contact struct {
	// ID is the proposal or the caller's reservation. An entry of the ledger with this id is the contact
	// itself and never in its own way.
	ID string
	// Action and Purpose classify it.
	Action, Purpose string
	// Obeys says whether caps, gaps and quiet hours apply to it, Counts whether it will use up room.
	Obeys, Counts bool
	// Treatments that may carry it, in order of preference.
	Treatments []Treatment
	// DeferUntil is set if it was deferred before: the last instant at which it may still go.
	DeferUntil time.Time
	// SettleUntil is how long it may wait until it is settled who is contacted at the address; zero: SettleWithin
	// from now.
	SettleUntil time.Time
}

// Treatment is one way to make a contact.
type Treatment struct {
	// ID of the treatment; empty for a contact that is not in the catalog.
	ID string
	// Channel and Topic it goes over.
	Channel, Topic string
	// Reach is where the channel reaches people.
	Reach Reach
	// To is the recipient's role; empty and "customer" mean the customer.
	To string
}

// ToCustomer says whether the treatment reaches the customer: not what goes to the team, nor to an address of the
// staff.
func (t Treatment) ToCustomer() bool { return !t.toTeam() && !t.Reach.Trait }

func (t Treatment) toTeam() bool { return t.To != "" && t.To != "customer" }

// Env is what a check may know beside its arguments.
type Env struct {
	// Now is the time of the decision.
	Now time.Time
	// DefaultZone is the workspace's zone, for policies that ask for it.
	DefaultZone string
	// Revision of the catalog that the policies are from; goes into every reason.
	Revision string
	// Zones remembers zones; may be nil.
	Zones *window.Zones
}

// Mode says how much of a check is run.
type Mode int

// The modes.
const (
	// Fast stops at the first rule that suppresses.
	Fast Mode = iota
	// All runs every rule, for an explanation.
	All
)

// Verdict is what was decided about a contact.
type Verdict struct {
	// Kind is APPROVED, DEFERRED or SUPPRESSED.
	Kind contactv1.VerdictKind
	// Treatment that may be sent, with APPROVED.
	Treatment Treatment
	// Reasons why not, or why not now, of every treatment tried; also of those tried before an approved one.
	Reasons []*reasonv1.Reason
	// Until is the earliest instant that all rules allow: with DEFERRED, and with SUPPRESSED where only time
	// is in the way (in mode All).
	Until time.Time
	// DeferUntil is the last instant at which it may still go, with DEFERRED.
	DeferUntil time.Time
	// NotAfter is when the send must have started, with APPROVED.
	NotAfter time.Time
}

// Check says whether a contact may be made now: the first treatment that every rule allows; else the one
// that may go earliest, if its rules defer; else no, with the reasons. It has no effect, changes nothing
// that it is given, and equal arguments give equal verdicts.
func Check(state *contactv1.State, c Contact, policies []*Policy, env Env, mode Mode) Verdict {
	k := &check{state: state, contact: c, policies: policies, env: env, mode: mode}
	out := Verdict{Kind: contactv1.VerdictKind_VERDICT_KIND_SUPPRESSED}
	if len(c.Treatments) == 0 {
		out.Reasons = []*reasonv1.Reason{k.reason(reasonv1.Code_CODE_NO_TREATMENT, "")}
		return out
	}
	for _, t := range c.Treatments {
		v := k.judge(t)
		if v.Kind == contactv1.VerdictKind_VERDICT_KIND_APPROVED {
			v.Reasons = join(out.Reasons, v.Reasons)
			return v
		}
		reasons := join(out.Reasons, v.Reasons)
		if better(v, out) {
			out = v
		}
		out.Reasons = reasons
	}
	if out.Kind == contactv1.VerdictKind_VERDICT_KIND_SUPPRESSED && !c.DeferUntil.IsZero() {
		expired := k.reason(reasonv1.Code_CODE_DEFER_EXPIRED, "it was deferred and may not wait any longer")
		out.Reasons = join([]*reasonv1.Reason{expired}, out.Reasons)
	}
	return out
}

// better says whether v leads to a contact sooner than old; the treatment that came first wins a tie.
func better(v, old Verdict) bool {
	if v.Kind != old.Kind {
		return v.Kind == contactv1.VerdictKind_VERDICT_KIND_DEFERRED
	}
	return !v.Until.IsZero() && (old.Until.IsZero() || v.Until.Before(old.Until))
}

// join adds reasons, leaving out those that say the same of the same rule.
func join(a, b []*reasonv1.Reason) []*reasonv1.Reason {
	out := append([]*reasonv1.Reason(nil), a...)
	for _, r := range b {
		seen := false
		for _, o := range out {
			seen = seen || o.EqualVT(r)
		}
		if !seen {
			out = append(out, r)
		}
	}
	return out
}

// check is one run of Check.
type check struct {
	state    *contactv1.State
	contact  Contact
	policies []*Policy
	env      Env
	mode     Mode
}

// judge runs the gates for one treatment.
func (k *check) judge(t Treatment) Verdict {
	v := Verdict{Kind: contactv1.VerdictKind_VERDICT_KIND_SUPPRESSED}
	for _, gate := range []func(Treatment) *reasonv1.Reason{k.closed, k.endpoint, k.doNotContact, k.consent} {
		if no := gate(t); no != nil {
			v.Reasons = append(v.Reasons, no)
			if k.mode == Fast {
				return v
			}
		}
	}
	if no := k.unsettled(t); no != nil {
		v.Reasons = append(v.Reasons, no)
		if len(v.Reasons) > 1 {
			return v
		}
		return k.await(v)
	}
	rules := k.rules(t)
	blocking := k.blocking(rules)
	for _, r := range blocking {
		v.Reasons = append(v.Reasons, r.no())
	}
	switch {
	case len(v.Reasons) == 0:
		return k.approve(t, rules)
	case len(v.Reasons) > len(blocking):
		return v
	}
	return k.postpone(v, rules, blocking)
}

// blocking returns the rules that say no now. In mode Fast it stops at the first that does not defer.
func (k *check) blocking(rules []rule) []rule {
	var out []rule
	for _, r := range rules {
		if at, ok := r.next(k.env.Now); ok && !at.After(k.env.Now) {
			continue
		}
		out = append(out, r)
		if k.mode == Fast && !r.onBlock.deferred {
			break
		}
	}
	return out
}

// postpone defers the contact to the earliest instant that all rules allow, if those that block now do.
func (k *check) postpone(v Verdict, rules, blocking []rule) Verdict {
	limit := k.contact.DeferUntil
	deferred := true
	for _, r := range blocking {
		deferred = deferred && r.onBlock.deferred
		if by := k.env.Now.Add(r.onBlock.atMost); limit.IsZero() || by.Before(limit) {
			limit = by
		}
	}
	if !deferred && k.mode == Fast {
		return v
	}
	until, ok := k.earliest(rules)
	if !ok {
		return v
	}
	v.Until = until
	if deferred && !until.After(limit) {
		v.Kind, v.DeferUntil = contactv1.VerdictKind_VERDICT_KIND_DEFERRED, limit
	}
	return v
}

// earliest is the smallest instant from now on that all rules allow at once. Each rule's next allowed
// instant is the smallest for that rule alone, so moving to the latest of them until nothing moves any
// more never skips an allowed instant. Only quiet windows can push more than once; two of them that leave
// no common instant free are given up after a thousand moves.
func (k *check) earliest(rules []rule) (time.Time, bool) {
	t := k.env.Now
	for range 1000 {
		moved := false
		for _, r := range rules {
			at, ok := r.next(t)
			if !ok {
				return time.Time{}, false
			}
			if at.After(t) {
				t, moved = at, true
			}
		}
		if !moved {
			return t, true
		}
	}
	return time.Time{}, false
}

// approve gives the time within which the send must start: the shortest approval of the policies that
// govern the contact, and never past the beginning of quiet hours.
func (k *check) approve(t Treatment, rules []rule) Verdict {
	approval := time.Duration(0)
	for _, p := range k.policies {
		if p.governs(k.contact, t.Channel) && (approval == 0 || p.approval < approval) {
			approval = p.approval
		}
	}
	notAfter := k.env.Now.Add(cmp.Or(approval, defaultApproval))
	for _, r := range rules {
		if start, ok := r.closes(k.env.Now); ok && start.Before(notAfter) {
			notAfter = start
		}
	}
	return Verdict{Kind: contactv1.VerdictKind_VERDICT_KIND_APPROVED, Treatment: t, NotAfter: notAfter}
}

func (k *check) reason(code reasonv1.Code, remedy string, evidence ...string) *reasonv1.Reason {
	return &reasonv1.Reason{Code: code, Revision: k.env.Revision, Remedy: remedy, Evidence: evidence}
}
