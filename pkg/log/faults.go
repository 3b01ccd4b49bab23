package log

// Op is one operation on a Memory, as a fault hook sees it.
type Op struct {
	// Name of the operation: append, publish, last, get, next, purge, usage, kv.get, kv.put, kv.update, kv.keys,
	// lease.hold, lease.all, object.put, object.get, object.delete, object.list, object.sweep.
	Name string
	// Subject or key.
	Subject string
	// Expect is the expectation of an append.
	Expect uint64
	// Data to be stored.
	Data []byte
	// Number counts the operations of this Memory from 1.
	Number uint64
}

// Fault says what goes wrong with an operation. The zero Fault lets it pass.
type Fault struct {
	// Effect on the operation.
	Effect Effect
	// After, with Late, is the number of later operations before which the write lands; 0 means that it
	// lands only when Memory.Land is called.
	After uint64
	// Err replaces the answer; nil means the effect's own error.
	Err error
}

// Effect is what a fault does.
type Effect int

// The effects.
const (
	// Pass does nothing, unless Err is set: then the operation is refused with it.
	Pass Effect = iota
	// LostBefore does not do the operation; the answer is ErrUnknown.
	LostBefore
	// LostAfter does the operation; the answer is ErrUnknown.
	LostAfter
	// Late answers ErrUnknown and does a write later, under the expectation it had; reads are just lost.
	Late
	// Pending refuses an append with ErrPending.
	Pending
	// Full refuses a write with ErrFull.
	Full
)

// Faults decides the fault of each operation. It is called with the Memory locked and must not use it.
type Faults func(Op) Fault

func (f Fault) answer() error {
	switch {
	case f.Err != nil:
		return f.Err
	case f.Effect == Pending:
		return ErrPending
	case f.Effect == Full:
		return ErrFull
	case f.Effect == Pass:
		return nil
	default:
		return ErrUnknown
	}
}
