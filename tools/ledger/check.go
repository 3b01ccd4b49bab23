package ledger

import (
	"fmt"
	"slices"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
)

// Totals is what the check counted. Proposals are the sum of Sent to Open; Deferred is outside the sum.
type Totals struct {
	Events, Profiles, Decisions, Proposals                    int
	Sent, Suppressed, Superseded, Expired, Withdrawn, Unknown int
	Open, Deferred, Lost, Duplicates, CapsExceeded            int
}

// String is the totals in one line.
func (t Totals) String() string {
	return fmt.Sprintf("events=%d profiles=%d decisions=%d proposals=%d sent=%d suppressed=%d superseded=%d expired=%d withdrawn=%d unknown=%d open=%d deferred=%d lost=%d duplicates=%d caps_exceeded=%d",
		t.Events, t.Profiles, t.Decisions, t.Proposals, t.Sent, t.Suppressed, t.Superseded, t.Expired, t.Withdrawn, t.Unknown,
		t.Open, t.Deferred, t.Lost, t.Duplicates, t.CapsExceeded)
}

// Check holds the logs against the ids of the accepted events, those of dead letters, and everything that
// the channels really got. notes say what is wrong; none means that nothing is. Caps are Rules' business.
func (l *Ledger) Check(accepted []string, dead map[string]bool, got []Line) (t Totals, notes []string) {
	t = Totals{Events: len(accepted), Profiles: len(l.Profiles), Decisions: l.Decisions}
	notes = slices.Clone(l.Notes)
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	for _, id := range accepted {
		if l.Applied[id] == 0 && !dead[id] {
			t.Lost++
			note("event %s was accepted and neither took effect nor is a dead letter", id)
		}
	}
	for id, n := range l.Applied {
		if n > 1 {
			t.Duplicates++
			note("event %s took effect %d times", id, n)
		}
	}
	times := map[string]int{}
	for _, m := range got {
		times[m.Proposal]++
		if times[m.Proposal] == 2 {
			t.Duplicates++
			note("proposal %s was sent twice", m.Proposal)
		}
	}
	l.resolutions(&t, times, note)
	for id, d := range l.Deliveries {
		if len(d.Ends) > 1 {
			note("delivery of proposal %s ended %d times: %v", id, len(d.Ends), d.Ends)
		}
	}
	if sum := t.Sent + t.Suppressed + t.Superseded + t.Expired + t.Withdrawn + t.Unknown + t.Open; sum != t.Proposals {
		note("proposals are %d, but their ends add up to %d", t.Proposals, sum)
	}
	return t, notes
}

// resolutions counts how proposals ended: each once, and as sent exactly if a channel has it. One that
// ended as unknown may have arrived or not.
func (l *Ledger) resolutions(t *Totals, got map[string]int, note func(string, ...any)) {
	for id, p := range l.Proposals {
		if !p.Made {
			note("proposal %s is spoken of, but was never made", id)
			continue
		}
		t.Proposals++
		if p.Deferred {
			t.Deferred++
		}
		if len(p.Ends) > 1 {
			note("proposal %s (%s) ended %d times: %v", id, p.Action, len(p.Ends), p.Ends)
		}
		end := decisionv1.Resolution_RESOLUTION_UNSPECIFIED
		if len(p.Ends) > 0 {
			end = p.Ends[0]
		}
		if sent := end == decisionv1.Resolution_RESOLUTION_SENT; sent != (got[id] > 0) && end != decisionv1.Resolution_RESOLUTION_UNKNOWN {
			note("proposal %s (%s) ended as %v, but the channels have it %d times", id, p.Action, end, got[id])
		}
		tally(t, end)
	}
	for id := range got {
		if p := l.Proposals[id]; p == nil || !p.Made {
			note("a channel has proposal %s, which was never made", id)
		}
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
