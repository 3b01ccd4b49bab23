package contact

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
)

// rule is one rule about time with what it needs to be asked: quiet hours, or room that is free again at
// an instant. The zero free means that there is room.
type rule struct {
	free    time.Time
	quiet   *quietHours
	zone    *time.Location // with quiet; nil: unknown
	onBlock onBlock
	no      func() *reasonv1.Reason
}

// next is the smallest instant not before t that the rule allows; false if there is none.
func (r rule) next(t time.Time) (time.Time, bool) {
	switch {
	case r.quiet == nil && r.free.After(t):
		return r.free, true
	case r.quiet == nil:
		return t, true
	case r.zone == nil:
		return r.quiet.window.NextAllowedAnywhere(t)
	}
	return r.quiet.window.NextAllowed(t, r.zone), true
}

// closes is when the rule says no again, if it is one that does by itself.
func (r rule) closes(t time.Time) (time.Time, bool) {
	switch {
	case r.quiet == nil:
		return time.Time{}, false
	case r.zone == nil:
		return r.quiet.window.NextStartAnywhere(t), true
	}
	return r.quiet.window.NextStart(t, r.zone), true
}

// rules returns the rules about time that govern a treatment, windows first, then caps and gaps.
func (k *check) rules(t Treatment) []rule {
	if !t.ToCustomer() {
		return nil
	}
	var windows, room []rule
	for _, p := range k.policies {
		if !k.contact.Obeys || !p.governs(k.contact, t.Channel) {
			continue
		}
		if p.quiet != nil {
			windows = append(windows, k.quietRule(p))
		}
		for i := range p.caps {
			c := &p.caps[i]
			if (c.channel == "" || c.channel == t.Channel) && (c.action == "" || c.action == k.contact.Action) {
				room = append(room, k.capRule(p, i))
			}
		}
		if p.gap > 0 {
			room = append(room, k.gapRule(p))
		}
	}
	if full(k.state, k.env.Now, k.policies) {
		room = append(room, k.fullRule())
	}
	return append(windows, room...)
}

func (k *check) quietRule(p *Policy) rule {
	r := rule{quiet: p.quiet, zone: k.zone(p), onBlock: p.quiet.onBlock}
	r.no = func() *reasonv1.Reason {
		until, ok := r.next(k.env.Now)
		no := k.reason(reasonv1.Code_CODE_QUIET_HOURS, "it may go when the quiet hours are over")
		no.Rule = "ContactPolicy/" + p.Name + ".quiet"
		switch {
		case !ok:
			no.Code = reasonv1.Code_CODE_TZ_UNKNOWN
			no.Evidence = []string{"the zone is unknown, and " + p.quiet.window.String() + " is always quiet somewhere"}
			no.Remedy = "publish the customer's time zone, or set unknown_zone: workspace"
			return no
		case r.zone == nil:
			no.Evidence = []string{"the zone is unknown, so it is quiet while it is quiet anywhere"}
		default:
			no.Evidence = []string{fmt.Sprintf("local time %s in %s", k.env.Now.In(r.zone).Format("Mon 15:04"), r.zone)}
		}
		no.Until = timestamppb.New(until)
		return no
	}
	// Never the instant at which a zone becomes known: without one there may be nothing to wait for.
	if _, ok := r.next(k.env.Now); !ok {
		r.onBlock.deferred = false
	}
	return r
}

// scope says which contacts take up room in a rule, and until when one does that was made at an instant;
// none does for longer than longest.
type scope struct {
	channel, action string
	longest         time.Duration
	end             func(*contactv1.LedgerEntry, time.Time) time.Time
}

// user is a ledger entry that takes up room until an instant.
type user struct {
	entry *contactv1.LedgerEntry
	until time.Time
}

func (k *check) capRule(p *Policy, i int) rule {
	c := &p.caps[i]
	zone := k.zone(p)
	users := k.users(p, scope{channel: c.channel, action: c.action, longest: c.longest(), end: func(e *contactv1.LedgerEntry, at time.Time) time.Time {
		return k.capEnd(c, zone, e, at)
	}})
	r := rule{onBlock: c.onBlock}
	if len(users) >= c.max {
		r.free = users[c.max-1].until
	}
	r.no = func() *reasonv1.Reason {
		no := k.reason(reasonv1.Code_CODE_CAP_REACHED, "", k.evidence(users)...)
		no.Rule = fmt.Sprintf("ContactPolicy/%s.caps[%d]", p.Name, i)
		no.Until = timestamppb.New(r.free)
		no.Remedy = fmt.Sprintf("at most %d %s; there is room again from %s", c.max, c.text, k.local(r.free))
		return no
	}
	return r
}

func (c *frequencyCap) longest() time.Duration { return max(c.rolling, c.unit.Longest()) }

// capEnd is until when a contact made at an instant takes up room in a cap.
func (k *check) capEnd(c *frequencyCap, zone *time.Location, e *contactv1.LedgerEntry, at time.Time) time.Time {
	switch {
	case c.rolling > 0:
		return at.Add(c.rolling)
	case c.zone != nil:
		_, end := c.unit.Span(at, c.zone)
		return end
	case zone == nil:
		return c.unit.LatestEnd(at)
	}
	_, end := c.unit.Span(at, zone)
	// The recipient has moved since: the contact counts as long as it does in either zone.
	if then := k.env.Zones.Load(e.GetZone()); then != nil && then.String() != zone.String() {
		if _, other := c.unit.Span(at, then); other.After(end) {
			return other
		}
	}
	return end
}

