package journey

import (
	"time"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/window"
)

// Env is what a journey may know beside its input.
type Env struct {
	// Now is the stage's time.
	Now time.Time
	// Tenant and Customer are part of the ids that are derived.
	Tenant   string
	Customer []byte
	// Traits of the customer after the input, sorted by name.
	Traits []*profilev1.Trait
	// Zone is where the customer's days begin and end: the customer's own zone, else the workspace's. Waits,
	// validities and re-entry periods of whole days, weeks, months and years are counted in it. Nil is UTC.
	Zone *time.Location
	// Revision is the catalog revision, for reasons.
	Revision string
}

// after is t plus a period of the journey, by the customer's calendar.
func (e Env) after(t time.Time, p window.Period) time.Time { return p.AddTo(t, e.Zone) }

// calendar names the zone in which the period is counted; empty if it is exact.
func (e Env) calendar(p window.Period) string {
	switch {
	case !p.IsCalendar():
		return ""
	case e.Zone == nil:
		return time.UTC.String()
	}
	return e.Zone.String()
}

// Event is something that happened to the customer.
type Event struct {
	// Name of the event's definition; the type as published if it has none.
	Name string
	// Event as published.
	Event *eventv1.Event
	// Late reports whether it came too late to start anything. It still ends what it ends.
	Late bool
	// Fresh is the instant from which on the event starts nothing. It bounds how long the event waits for a
	// running enrollment to end.
	Fresh time.Time
}

// Input is what an enrollment can learn: one of Happened, Resolved, Due and Linked.
type Input interface{ input() }

// Happened says that an event was applied to the profile; exits look at it.
type Happened struct{ Event Event }

// Resolved says that a proposal was resolved.
type Resolved struct{ Proposal string }

// Due says that time has passed, with the profile at hand: what waits may go on.
type Due struct{}

// Linked says that the profile was closed because its identifier belongs to another one.
type Linked struct{ Cause string }

func (Happened) input() {}
func (Resolved) input() {}
func (Due) input()      {}
func (Linked) input()   {}

// Proposal is an action that a step puts forward.
type Proposal struct {
	// ID is derived from enrollment, step and visit, never from action or channel.
	ID string
	// Action by name.
	Action string
	// ValidUntil is when it expires unless chosen.
	ValidUntil time.Time
	// Cause is where it comes from.
	Cause *decisionv1.Cause
	// Context is the entering event's kept properties.
	Context []*eventv1.Property
}

// Result is what follows from an input.
type Result struct {
	// Enrollment after the input; nil if it ended (or was never started).
	Enrollment *decisionv1.Enrollment
	// Facts in order.
	Facts []*decisionv1.Fact
	// Propose is a proposal to make after the facts; nil for none.
	Propose *Proposal
	// Withdraw is the id of a proposal to take back, because its enrollment ended; empty for none.
	Withdraw string
	// Wait is the event to keep until the running enrollment has ended; nil for none.
	Wait *decisionv1.WaitingEntry
}
