package stage

import (
	"context"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/state"
)

// Source says through which door an input came.
type Source int

// The sources.
const (
	// FromLane is an arrival in a lane of EVENTS; only the first stage has it. Payload is the arrival's.
	FromLane Source = iota + 1
	// FromBefore is a cell with facts of the chain before.
	FromBefore
	// FromAfter is a cell with facts of the chain after.
	FromAfter
	// FromBox is a fact addressed to this stage. Payload is the fact.
	FromBox
	// FromRedrive is a dead letter on its way back; Payload, Key, Facts and State are as they were.
	FromRedrive
	// FromTimer says that the row Key has a wake-up: at At, which is due, or, if At is after Env.Now, of a time before
	// the partition was taken over, so that calls which were lost with their owner can be asked for again.
	FromTimer
	// FromRPC is a request; Request is what the caller passed to Stage.Do.
	FromRPC
	// FromCall is the result of a call that the fold had asked for; Request is what the Caller returned.
	FromCall
)

// Input is one thing that a stage learns. Folds must not change what it refers to.
type Input struct {
	Source Source
	// Name is the input's subject without the partition ("evt.live", "prf", "box.profile"), or timer, rpc, call.
	Name string
	// Sequence and Index (from 1) are its position; 0 for inputs that are not on a log.
	Sequence uint64
	Index    uint32
	// Key is the row that it is about: the cell's key with FromBefore and FromAfter, the row with
	// FromTimer, what Do and Call named with FromRPC and FromCall.
	Key string
	// ID is the caller's id with FromRPC, the call's with FromCall.
	ID string
	// At is the input's own time: the event's, the cause's. Env.Now is never derived from it.
	At time.Time
	// ReceivedAt is when ingest took it, by ingest's clock, and StoredAt when it was stored, by the broker's; with FromLane.
	// Under the replay clock both are ingest's.
	ReceivedAt, StoredAt time.Time
	// Payload with FromLane and FromBox.
	Payload []byte
	// Facts and State of the cell with FromBefore and FromAfter: the state is exactly the one that the
	// facts came from; empty if they did not change it.
	Facts [][]byte
	State []byte
	// Request with FromRPC and FromCall.
	Request any
	// Depth counts the mailboxes that the cause has passed.
	Depth uint32
	// Traceparent is the span under which the input is decided, if its event is sampled.
	Traceparent string
	// Redriven is the Name that a dead letter had before, with FromRedrive; ID is the dead letter's then.
	Redriven string

	entry    time.Time          // of a timer: its place in the index
	look     bool               // it is a timer that is not due: its row is looked at because of a takeover
	cell     *stagev1.Cell      // as it stands in the record, for the dead letters
	unsent   *stagev1.Addressed // it is no input but a fact that was not sent, redriven
	broken   error              // why it cannot be decided
	poisoned bool               // it could be understood, but its process died of it
	unloaded error              // why it could not be said what it needs
}

// Member names a member of one of the stage's own sets.
type Member struct {
	Set, Value string
}

// Needs is what a fold wants to see for an input. The runtime loads it for a whole batch in one call.
type Needs struct {
	// Rows of the stage itself, by key.
	Rows []string
	// Members of the stage's own sets.
	Members []Member
	// Foreign rows of other stages of the same partition; only with FromTimer, FromRPC and FromCall.
	Foreign []state.Row
}

// Rows is what was loaded, as left by the inputs before in the same batch.
type Rows interface {
	// Own returns a row of the stage; nil if there is none.
	Own(key string) []byte
	// Has says whether a value is in one of the stage's sets.
	Has(set, value string) bool
	// Foreign returns another stage's row; nil if there is none. ok is false if that stage's shard was
	// never written or is unfinished: then nothing is known, and nobody may be contacted.
	Foreign(stage, key string) (row []byte, ok bool)
}