func (k *check) gapRule(p *Policy) rule {
	users := k.users(p, scope{longest: p.gap, end: func(_ *contactv1.LedgerEntry, at time.Time) time.Time { return at.Add(p.gap) }})
	r := rule{}
	if len(users) > 0 {
		r.free = users[0].until
	}
	r.no = func() *reasonv1.Reason {
		no := k.reason(reasonv1.Code_CODE_MIN_GAP, "the gap since the last contact is over at "+k.local(r.free), k.evidence(users[:1])...)
		no.Rule = "ContactPolicy/" + p.Name + ".gap"
		no.Until = timestamppb.New(r.free)
		return no
	}
	return r
}

// fullRule says no because the ledger cannot hold one more contact and still answer exactly.
func (k *check) fullRule() rule {
	horizon := Horizon(k.policies)
	free := k.env.Now.Add(max(horizon, defaultApproval))
	for _, e := range k.state.GetLedger() {
		end := e.GetAt().AsTime().Add(horizon)
		if !settled(e) {
			end = e.GetLeaseUntil().AsTime()
		}
		if needed(e, horizon, k.env.Now) && end.After(k.env.Now) && end.Before(free) {
			free = end
		}
	}
	return rule{free: free, no: func() *reasonv1.Reason {
		no := k.reason(reasonv1.Code_CODE_CAP_REACHED, "find out why so many contacts are made with one customer",
			fmt.Sprintf("the contact ledger is full: %d contacts", len(k.state.GetLedger())))
		no.Until = timestamppb.New(free)
		return no
	}}
}

// users returns what takes up room now, what does so longest first. Room that is reserved is taken for as
// long as it is reserved: the send may still start, until its lease ends, and may be reported later.
func (k *check) users(p *Policy, s scope) []user {
	var out []user
	for _, e := range k.state.GetLedger() {
		at, reserved := e.GetAt().AsTime(), e.GetState() == contactv1.EntryState_ENTRY_STATE_RESERVED
		switch {
		case !e.GetCounts(), e.GetId() == k.contact.ID, !matches(p.channels, e.GetChannel()),
			s.channel != "" && e.GetChannel() != s.channel,
			s.action != "" && e.GetAction() != s.action,
			!reserved && !at.Add(s.longest).After(k.env.Now):
			continue
		}
		until := s.end(e, at)
		if reserved && !until.After(k.env.Now) {
			latest := k.env.Now
			if lease := e.GetLeaseUntil(); lease != nil && lease.AsTime().After(latest) {
				latest = lease.AsTime()
			}
			until = s.end(e, latest)
		}
		if until.After(k.env.Now) {
			out = append(out, user{entry: e, until: until})
		}
	}
	slices.SortStableFunc(out, func(a, b user) int { return b.until.Compare(a.until) })
	return out
}

// maxEvidence bounds how many contacts a reason names.
const maxEvidence = 8

func (k *check) evidence(users []user) []string {
	users = slices.Clone(users)
	slices.SortStableFunc(users, func(a, b user) int { return b.entry.GetAt().AsTime().Compare(a.entry.GetAt().AsTime()) })
	var out []string
	for _, u := range users[:min(len(users), maxEvidence)] {
		text := u.entry.GetAction() + " " + k.local(u.entry.GetAt().AsTime())
		switch u.entry.GetState() {
		case contactv1.EntryState_ENTRY_STATE_RESERVED:
			text += " (reserved)"
		case contactv1.EntryState_ENTRY_STATE_IN_DOUBT:
			text += " (in doubt)"
		case contactv1.EntryState_ENTRY_STATE_COMMITTED, contactv1.EntryState_ENTRY_STATE_UNSPECIFIED:
		}
		out = append(out, text)
	}
	return out
}

// zone is the recipient's, or the workspace's if the policy takes that instead of an unknown one; nil if
// it is not known.
func (k *check) zone(p *Policy) *time.Location {
	if z := Zone(k.state); z != "" {
		if loc := k.env.Zones.Load(z); loc != nil {
			return loc
		}
	}
	if p.quiet != nil && p.quiet.useWorkspace {
		return k.env.Zones.Load(k.env.DefaultZone)
	}
	return nil
}

// Zone is the recipient's own time zone, by name; empty if it is not known. The workspace's zone, filled
// in for somebody whose own is unknown, is not the recipient's.
func Zone(state *contactv1.State) string {
	if z := state.GetBasis().GetZone(); z.GetProvenance() != "workspace" {
		return z.GetName()
	}
	return ""
}

// display is the zone in which people read the customer's times.
func (k *check) display() *time.Location {
	for _, name := range []string{k.state.GetBasis().GetZone().GetName(), k.env.DefaultZone} {
		if loc := k.env.Zones.Load(name); loc != nil {
			return loc
		}
	}
	return time.UTC
}

// local shows an instant as the recipient would name it: with the date if it is not within a week.
func (k *check) local(t time.Time) string {
	layout := "Mon 15:04"
	if d := t.Sub(k.env.Now); d < -6*24*time.Hour || d > 6*24*time.Hour {
		layout = "Mon 2 Jan 15:04"
	}
	return t.In(k.display()).Format(layout)
}
