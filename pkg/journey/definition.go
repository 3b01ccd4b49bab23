package journey

import (
	"refrain.dev/pkg/expr"
	"refrain.dev/pkg/window"
)

// Done is the Next of a step after which the journey is over.
const Done = -1

// Definition is a compiled journey. It is immutable and safe for concurrent use.
type Definition struct {
	// Name of the journey.
	Name string
	// Hash is the content hash that enrollments are pinned to, in hex: equal names and specs give equal hashes.
	Hash string
	// Entry is what starts it.
	Entry Entry
	// Key tells parallel enrollments apart; nil means one per customer.
	Key *expr.Program
	// Reentry says when a customer may enter again with the same key.
	Reentry Reentry
	// Exits end it early, in order; the first that holds does.
	Exits []Exit
	// Steps flattened: the journey begins at the first one and goes on by Next and Case.First.
	Steps []Step

	index map[string]int
	needs expr.Reads // what an enrollment keeps of its event
}

// Entry is the event that starts a journey.
type Entry struct {
	// Event is the name of the event's definition.
	Event string
	// Where has to hold; nil always does.
	Where *expr.Program
}

// Exit is an event that ends a journey early.
type Exit struct {
	// Event is the name of the event's definition; empty stands for any event.
	Event string
	// Where has to hold; nil always does.
	Where *expr.Program
	// As is how the enrollment ends: goal or exit.
	As string
}

// ReentryKind says how often a journey may be entered with one key.
type ReentryKind int

// The kinds of re-entry. Two enrollments with one key never run at the same time, whatever the kind.
const (
	// ReentryNever allows one entry, ever.
	ReentryNever ReentryKind = iota
	// ReentryAlways allows the next entry as soon as the enrollment before has ended. An event that comes before
	// that waits, while it is fresh.
	ReentryAlways
	// ReentryAfter allows the next entry a period after the last one.
	ReentryAfter
)

// Reentry is a journey's rule for entering again.
type Reentry struct {
	Kind ReentryKind
	// After is the period, with ReentryAfter.
	After window.Period
}

// StepKind is what a step does.
type StepKind int

// The kinds of step.
const (
	// StepAction makes a proposal and waits until it is resolved.
	StepAction StepKind = iota + 1
	// StepWait lets time pass.
	StepWait
	// StepBranch takes the first case that holds.
	StepBranch
)

// Step is one position in a journey.
type Step struct {
	// ID is unique in the journey.
	ID   string
	Kind StepKind
	// Path of the step in the document, for problems found by others.
	Path string
	// Action that is proposed, with StepAction.
	Action string
	// Until is how long the proposal is valid, with StepAction.
	Until window.Period
	// Wait is how long, with StepWait.
	Wait window.Period
	// Cases, with StepBranch, in order.
	Cases []Case
	// Next is the index of the step after, Done for none.
	Next int
}

// Case is one arm of a branch.
type Case struct {
	// When has to hold; nil always does.
	When *expr.Program
	// First is the index of the step to go to, Done for none.
	First int
	// Exit ends the journey instead.
	Exit bool
}

// step returns the index of a step by id, Done if the journey does not have it.
func (d *Definition) step(id string) int {
	if i, ok := d.index[id]; ok {
		return i
	}
	return Done
}
