package log

import "context"

// Site is where a generation lives: a broker, a KV store and what only the provisioner may do with them.
// JetStream and memory implement it.
type Site interface {
	Broker
	// KV returns the store beside the log.
	KV() KV
	// Leases returns the store of what goes by itself.
	Leases() Leases
	// Objects returns the store of what is too large for the log.
	Objects() Objects
	// Prepare makes the KV store, that of leases and that of objects if they are not there.
	Prepare(ctx context.Context, replicas int) error
	// CreateStream makes a stream; it is an error if one of that name has another configuration. ErrFull
	// says that the store cannot promise that many bytes.
	CreateStream(ctx context.Context, cfg StreamConfig) error
	// Stream returns a stream's configuration, or ErrNotFound.
	Stream(ctx context.Context, name string) (StreamConfig, error)
	// DeleteStream removes a stream with everything in it. No error if there is none.
	DeleteStream(ctx context.Context, name string) error
	// Begin stores data as the message number position of the stream of subject, and refuses with
	// *ConflictError if the stream is anywhere else. Sequences of a stream never go back, so this can succeed
	// only while the stream is being provisioned; it is not an expectation about a chain.
	Begin(ctx context.Context, subject string, position uint64, data []byte) error
}
