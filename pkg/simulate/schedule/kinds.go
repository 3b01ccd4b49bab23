package schedule

import "strings"

// Kind is what a fault does.
type Kind string

// The faults of a node.
const (
	// Crash ends the process at once; it starts again after For, or never if that is negative.
	Crash Kind = "crash"
	// Stop tells the process to end and starts it again For after it has ended; one that has not ended
	// after half a minute crashes.
	Stop Kind = "stop"
	// Pause does not let the process run for the time For, while all others go on.
	Pause Kind = "pause"
	// ClockStep moves the node's time of day by For, which may be negative.
	ClockStep Kind = "clock-step"
	// ClockDrift makes the node's time of day gain Count microseconds per second, from then on.
	ClockDrift Kind = "clock-drift"
)

// The faults of operations, on every class of place.
const (
	// Lost loses the request of a write: it has no effect and no answer.
	Lost Kind = "lost"
	// LostRead loses a read.
	LostRead Kind = "lost-read"
	// Applied lets a write take effect and loses its answer.
	Applied Kind = "applied"
	// Late loses the answer of a write, which takes effect after For, on whatever it then finds.
	Late Kind = "late"
	// Double lets a write take effect twice; the answer is the first one's. Not on appends, rows or keys.
	Double Kind = "double"
	// Slow delays an operation by For before it takes effect; lasts as long as Count times For.
	Slow Kind = "slow"
	// Unavailable refuses all operations for For, with no effect.
	Unavailable Kind = "unavailable"
)

// The faults that only one class of place knows.
const (
	// Pending refuses an append because another one is in process.
	Pending Kind = "pending"
	// Full refuses all writes to a stream for For.
	Full Kind = "full"
	// Held delivers nothing to a node's feeds for For.
	Held Kind = "held"
	// Partial writes the first Count rows of a batch and loses the answer.
	Partial Kind = "partial"
	// Forgets takes the last Count writes of a partition of the state store back, over all its keys.
	Forgets Kind = "forgets"
	// Wiped takes everything of a partition of the state store, or of all.
	Wiped Kind = "wiped"
)

// Panic makes the pure code of a stage panic for some rows, for the time For, in every process.
const Panic Kind = "panic"

// The faults beyond the model: the world may not get them right, it must notice them.
const (
	// Suffix takes the last Count acknowledged messages of a stream away.
	Suffix Kind = "suffix"
	// Recreated empties a stream, whose sequences begin again.
	Recreated Kind = "recreated"
	// Ahead moves a shard of the state store Count sequences past where its chain led it.
	Ahead Kind = "ahead"
	// Corrupt changes a byte of every object that the place names.
	Corrupt Kind = "corrupt"
)

// Class is a kind of place that operations and faults are at.
type Class string

// The classes, with what follows the colon in Fault.On.
const (
	// Log is the broker: "log:prf.0", a prefix of subjects.
	Log Class = "log"
	// Stream is the broker too: "stream:PROFILES-g1-0", the name of one stream.
	Stream Class = "stream"
	// Feed is the delivery to readers: "feed:prf.0", a prefix of subjects.
	Feed Class = "feed"
	// Lease is what goes by itself: "lease:profile.", a prefix of keys.
	Lease Class = "lease"
	// Object is the store of objects: "object:bundles/", a prefix of names.
	Object Class = "object"
	// KV is the store beside the log: "kv:relay/", a prefix of keys.
	KV Class = "kv"
	// State is the state store: "state:3" is a partition, "state:3/profile" a shard.
	State Class = "state"
	// RPC is a call: "rpc:decision-0/refrain.x.v1.Service/Method", a prefix of target and method.
	RPC Class = "rpc"
	// Fold is pure code that runs: "fold:decision/3" is a stage, and the rows of one eighth of the keys.
	Fold Class = "fold"
	// Outside is what the wiring calls through Process.Outside: "out:smtp", a prefix of its name.
	Outside Class = "out"
)

// Place splits Fault.On; both are empty for "".
func Place(on string) (class Class, prefix string) {
	c, p, _ := strings.Cut(on, ":")
	return Class(c), p
}

// Spec says how a kind of fault is used.
type Spec struct {
	Kind Kind
	// Node says that it hits a node, not operations.
	Node bool
	// Classes of places that it is for; empty for a fault of a node.
	Classes []Class
	// Lasts says that For is a span within which all operations are hit.
	Lasts bool
	// Counts says that Count means something, For that For does.
	Counts, For bool
	// Beyond says that the model does not promise to survive it.
	Beyond bool
}

// Specs lists every kind.
func Specs() []Spec {
	writes := []Class{Log, KV, Lease, Object, State, RPC, Outside}
	return []Spec{
		{Kind: Crash, Node: true, For: true},
		{Kind: Stop, Node: true, For: true},
		{Kind: Pause, Node: true, For: true},
		{Kind: ClockStep, Node: true, For: true},
		{Kind: ClockDrift, Node: true, Counts: true},
		{Kind: Lost, Classes: writes},
		{Kind: LostRead, Classes: []Class{Log, KV, Lease, Object, State}},
		{Kind: Applied, Classes: writes},
		{Kind: Late, Classes: writes, For: true},
		{Kind: Double, Classes: []Class{Log, RPC, Outside}},
		{Kind: Slow, Classes: writes, For: true, Counts: true},
		{Kind: Unavailable, Classes: append([]Class{Stream}, writes...), For: true, Lasts: true},
		{Kind: Pending, Classes: []Class{Log}},
		{Kind: Full, Classes: []Class{Stream}, For: true, Lasts: true},
		{Kind: Held, Classes: []Class{Feed}, For: true, Lasts: true},
		{Kind: Partial, Classes: []Class{State}, Counts: true},
		{Kind: Forgets, Classes: []Class{State}, Counts: true},
		{Kind: Wiped, Classes: []Class{State}},
		{Kind: Panic, Classes: []Class{Fold}, For: true, Lasts: true},
		{Kind: Suffix, Classes: []Class{Stream}, Counts: true, Beyond: true},
		{Kind: Recreated, Classes: []Class{Stream}, Beyond: true},
		{Kind: Ahead, Classes: []Class{State}, Counts: true, Beyond: true},
		{Kind: Corrupt, Classes: []Class{Object}, Beyond: true},
	}
}

// SpecOf returns the spec of a kind; false if there is none.
func SpecOf(k Kind) (Spec, bool) {
	for _, s := range Specs() {
		if s.Kind == k {
			return s, true
		}
	}
	return Spec{}, false
}
