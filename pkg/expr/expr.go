// Package expr is the expression language of definitions: CEL, typed by the declared events and traits.
//
// An expression sees event (the properties of one event, and its id, type and at) and traits (what is
// known about the customer), nothing else: no clock, no other customer, no account. A property or trait
// that is missing, or whose value does not fit its declared type (see Fit), reads as the zero value of that type;
// has(event.total) tells whether it is there. Properties of an undeclared event are dynamic: a missing
// one reads as null. The outcomes, such as click, are declared in every environment; see OutcomeFields. Text, whole numbers and other numbers compare with each other across number types.
//
// Every expression is bounded in length, nesting and cost, so that none can stall whoever evaluates it.
package expr

import (
	"time"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
)

// Type is the declared type of a property or trait.
type Type int

// The types.
const (
	// String is text.
	String Type = iota + 1
	// Int is a whole number.
	Int
	// Double is any number.
	Double
	// Bool is true or false.
	Bool
	// Timestamp is an instant, published as RFC 3339 text.
	Timestamp
	// Strings is a list of text.
	Strings
	// Any is a value of any shape, such as a list of objects. Only properties of events have it.
	Any
)

// ParseType returns the type that a definition names string, int, double, bool, timestamp, strings or any;
// false for any other name.
func ParseType(name string) (Type, bool) {
	for t := String; t <= Any; t++ {
		if t.String() == name {
			return t, true
		}
	}
	return 0, false
}

// String is the type's name in definitions.
func (t Type) String() string {
	switch t {
	case String:
		return "string"
	case Int:
		return "int"
	case Double:
		return "double"
	case Bool:
		return "bool"
	case Timestamp:
		return "timestamp"
	case Strings:
		return "strings"
	case Any:
		return "any"
	}
	return "unknown"
}

// Schema is what expressions may read: the properties of each declared event, by the event's name, and
// the declared traits.
type Schema struct {
	Events map[string]map[string]Type
	Traits map[string]Type
}

// AnyEvent in Scope.Event means an event whose properties are not known before.
const AnyEvent = "*"

// Scope says what one expression may read.
type Scope struct {
	// Event is the name of a declared event. Empty: there is no event. AnyEvent, or a name that is not
	// declared: its properties are dynamic.
	Event string
	// Traits says that the customer's traits are there.
	Traits bool
}

// Want is the result an expression must have.
type Want int

// The results.
const (
	// WantBool is a condition.
	WantBool Want = iota + 1
	// WantNumber is a whole or other number.
	WantNumber
	// WantValue is anything a property can be.
	WantValue
	// WantString is text; a whole number is taken as its decimal digits.
	WantString
)

// Input is what an expression is evaluated on. It is read, never changed, and not kept.
type Input struct {
	// EventType, EventID and EventAt are event.type, event.id and event.at, unless the event has
	// properties of those names.
	EventType, EventID string
	EventAt            time.Time
	// Properties of the event; of several with one name the last one counts.
	Properties []*eventv1.Property
	// Traits sorted by name.
	Traits []*profilev1.Trait
}
