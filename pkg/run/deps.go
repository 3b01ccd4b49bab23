package run

import (
	"log/slog"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/failpoint"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/snapshot"
	"refrain.dev/pkg/source"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/state"
)

// Deps is everything a service is given; it asks for nothing else and cannot tell which binary it is in.
type Deps struct {
	Logger *slog.Logger
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider
	// Broker and KV are the log.
	Broker log.Broker
	KV     log.KV
	// Bundles is where catalogs are stored.
	Bundles source.Store
	// Objects keep snapshots; nil: none are taken, and the log is kept whole.
	Objects log.Objects
	// Retention says how often snapshots are taken and what of the log is kept.
	Retention snapshot.Settings
	// Store keeps the states; nil for ingest, which needs none.
	Store state.Store
	// Generation fixes partitions and secrets.
	Generation log.Generation
	// Runner runs the service's stage: freely on the wall clock, or step by step under the replay clock.
	Runner stage.Runner
	// Clock is the time for whatever is not a fold.
	Clock clock.Clock
	// GRPC is where the service registers its gRPC services.
	GRPC grpc.ServiceRegistrar
	// Ready is told when the service has caught up once; the health service answers from it.
	Ready func(component string, ready bool)
	// Halted is told of partitions that must not go on; nil if nobody is to know.
	Halted func(component string, partition int)
	// Ownership says which partitions of its stage this process owns.
	Ownership stage.Ownership
	// Timely is told when this process's clock is proven wrong, and when it has been set right; nil if its partitions
	// are nobody else's.
	Timely func(ok bool)
	// Locate names the gRPC address of the process that owns a partition of this service's stage, as far as is
	// known: where to pass a request on that must be decided there. "" if it is this process, or nobody knows;
	// nil if owners are set and not found.
	Locate func(partition int) string
	// Dial connects to a gRPC server by its address. The caller closes what it gets.
	Dial func(address string) (Conn, error)
	// Points are told of the places at which the process may die; nil in production.
	Points failpoint.Points
	// Replica names this process in records and logs.
	Replica string
	// NATS is the connection under the log, for what is not on a stream; nil where there is none.
	NATS *nats.Conn
	// Stamper says when arrivals arrive; nil means by Clock.
	Stamper Stamper
	// Listening is told what a component listens on, such as ("ingest-http", 127.0.0.1:8080); may be nil.
	Listening func(name string, at net.Addr)
}

// Conn is a connection to a gRPC server.
type Conn interface {
	grpc.ClientConnInterface
	// Close ends it.
	Close() error
}

// Stamper says when something arrives. The wall clock's answer is now; the replay clock's follows from
// the events themselves.
type Stamper interface {
	// Arrive returns the arrival times of items that happened at the given times. done must be called
	// exactly once, when the items are stored or given up: until then no instant after theirs is released.
	Arrive(at []time.Time) (received []time.Time, done func())
	// Skew says whether publishers' clocks are corrected by when they say they sent; the replay clock takes
	// times as they are.
	Skew() bool
}

// Heard tells Listening, if there is anybody to tell.
func (d Deps) Heard(name string, at net.Addr) {
	if d.Listening != nil {
		d.Listening(name, at)
	}
}

// HaltedOf is Halted for one component.
func (d Deps) HaltedOf(component string) func(partition int) {
	return func(partition int) {
		if d.Halted != nil {
			d.Halted(component, partition)
		}
	}
}