// Env is what a fold may know beside its arguments.
type Env struct {
	// Now is the stage's time, the same for a whole batch.
	Now time.Time
	// Partition is the partition that decides.
	Partition int
	// Epoch is the sequence of the OPEN record under which it decides. It differs after a takeover and
	// must not lead to different facts except in what becomes of calls that were under way.
	Epoch uint64
	// Revision is the catalog revision that applies.
	Revision string
	// Round is, under the replay clock, how often the stages have had their turn in the instant Now, from 1; else 0. What
	// follows from something stands in the same round at a later stage, or in a later round. Only what tells people
	// the order of things may depend on it.
	Round uint32
}

// Cell is what an input did to one row.
type Cell struct {
	// Key of the row.
	Key string
	// Facts in order.
	Facts [][]byte
	// State after the input; nil if it did not change.
	State []byte
	// Deleted removes the row.
	Deleted bool
	// Deltas to lists and sets of the stage.
	Deltas []*stagev1.Delta
	// Wake is the earliest wake-up inside State, zero for none. It must be given whenever State is.
	Wake time.Time
}

// Call is something slow that the shell does beside the fold, after the record is stored; its result is
// an input. A call that is lost with its process is lost: state must hold a wake-up that notices.
type Call struct {
	// ID names the call; derived from its cause.
	ID string
	// Key of the row that it is about.
	Key string
	// Request for the Caller.
	Request any
	// Traceparent is filled by the runtime.
	Traceparent string
	// Wanted is filled by the runtime: it says whether this process may still record the result. A call that has not
	// begun what it is for and only waits need not wait any longer if not.
	Wanted func() bool
}

// Outcome is what follows from an input. The zero Outcome means that nothing does.
type Outcome struct {
	Cells     []Cell
	Addressed []Addressed
	Calls     []Call
	// Links are the traceparents of the causes on whose behalf an input without a trace of its own acts, a
	// timer above all: what follows is a new trace that links to them.
	Links []string
	// Reply is answered to the caller after the record is stored, with FromRPC.
	Reply any
}

// Addressed is a fact for a stage's mailbox in some partition, possibly our own.
type Addressed struct {
	Stage     string
	Partition int
	Payload   []byte
	// From is the row on behalf of which it is addressed; it must be one of the partition that decides.
	// Empty: the row of the outcome's first cell, else the input's. Under the replay clock facts that meet
	// in one instant are delivered in the order of it, so it must be given where neither says it.
	From string
}

// Fold is a stage's pure half: no clock, I/O, randomness; equal arguments give equal results.
type Fold interface {
	// Needs names what Decide will look at when it decides at now. An error means that the input cannot be
	// understood: it goes to the dead letters, unless it is a NotReadyError.
	Needs(in Input, now time.Time) (Needs, error)
	// Decide says what follows from the input. An error sends the input to the dead letters; it never
	// means "not now", unless it is a NotReadyError: what that names is made ready, and Decide asked again.
	Decide(in Input, rows Rows, env Env) (Outcome, error)
	// Gap says what follows from giving an input up, if its customer can still be told: at least a mark
	// in the state. The input is in the dead letters under the given id.
	Gap(in Input, rows Rows, env Env, deadLetter string) Outcome
}

// Caller makes the calls that a fold asks for.
type Caller interface {
	// Call begins a call and returns without waiting for anything. done must be told the result, however bad, once,
	// from anywhere; it does not block. nil is no result: the call was cut off, because the stage stops or the result
	// is not wanted any more. As many calls may wait as there are rows, so one that waits must cost little.
	Call(ctx context.Context, partition int, c Call, done func(result any))
}

// Preparer lets a stage make ready what deciding needs, such as the catalog of a revision, before a
// batch under that revision is decided, and whenever a fold says that it is not ready. It may block; an error
// is waited out and tried again, but for a new revision that does not compile (fault.Invalid): then the one
// before it stays in force.
type Preparer interface {
	Prepare(ctx context.Context, revision string) error
}
