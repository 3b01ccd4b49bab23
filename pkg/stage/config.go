package stage

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/failpoint"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/snapshot"
	"refrain.dev/pkg/state"
)

// Config says which stage it is and how it works.
type Config struct {
	// Spec of the stage in the log.
	Spec log.StageSpec
	// Generation of the log.
	Generation log.Generation
	// Ownership says which partitions this process owns; nil means all.
	Ownership Ownership
	// Replica names the process in records.
	Replica string
	// Batch is the greatest number of inputs in a record; default 256.
	Batch int
	// Retention says how often snapshots are taken and what of the log is kept.
	Retention snapshot.Settings
	// StopWithin bounds the graceful drain; default 10 s.
	StopWithin time.Duration
}

// Ports is what a stage needs from outside.
type Ports struct {
	Broker log.Broker
	KV     log.KV
	// Objects keep snapshots; nil: none are taken, and the log is kept whole.
	Objects log.Objects
	Store   state.Store
	Clock   clock.Clock
	// Reference compares Clock with the log's; shared with others of the process that append. nil: one of its own.
	Reference *clock.Reference
	// Timely is told when Clock is proven wrong: this process is to own nothing, so that others may; and when it has
	// been set right. nil: the partitions wait here.
	Timely func(ok bool)
	Logger *slog.Logger
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider
	// Caller makes the fold's calls; nil if it makes none.
	Caller Caller
	// Preparer makes a revision ready; nil if nothing has to be.
	Preparer Preparer
	// Pinned reads which catalogs the stage's rows name; nil if they name none.
	Pinned snapshot.Pinned
	// Collect removes catalogs that nothing needs; nil if another stage's owners do that.
	Collect func(ctx context.Context) error
	// Orphans takes what calls find out too late; nil if the fold makes none.
	Orphans Orphans
	// Points are told of the places at which the process may die; nil in production.
	Points failpoint.Points
	// Ready is told once, when every owned partition has caught up, but for those that are halted; may be nil.
	Ready func()
	// Halted is told of each partition that must not go on; may be nil.
	Halted func(partition int)
}

// Request is an RPC input.
type Request struct {
	// ID is made by the caller; a repeat with the same id must have one effect, which the fold sees to.
	ID string
	// Key of the row it is about.
	Key string
	// At is when the caller asked.
	At time.Time
	// Body for the fold.
	Body any
}
