package run

import (
	"log/slog"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"refrain.dev/pkg/log"
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
	// Store keeps the states; nil for ingest, which needs none.
	Store state.Store
	// Generation fixes partitions and secrets.
	Generation log.Generation
	// Runner runs the service's stage: freely on the wall clock, or step by step under the replay clock.
	Runner stage.Runner
	// Clock is the time for whatever is not a fold.
	Clock stage.Clock
	// GRPC is where the service registers its gRPC services.
	GRPC grpc.ServiceRegistrar
	// Ready is told when the service has caught up once; the health service answers from it.
	Ready func(component string, ready bool)
	// Partitions that this process owns.
	Owner func(partition int) bool
	// Replica names this process in records and logs.
	Replica string
}
