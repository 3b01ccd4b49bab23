// Package log is the mesh's view of its broker: chains that grow by compare-and-append, lanes and
// mailboxes that are published to, and feeds that read them in order. It has two implementations,
// JetStream and memory, and one conformance suite (logtest) that holds for both.
//
// The package knows positions and bytes, never what is in them; only the genesis that every chain begins
// with is written here, by Provision.
package log

import (
	"context"
	"errors"
	"fmt"
	"time"

	"refrain.dev/pkg/clock"
)

// Message is one stored message.
type Message struct {
	// Subject it was stored under.
	Subject string
	// Sequence in its stream; a subject's messages have increasing, not consecutive, sequences.
	Sequence uint64
	// Data as stored. Readers must not change it.
	Data []byte
	// Time at which the broker stored it.
	Time time.Time
}

// ErrNotFound says that there is no such message.
var ErrNotFound = errors.New("message not found")

// ErrUnknown says that the broker gave no answer: what was asked may or may not have been done, now or
// later. Only repeating the same append, or reading the chain, resolves it.
var ErrUnknown = errors.New("no answer from the broker")

// ErrPending says that another append with an expectation is being processed by the broker (JetStream
// error 10164). It proves nothing about either.
var ErrPending = errors.New("another append is in process")

// ErrFull says that the stream takes no more; nothing was stored.
var ErrFull = errors.New("stream is full")

// ErrBusy says that an append on this chain is still open in this process; a second one is refused.
var ErrBusy = errors.New("an append is open on this chain")

// ErrZeroExpectation says that somebody expected an empty chain. Nobody may: chains begin with genesis.
var ErrZeroExpectation = errors.New("expectation 0 is never allowed")

// ErrLost says that another's record stands where this process wanted to append: it is no longer the
// chain's owner. Nothing is said about what it appended
// before; records of its own may stand further on.
var ErrLost = errors.New("the chain has another owner")

// ErrLogLostData says that the log ends before a position that was acknowledged. Whoever sees it halts.
var ErrLogLostData = errors.New("the log lost data")

// ErrGone says that messages after a reader's position may have been purged.
var ErrGone = errors.New("messages after the position are gone")

// ErrClosed says that a feed was closed or its connection ended for good.
var ErrClosed = errors.New("feed is closed")

// ConflictError says that the chain's last record is not the expected one (JetStream error 10071).
type ConflictError struct {
	// Last is the sequence of the chain's last record as the broker named it; 0 if the chain is empty,
	// which means that the log lost data.
	Last uint64
}

// Error implements error.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("wrong last sequence: the chain is at %d", e.Last)
}

// Usage is how full a stream is.
type Usage struct {
	// Bytes stored and allowed.
	Bytes, MaxBytes uint64
	// Messages stored.
	Messages uint64
	// LastSequence of the stream.
	LastSequence uint64
	// Made is when the stream was made: its identity, which no restart and no election of a leader changes.
	Made time.Time
}

// Broker stores messages. Implementations are safe for concurrent use. All methods may also return
// ErrUnknown or a context's error; other errors are wrapped with fault kinds.
type Broker interface {
	// Append stores data as the next message on subject if the subject's last message has sequence
	// expect. It is a single attempt: *ConflictError, ErrPending, ErrFull, ErrUnknown and
	// ErrZeroExpectation as they come. Use Chain for the protocol around it.
	Append(ctx context.Context, subject string, expect uint64, data []byte) (uint64, error)
	// Publish stores data on a lane, a mailbox or the like, without an expectation.
	Publish(ctx context.Context, subject string, data []byte) (uint64, error)
	// Last returns the last message on subject, read from the stream's leader.
	Last(ctx context.Context, subject string) (Message, error)
	// Get returns the message at a sequence of the stream that subject belongs to.
	Get(ctx context.Context, subject string, sequence uint64) (Message, error)
	// Next returns the first message on subject with a sequence greater than after.
	Next(ctx context.Context, subject string, after uint64) (Message, error)
	// Feed reads subjects of one stream in order, each from after its given sequence on.
	Feed(ctx context.Context, from map[string]uint64) (Feed, error)
	// Purge removes the messages of subject below a sequence. It refuses to touch the last one.
	Purge(ctx context.Context, subject string, below uint64) error
	// Usage says how full the stream is that subject belongs to.
	Usage(ctx context.Context, subject string) (Usage, error)
}

// Feed delivers the messages of several subjects of one stream. Memory is bounded: a tail that is not
// drained stops taking messages and catches up later by itself, without stopping the other tails.
type Feed interface {
	// Tail returns the reading end of one of the feed's subjects. One goroutine at a time may use it.
	Tail(subject string) Tail
	// Close ends the feed and frees what it holds. Idempotent.
	Close()
}

// Tail is the reading end of one subject of a feed.
type Tail interface {
	// Peek returns the next message without taking it; false if none has arrived yet.
	Peek() (Message, bool)
	// Pop takes the message that Peek returned.
	Pop()
	// Wake is signalled (capacity 1) whenever a message may have arrived.
	Wake() <-chan struct{}
	// Err returns why the tail will never deliver again, such as a message that is gone; nil while it works.
	Err() error
}

// Take waits for a tail's next message and takes it.
func Take(ctx context.Context, c clock.Clock, tail Tail) (Message, error) {
	for {
		if msg, ok := tail.Peek(); ok {
			tail.Pop()
			return msg, nil
		}
		if err := tail.Err(); err != nil {
			return Message{}, err
		}
		if _, err := c.Wait(ctx, clock.Forever, tail.Wake()); err != nil {
			return Message{}, err
		}
	}
}

// KV is a small store beside the log: generations, bundles, relay positions. Values are at most 1 MiB.
type KV interface {
	// Get returns the value of key and its revision, or ErrNotFound.
	Get(ctx context.Context, key string) ([]byte, uint64, error)
	// Put stores the value whatever was there.
	Put(ctx context.Context, key string, value []byte) error
	// Update stores the value if key is at revision (0: does not exist); *ConflictError if it is not.
	Update(ctx context.Context, key string, value []byte, revision uint64) error
	// Keys lists the keys with a prefix, sorted.
	Keys(ctx context.Context, prefix string) ([]string, error)
}

// Generation is what is fixed for a generation of partitions. The provisioner makes it once; it is read
// from the KV store by everybody else.
type Generation struct {
	// Number counts from 1 and is part of stream names and state keys.
	Number uint32 `json:"number"`
	// Partitions is P.
	Partitions int `json:"partitions"`
	// Streams is S: how many streams the partitions of a stage are spread over.
	Streams int `json:"streams"`
	// Secret keys customer ids and tokens; at least 32 bytes.
	Secret []byte `json:"secret"`
	// Replicas of every stream: 1 or 3.
	Replicas int `json:"replicas"`
	// Made is when each stream was made, by its name; noted by the provisioner. See Anew.
	Made map[string]time.Time `json:"made,omitempty"`
}
