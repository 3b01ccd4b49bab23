package logtest

import (
	"context"
	"errors"
	"fmt"

	"refrain.dev/pkg/log"
)

// maxWrong bounds how many sentences Verify says.
const maxWrong = 30

// Verify reads the whole log, which works again, through site, and says everything in which it is not what
// the processes were told, or nil. ctx bounds it.
func (t *Torture) Verify(ctx context.Context, site log.Broker) error {
	all := map[string][]log.Message{}
	for _, group := range append(t.Groups, t.Lanes) {
		for _, subject := range group {
			messages, err := readAll(ctx, site, subject)
			if err != nil {
				t.reportf("%w", err)
			}
			all[subject] = messages
		}
	}
	where := t.verifyMessages(all)
	t.verifyAttempts(all, where)
	t.verifyFeeds(ctx, all)
	if len(t.wrong) > maxWrong {
		return errors.Join(append(t.wrong[:maxWrong:maxWrong], fmt.Errorf("and %d more", len(t.wrong)-maxWrong))...)
	}
	return errors.Join(t.wrong...)
}

func readAll(ctx context.Context, site log.Broker, subject string) (all []log.Message, err error) {
	end, err := site.Last(ctx, subject)
	if err != nil {
		return nil, fmt.Errorf("last of %s: %w", subject, err)
	}
	for at := uint64(0); at < end.Sequence; {
		m, err := site.Next(ctx, subject, at)
		if err != nil {
			return all, fmt.Errorf("next of %s after %d: %w", subject, at, err)
		}
		all, at = append(all, m), m.Sequence
	}
	return all, nil
}

// verifyMessages checks what is there by itself and returns where each id is.
func (t *Torture) verifyMessages(all map[string][]log.Message) map[string]uint64 {
	where := map[string]uint64{}
	for subject, messages := range all {
		var before uint64
		for i, m := range messages {
			id, prev, ok := parse(m.Data)
			a, known := t.attempts[id]
			switch {
			case i == 0 && !ok: // a genesis
			case !known || a.subject != subject:
				t.reportf("%s %d is %.60q, which nobody appended there", subject, m.Sequence, m.Data)
			case where[id] != 0:
				t.reportf("%s %d: %s is at %d too", subject, m.Sequence, id, where[id])
			case a.expect != prev || a.expect != 0 && prev != before:
				t.reportf("%s %d: %s was appended after %d and says %d, but follows %d", subject, m.Sequence, id, a.expect, prev, before)
			}
			if ok {
				where[id] = m.Sequence
			}
			before = m.Sequence
		}
	}
	return where
}

// verifyAttempts checks that each answer is true.
func (t *Torture) verifyAttempts(all map[string][]log.Message, where map[string]uint64) {
	after := map[string]map[uint64]log.Message{} // by subject and expectation, the record that follows
	for subject, messages := range all {
		after[subject] = map[uint64]log.Message{}
		for _, m := range messages {
			_, prev, _ := parse(m.Data)
			after[subject][prev] = m
		}
	}
	for id, a := range t.attempts {
		at, there := where[id]
		winner := after[a.subject][a.expect]
		switch {
		case a.outcome == acked && at != a.sequence:
			t.reportf("%s was acknowledged at %d and is at %d (0: nowhere)", id, a.sequence, at)
		case (a.outcome == lost || a.outcome == refused) && there:
			t.reportf("%s was %s and is at %d", id, a.outcome, at)
		case a.outcome == lost && (winner.Sequence == 0 || winner.Time.After(a.told)):
			t.reportf("%s lost against nobody: what follows %d is %d, stored %s after that", id, a.expect, winner.Sequence, winner.Time.Sub(a.told))
		}
	}
}
