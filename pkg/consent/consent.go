// Package consent says what a customer permits. One statement per channel and topic is in force; whether a
// contact is permitted follows from the most specific one.
//
// A withdrawal stands unless a permission lifts it: one that arrived later and claims a time not before the
// withdrawal's. In every other order the withdrawal stands, so no clock of a publisher undoes what a customer
// took back, and a history that is imported in order keeps its meaning. What counts does not depend on the
// order in which statements are applied.
//
// The most specific is channel and topic, then the channel with any topic, then the topic on any channel, then
// any and any ("*"). A withdrawal is stronger than its place in that order: it also ends every narrower
// permission inside it that does not lift it. A customer who says "no more mail" after having said yes to one
// newsletter gets no newsletter.
package consent

import (
	"slices"
	"strings"
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
)

// Any stands for every channel or every topic.
const Any = "*"

// State is what the statements about a channel and topic amount to.
type State int

// The states.
const (
	// Missing: nobody said anything.
	Missing State = iota
	// Given: the contact is permitted.
	Given
	// Withdrawn: the customer said no.
	Withdrawn
	// Expired: there was a permission and its time is over.
	Expired
)

// String returns the state's name in lower case.
func (s State) String() string {
	switch s {
	case Given:
		return "given"
	case Withdrawn:
		return "withdrawn"
	case Expired:
		return "expired"
	case Missing:
		return "missing"
	}
	return "unknown"
}

// Code is the reason code of a state that does not permit contact; unspecified for Given.
func (s State) Code() reasonv1.Code {
	switch s {
	case Missing:
		return reasonv1.Code_CODE_CONSENT_MISSING
	case Withdrawn:
		return reasonv1.Code_CODE_UNSUBSCRIBED
	case Expired:
		return reasonv1.Code_CODE_CONSENT_EXPIRED
	case Given:
	}
	return reasonv1.Code_CODE_UNSPECIFIED
}

// Evaluate says what records permit on a channel for a topic at now, and which statement says so; it is nil if
// nothing is known. Records are as Put and Merge make them, in any order. A permission that has expired counts as
// absent: a withdrawal that it had lifted stands again. Expired is answered only if nothing else is known.
func Evaluate(records []*profilev1.ConsentRecord, channel, topic string, now time.Time) (State, *profilev1.ConsentRecord) {
	var about []*profilev1.ConsentRecord
	for _, r := range records {
		if covers(r.GetConsent(), channel, topic) {
			about = append(about, r)
		}
	}
	slices.SortStableFunc(about, func(a, b *profilev1.ConsentRecord) int { return rank(b) - rank(a) })
	var expired *profilev1.ConsentRecord
	for _, r := range about {
		if Withdraws(r) {
			return Withdrawn, r
		}
		best := standing(about, r)
		switch {
		case best == nil: // a wider withdrawal ended it
		case !over(best, now):
			return Given, best
		case slices.ContainsFunc(r.GetBeside(), Withdraws):
			return Withdrawn, latest(filter(r.GetBeside(), Withdraws))
		case expired == nil:
			expired = best
		}
	}
	if expired != nil {
		return Expired, expired
	}
	return Missing, nil
}

// standing is the strongest permission of an entry that lifts all withdrawals of the entries that contain it; nil if
// there is none.
func standing(about []*profilev1.ConsentRecord, entry *profilev1.ConsentRecord) *profilev1.ConsentRecord {
	var no []*profilev1.ConsentRecord
	for _, r := range about {
		if covers(r.GetConsent(), entry.GetConsent().GetChannel(), entry.GetConsent().GetTopic()) {
			no = append(no, filter(statements(r), Withdraws)...)
		}
	}
	if len(no) == 0 {
		return entry
	}
	return strongest(lifting(no, filter(statements(entry), given)))
}

// Merge joins the statements of several leaves: one entry per channel and topic, the most restrictive, sorted.
func Merge(lists ...[]*profilev1.ConsentRecord) []*profilev1.ConsentRecord {
	var out []*profilev1.ConsentRecord
	for _, list := range lists {
		for _, r := range list {
			i, found := slices.BinarySearchFunc(out, r, compareKeys)
			switch {
			case !found:
				out = slices.Insert(out, i, r)
			case Restricts(r, out[i]):
				out[i] = r
			}
		}
	}
	return out
}

// Withdraws says whether a statement is a withdrawal.
func Withdraws(r *profilev1.ConsentRecord) bool {
	return r.GetConsent().GetState() == eventv1.ConsentState_CONSENT_STATE_WITHDRAWN
}

// Restricts says whether a permits less than b: a withdrawal less than a permission, a permission that
// ends sooner less than one that ends later. Of two equal ones the newer counts.
func Restricts(a, b *profilev1.ConsentRecord) bool {
	if given(a) != given(b) {
		return !given(a)
	}
	if c := ends(a).Compare(ends(b)); c != 0 {
		return c < 0
	}
	return at(a).After(at(b))
}

func covers(c *eventv1.Consent, channel, topic string) bool {
	return (c.GetChannel() == Any || c.GetChannel() == channel) && (c.GetTopic() == Any || c.GetTopic() == topic)
}

// rank orders by how specific a statement is.
func rank(r *profilev1.ConsentRecord) int {
	n := 0
	if r.GetConsent().GetChannel() != Any {
		n += 2
	}
	if r.GetConsent().GetTopic() != Any {
		n++
	}
	return n
}

func given(r *profilev1.ConsentRecord) bool {
	return r.GetConsent().GetState() == eventv1.ConsentState_CONSENT_STATE_GIVEN
}

func over(r *profilev1.ConsentRecord, now time.Time) bool {
	return r.GetConsent().GetExpiresAt() != nil && !now.Before(r.GetConsent().GetExpiresAt().AsTime())
}

// ends is when a permission ends by itself; one without an end lasts longer than all others.
func ends(r *profilev1.ConsentRecord) time.Time {
	if r.GetConsent().GetExpiresAt() == nil {
		return time.Unix(1<<40, 0)
	}
	return r.GetConsent().GetExpiresAt().AsTime()
}

func at(r *profilev1.ConsentRecord) time.Time { return r.GetAt().AsTime() }

func compareKeys(a, b *profilev1.ConsentRecord) int {
	if c := strings.Compare(a.GetConsent().GetChannel(), b.GetConsent().GetChannel()); c != 0 {
		return c
	}
	return strings.Compare(a.GetConsent().GetTopic(), b.GetConsent().GetTopic())
}
