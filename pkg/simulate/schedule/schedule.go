// Package schedule is what happens to a simulated world, as data: its faults and what its clients do. A
// Schedule is generated from a seed and a Profile, printed one line for each thing, parsed back from that
// text, and made smaller by a Shrinker while it still makes a run fail.
package schedule

import (
	"slices"
	"time"
)

// Schedule is everything about a run that is not the program and not the seed.
type Schedule struct {
	// Faults in any order.
	Faults []Fault
	// Operations of the clients; those of one client are done in order.
	Operations []Operation
}

// Case is all that a run depends on: what a regression test is made from.
type Case struct {
	Seed     uint64
	Schedule Schedule
}

// Operation is one thing that a client does.
type Operation struct {
	// At is the virtual time before which it is not begun.
	At time.Duration
	// Client that does it, from 0.
	Client int
	// Do says what, in the words of whoever wires the world, such as "publish customer=3 kind=order".
	Do string
}

// Fault is one thing that goes wrong.
type Fault struct {
	// When it begins.
	When When
	// What goes wrong.
	What Kind
	// Node that is hit, or whose operations are; "" means any. At a point, a fault of nodes without a node,
	// or of operations without a node and a place, hits the node that passes.
	Node string
	// On is the place: a class, a colon and a prefix of what is meant, or "" for all. See Place.
	On string
	// Times is how many operations are hit; 0 means one, or all within For if the kind lasts.
	Times int
	// For is how long it lasts, is delayed or steps; see Kind.
	For time.Duration
	// Count is how much: messages, writes, parts per million; see Kind.
	Count int
}

// When is a moment of a run: at a step, at a time or at a passage of a named point. The zero When is the
// beginning.
type When struct {
	// Step is the number of a scheduling step.
	Step uint64
	// At is a virtual time.
	At time.Duration
	// Point is the name of a failpoint, and Pass which passage of it, from 1, by the fault's node.
	Point string
	Pass  int
}

// Clone returns a copy that shares nothing.
func (s Schedule) Clone() Schedule {
	return Schedule{Faults: slices.Clone(s.Faults), Operations: slices.Clone(s.Operations)}
}

// Clients is how many clients the operations name: one more than the greatest number.
func (s Schedule) Clients() int {
	n := 0
	for _, o := range s.Operations {
		n = max(n, o.Client+1)
	}
	return n
}
