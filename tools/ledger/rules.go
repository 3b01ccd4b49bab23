package ledger

import (
	"fmt"
	"slices"
	"time"
)

// Rules are a workspace's contact rules, written down a second time for the check.
type Rules struct {
	// Caps on marketing contacts.
	Caps []Cap
	// QuietFrom and QuietTo are the hours between which nobody is contacted; equal: at no time.
	QuietFrom, QuietTo int
}

// Cap is at most Max contacts in a window.
type Cap struct {
	Max int
	// Per is a rolling window; zero: the recipient's calendar day.
	Per time.Duration
	// Action that alone counts; empty: all.
	Action string
}

// Check counts contacts anew, from what the channels got under these rules. It returns how many exceeded a
// cap, and what is wrong: those, contacts in quiet hours, and contacts without a consent that was given last.
func (r Rules) Check(l *Ledger, got []Line) (exceeded int, notes []string) {
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	byCustomer := map[string][]Line{}
	for _, m := range got {
		byCustomer[m.Customer] = append(byCustomer[m.Customer], m)
	}
	for c, all := range byCustomer {
		slices.SortFunc(all, func(a, b Line) int { return a.At.Compare(b.At) })
		zone := l.zone(c)
		for i, m := range all {
			over := false
			for _, limit := range r.Caps {
				if n := limit.count(all[:i+1], m, zone); n > limit.Max {
					over = true
					note("%s to %s at %s exceeds a cap: %d, where %d are allowed in %s (0s: a day) %s", m.Action, c, m.At, n, limit.Max, limit.Per, limit.Action)
				}
			}
			if over {
				exceeded++
			}
		}
	}
	r.manners(l, got, note)
	return exceeded, notes
}

// count says how many contacts up to m are in m's window.
func (c Cap) count(until []Line, m Line, zone *time.Location) int {
	if c.Action != "" && c.Action != m.Action {
		return 0
	}
	n := 0
	for _, o := range until {
		if c.Action != "" && o.Action != c.Action {
			continue
		}
		if c.Per == 0 && sameDay(o.At.In(zone), m.At.In(zone)) || c.Per > 0 && m.At.Sub(o.At) < c.Per {
			n++
		}
	}
	return n
}

// manners: no contact in quiet hours, and none without a consent that was given last.
func (r Rules) manners(l *Ledger, got []Line, note func(string, ...any)) {
	for _, m := range got {
		if r.QuietFrom != r.QuietTo && l.Zones[m.Customer] != "" {
			if h := m.At.In(l.zone(m.Customer)).Hour(); h >= r.QuietFrom || h < r.QuietTo {
				note("%s to %s at %s is in the quiet hours of %s", m.Action, m.Customer, m.At, l.Zones[m.Customer])
			}
		}
		given := false
		for _, c := range l.Consents[m.Customer] {
			if !c.At.After(m.At) {
				given = c.Given
			}
		}
		if !given {
			note("%s to %s at %s is without consent", m.Action, m.Customer, m.At)
		}
	}
}

func (l *Ledger) zone(customer string) *time.Location {
	if z, err := time.LoadLocation(l.Zones[customer]); err == nil {
		return z
	}
	return time.UTC
}

func sameDay(a, b time.Time) bool {
	ya, ma, da := a.Date()
	yb, mb, db := b.Date()
	return ya == yb && ma == mb && da == db
}
