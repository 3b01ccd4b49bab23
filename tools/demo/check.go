package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
)

// line is what the check reads of a line that a channel wrote.
type line struct {
	Proposal, Action, Channel, Customer string
	At                                  time.Time
}

// readLines reads what a channel really got.
func readLines(path string) ([]line, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what the channel got: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	var out []line
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("%s line %d: %w", path, len(out)+1, err)
		}
		out = append(out, l)
	}
	return out, s.Err()
}

// totals is the demo's last line.
type totals struct {
	events, profiles, decisions, proposals                       int
	sent, suppressed, superseded, expired, withdrawn, unknown    int
	open, deferred, lost, duplicates, capsExceeded, otherwiseBad int
}

// String is the line.
func (t totals) String() string {
	return fmt.Sprintf("demo: events=%d profiles=%d decisions=%d proposals=%d sent=%d suppressed=%d superseded=%d expired=%d withdrawn=%d unknown=%d open=%d deferred=%d lost=%d duplicates=%d caps_exceeded=%d",
		t.events, t.profiles, t.decisions, t.proposals, t.sent, t.suppressed, t.superseded, t.expired, t.withdrawn, t.unknown,
		t.open, t.deferred, t.lost, t.duplicates, t.capsExceeded)
}

// check holds the logs against what was accepted and against what the channels really got.
func check(l *ledger, accepted []string, dead map[string]bool, mails, tasks []line) (totals, []string) {
	t := totals{events: len(accepted), profiles: len(l.created), decisions: l.decisions}
	notes := slices.Clone(l.notes)
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	for _, id := range accepted {
		switch n := l.applied[id]; {
		case n == 0 && !dead[id]:
			t.lost++
			note("event %s was accepted and neither took effect nor is a dead letter", id)
		case n > 1:
			t.duplicates++
			note("event %s took effect %d times", id, n)
		}
	}
	got := map[string]int{}
	for _, m := range slices.Concat(mails, tasks) {
		if got[m.Proposal]++; got[m.Proposal] == 2 {
			t.duplicates++
			note("proposal %s was sent twice", m.Proposal)
		}
	}
	l.resolutions(&t, got, note)
	t.capsExceeded = l.caps(mails, note)
	l.manners(mails, note)
	if sum := t.sent + t.suppressed + t.superseded + t.expired + t.withdrawn + t.unknown + t.open; sum != t.proposals {
		note("proposals are %d, but their ends add up to %d", t.proposals, sum)
	}
	return t, notes
}

// resolutions counts how proposals ended: each once, and as sent exactly if a channel has it.
func (l *ledger) resolutions(t *totals, got map[string]int, note func(string, ...any)) {
	for id, p := range l.proposals {
		if !p.made {
			note("proposal %s is spoken of, but was never made", id)
			continue
		}
		t.proposals++
		if p.deferred {
			t.deferred++
		}
		if len(p.ends) > 1 {
			note("proposal %s (%s) ended %d times: %v", id, p.action, len(p.ends), p.ends)
		}
		end := decisionv1.Resolution_RESOLUTION_UNSPECIFIED
		if len(p.ends) > 0 {
			end = p.ends[0]
		}
		if sent := end == decisionv1.Resolution_RESOLUTION_SENT; sent != (got[id] > 0) && end != decisionv1.Resolution_RESOLUTION_UNKNOWN {
			note("proposal %s (%s) ended as %v, but the channels have it %d times", id, p.action, end, got[id])
		}
		count(t, end)
	}
	for id := range got {
		if p := l.proposals[id]; p == nil || !p.made {
			note("a channel has proposal %s, which was never made", id)
		}
	}
}

func count(t *totals, end decisionv1.Resolution) {
	switch end {
	case decisionv1.Resolution_RESOLUTION_SENT:
		t.sent++
	case decisionv1.Resolution_RESOLUTION_SUPPRESSED:
		t.suppressed++
	case decisionv1.Resolution_RESOLUTION_SUPERSEDED:
		t.superseded++
	case decisionv1.Resolution_RESOLUTION_EXPIRED:
		t.expired++
	case decisionv1.Resolution_RESOLUTION_WITHDRAWN:
		t.withdrawn++
	case decisionv1.Resolution_RESOLUTION_UNKNOWN:
		t.unknown++
	case decisionv1.Resolution_RESOLUTION_UNSPECIFIED:
		t.open++
	}
}

// The caps of examples/retail/contact.yaml, counted anew from what the channel got, by the simplest means.
const (
	perDay    = 1
	perWeek   = 3
	perMonth  = 1 // thank-you in thirty days
	quietFrom = 20
	quietTo   = 8
)

// caps counts mails beyond a cap.
func (l *ledger) caps(mails []line, note func(string, ...any)) int {
	byCustomer := map[string][]line{}
	for _, m := range mails {
		byCustomer[m.Customer] = append(byCustomer[m.Customer], m)
	}
	exceeded := 0
	for c, all := range byCustomer {
		slices.SortFunc(all, func(a, b line) int { return a.At.Compare(b.At) })
		zone := l.zone(c)
		for i, m := range all {
			day, week, thanks := 0, 0, 0
			for _, o := range all[:i+1] {
				ago := m.At.Sub(o.At)
				if sameDay(o.At.In(zone), m.At.In(zone)) {
					day++
				}
				if ago < 7*24*time.Hour {
					week++
				}
				if ago < 30*24*time.Hour && o.Action == "thank-you" && m.Action == "thank-you" {
					thanks++
				}
			}
			if day > perDay || week > perWeek || thanks > perMonth {
				exceeded++
				note("mail %s to %s at %s exceeds a cap: %d that day, %d in seven days, %d thank-yous in thirty", m.Action, c, m.At, day, week, thanks)
			}
		}
	}
	return exceeded
}

// manners: no mail in quiet hours, and none without a consent that was given last.
func (l *ledger) manners(mails []line, note func(string, ...any)) {
	for _, m := range mails {
		if h := m.At.In(l.zone(m.Customer)).Hour(); l.zones[m.Customer] != "" && (h >= quietFrom || h < quietTo) {
			note("mail %s to %s at %s is in the quiet hours of %s", m.Action, m.Customer, m.At, l.zones[m.Customer])
		}
		given := false
		for _, c := range l.consents[m.Customer] {
			if !c.at.After(m.At) {
				given = c.given
			}
		}
		if !given {
			note("mail %s to %s at %s is without consent", m.Action, m.Customer, m.At)
		}
	}
}

func (l *ledger) zone(customer string) *time.Location {
	if z, err := time.LoadLocation(l.zones[customer]); err == nil {
		return z
	}
	return time.UTC
}

func sameDay(a, b time.Time) bool {
	ya, ma, da := a.Date()
	yb, mb, db := b.Date()
	return ya == yb && ma == mb && da == db
}
