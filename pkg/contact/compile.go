package contact

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/window"
)

const (
	// maxCap is the greatest number that a cap may allow: the ledger must be able to hold them all.
	maxCap = 200
	// maxWindow is the longest rolling window.
	maxWindow = 366 * 24 * time.Hour
)

// Compile checks a ContactPolicy and makes it ready for Check. It returns all problems, with paths such as
// "spec.caps[0].per"; the policy is usable only if there are none.
func Compile(name string, spec *definitionv1.ContactPolicy) (*Policy, []definition.Problem) {
	c := &compiler{}
	p := &Policy{Name: name, consent: spec.GetConsent(), approval: defaultApproval}
	if a := spec.GetApplies(); a != nil {
		p.selects, p.purposes, p.channels = true, slices.Clone(a.GetPurpose()), slices.Clone(a.GetChannel())
		for i, purpose := range p.purposes {
			c.oneOf(fmt.Sprintf("spec.applies.purpose[%d]", i), purpose, "marketing", "service", "transactional", "legal")
		}
	}
	for i, spec := range spec.GetCaps() {
		p.caps = append(p.caps, c.frequencyCap(fmt.Sprintf("spec.caps[%d]", i), spec))
	}
	if s := spec.GetGap(); s != "" {
		p.gap = c.duration("spec.gap", s, maxWindow)
	}
	if q := spec.GetQuiet(); q != nil {
		p.quiet = c.quiet(q)
	}
	c.oneOf("spec.consent", p.consent, "", "required", "not_required")
	if s := spec.GetApproval(); s != "" {
		p.approval = c.duration("spec.approval", s, 7*24*time.Hour)
	}
	return p, c.problems
}

type compiler struct {
	problems []definition.Problem
}

func (c *compiler) problemf(path, why, format string, args ...any) {
	c.problems = append(c.problems, definition.Problem{Path: path, What: fmt.Sprintf(format, args...), Why: why})
}

func (c *compiler) oneOf(path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		c.problemf(path, fmt.Sprintf("one of %q", slices.DeleteFunc(slices.Clone(allowed), func(s string) bool { return s == "" })), "unknown value %q", value)
	}
}

// duration reads a period of fixed length, more than nothing and at most limit.
func (c *compiler) duration(path, s string, limit time.Duration) time.Duration {
	d, err := window.Fixed(s)
	switch {
	case errors.Is(err, window.ErrCalendar) && strings.HasSuffix(path, ".per"):
		c.problemf(path, err.Error()+"; calendar months are {calendar: month}", "%q is no length of time", s)
	case err != nil:
		c.problemf(path, err.Error(), "%q is no length of time", s)
	case d <= 0:
		c.problemf(path, "write at least PT1S, or leave it out", "%s is no time at all", s)
	case d > limit:
		c.problemf(path, fmt.Sprintf("at most P%dD", limit/(24*time.Hour)), "%s is too long", s)
	}
	return d
}

func (c *compiler) frequencyCap(path string, spec *definitionv1.Cap) frequencyCap {
	out := frequencyCap{max: int(spec.GetMax()), channel: spec.GetChannel(), action: spec.GetAction()}
	switch {
	case out.max == 0:
		c.problemf(path+".max", "at least one contact; to forbid contact withhold consent or remove the treatment", "max is 0")
	case out.max > maxCap:
		c.problemf(path+".max", fmt.Sprintf("the contact ledger is bounded; at most %d", maxCap), "max is %d", out.max)
	}
	c.window(path+".per", spec.GetPer(), &out)
	out.onBlock = c.onBlock(path, spec.GetBlocked(), spec.GetMaxDefer(), onBlock{atMost: defaultCapDefer})
	return out
}

func (c *compiler) window(path string, spec *definitionv1.Window, out *frequencyCap) {
	rolling, calendar, zone := spec.GetRolling(), spec.GetCalendar(), spec.GetZone()
	switch {
	case rolling == "" && calendar == "":
		c.problemf(path, "per: P7D, or per: {calendar: day}", "no window")
	case rolling != "" && calendar != "":
		c.problemf(path, "write one cap for each", "both a rolling and a calendar window")
	case rolling != "":
		out.rolling, out.text = c.duration(path, rolling, maxWindow), "per "+rolling
		if zone != "" {
			c.problemf(path+".zone", "only a calendar window has a zone", "zone %q for a rolling window", zone)
		}
	default:
		unit, ok := window.ParseUnit(calendar)
		if !ok {
			c.problemf(path+".calendar", `one of "day", "week", "month"`, "unknown calendar window %q", calendar)
		}
		out.unit, out.text = unit, "per calendar "+calendar
		if zone != "" && zone != "recipient" {
			if out.zone = (*window.Zones)(nil).Load(zone); out.zone == nil {
				c.problemf(path+".zone", `"recipient" or an IANA name such as Europe/Berlin`, "unknown time zone %q", zone)
			}
		}
	}
}

func (c *compiler) quiet(spec *definitionv1.Quiet) *quietHours {
	q, err := window.NewQuiet(spec.GetFrom(), spec.GetTo())
	switch {
	case err != nil && spec.GetFrom() == spec.GetTo():
		c.problemf("spec.quiet.to", "to never contact, withhold consent or remove the treatment; for no quiet hours leave quiet out", "quiet hours begin and end at %s, which could mean always or never", spec.GetTo())
	case err != nil:
		c.problemf("spec.quiet", `write from: "20:00", to: "08:00"`, "%v", err)
	}
	c.oneOf("spec.quiet.unknown_zone", spec.GetUnknownZone(), "", "strictest", "workspace")
	return &quietHours{
		window:       q,
		useWorkspace: spec.GetUnknownZone() == "workspace",
		onBlock:      c.onBlock("spec.quiet", spec.GetBlocked(), spec.GetMaxDefer(), onBlock{deferred: true, atMost: defaultQuietDefer}),
	}
}

func (c *compiler) onBlock(path, blocked, maxDefer string, def onBlock) onBlock {
	c.oneOf(path+".blocked", blocked, "", "drop", "defer")
	out := def
	if blocked != "" {
		out.deferred = blocked == "defer"
	}
	if maxDefer == "" {
		return out
	}
	out.atMost = c.duration(path+".max_defer", maxDefer, maxWindow)
	if !out.deferred {
		c.problemf(path+".max_defer", "write blocked: defer", "max_defer has no effect on a contact that is dropped")
	}
	return out
}
