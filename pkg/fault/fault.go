// Package fault says what kind of failure an error is, so that the edges can answer it without knowing
// its cause. A kind is attached where the cause is known and read only at the edges; an error without a
// kind is Internal.
package fault

import (
	"errors"
	"fmt"
)

// Kind is what an error means to whoever receives it.
type Kind int

// The kinds. docs/architecture.md has the table of what each edge does with them.
const (
	// Internal is our own bug or an unknown failure.
	Internal Kind = iota
	// Invalid is wrong now and for ever.
	Invalid
	// NotFound names something that is not there.
	NotFound
	// Conflict lost a race.
	Conflict
	// Unavailable says that a dependency is down or busy; later may be better.
	Unavailable
)

// String returns the kind's name in lower case.
func (k Kind) String() string {
	switch k {
	case Invalid:
		return "invalid"
	case NotFound:
		return "not_found"
	case Conflict:
		return "conflict"
	case Unavailable:
		return "unavailable"
	case Internal:
		return "internal"
	}
	return fmt.Sprintf("kind(%d)", int(k))
}

type kinded struct {
	kind Kind
	err  error
}

func (e *kinded) Error() string { return e.err.Error() }
func (e *kinded) Unwrap() error { return e.err }

// As attaches a kind to err. It returns nil for a nil err; the innermost kind given to an error wins at
// Of only if no outer one was attached.
func As(kind Kind, err error) error {
	if err == nil {
		return nil
	}
	return &kinded{kind: kind, err: err}
}

// New makes an error of a kind from a format, as fmt.Errorf does.
func New(kind Kind, format string, args ...any) error {
	return &kinded{kind: kind, err: fmt.Errorf(format, args...)}
}

// Of returns the outermost kind attached to err, Internal if there is none.
func Of(err error) Kind {
	if k, ok := errors.AsType[*kinded](err); ok {
		return k.kind
	}
	return Internal
}
