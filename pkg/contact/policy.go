package contact

import (
	"slices"
	"time"

	"refrain.dev/pkg/window"
)

// Policy is a compiled ContactPolicy: immutable and safe to share.
type Policy struct {
	// Name of the definition.
	Name string

	selects  bool // applies was written
	purposes []string
	channels []string

	caps     []frequencyCap
	gap      time.Duration
	quiet    *quietHours
	consent  string
	approval time.Duration
}

// frequencyCap is at most max contacts per window.
type frequencyCap struct {
	max     int
	rolling time.Duration // a rolling window, or
	unit    window.Unit   // a calendar window
	zone    *time.Location
	channel string
	action  string
	text    string // the window as a person reads it
	onBlock onBlock
}

type quietHours struct {
	window       window.Quiet
	useWorkspace bool
	onBlock      onBlock
}

// onBlock is what a rule does with a contact that it blocks.
type onBlock struct {
	deferred bool
	atMost   time.Duration
}

// The defaults of a policy, as the schema documents them.
const (
	defaultApproval   = 4 * time.Hour
	defaultCapDefer   = 24 * time.Hour
	defaultQuietDefer = 48 * time.Hour
)

// governs says whether the policy applies to a contact on a channel.
func (p *Policy) governs(c Contact, channel string) bool {
	if !p.selects {
		return c.Obeys
	}
	return matches(p.purposes, c.Purpose) && matches(p.channels, channel)
}

func matches(selector []string, value string) bool {
	return len(selector) == 0 || slices.Contains(selector, value)
}

// Horizon is how far back the policies look: older contacts take up no room in any of their windows.
func Horizon(policies []*Policy) time.Duration {
	var longest time.Duration
	for _, p := range policies {
		longest = max(longest, p.gap)
		for i := range p.caps {
			longest = max(longest, p.caps[i].rolling, p.caps[i].unit.Longest())
		}
	}
	return longest
}
