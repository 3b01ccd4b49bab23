package membership

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"go.opentelemetry.io/otel/metric"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
)

// Config says who the replica is and how membership is kept. All replicas of a service must agree on Service,
// Generation, Partitions and TTL.
type Config struct {
	// Service whose partitions are shared, such as suppression.
	Service string
	// Generation of the partitions: replicas of different ones do not share.
	Generation uint32
	// Partitions to be shared.
	Partitions int
	// Replica is the name: letters, digits, and - _ . inside. Partitions follow it from one process to the
	// next. Of several processes with one name the newest has it; the others stand by, and say so.
	Replica string
	// Incarnation is unlike that of any other process.
	Incarnation string
	// Address at which the other replicas reach the gRPC server of this one; empty if they cannot.
	Address string
	// TTL is how long a lease lasts; at least a second. A lost replica is noticed after that.
	TTL time.Duration
	// Hold is how long a partition that was just acquired is not given up because of a newcomer.
	Hold time.Duration
}

const (
	// DefaultTTL outlasts the election of a new leader in the broker.
	DefaultTTL = 10 * time.Second
	// DefaultHold bounds how often a partition moves.
	DefaultHold = 10 * time.Second
)

var simpleName = regexp.MustCompile(`^[A-Za-z0-9]+([-_.]+[A-Za-z0-9]+)*$`) //nolint:gochecknoglobals // never written

// Validate joins all problems.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Service != "", "service: is missing")
	check(simpleName.MatchString(c.Replica), "replica: %q is not made of letters and digits, with - _ . inside", c.Replica)
	check(c.Incarnation != "", "incarnation: is missing")
	check(c.Partitions > 0, "partitions: is %d", c.Partitions)
	check(c.TTL >= time.Second, "ttl: %s is less than a second", c.TTL)
	check(c.Hold >= 0, "hold: is negative")
	if err := errors.Join(errs...); err != nil {
		return fault.New(fault.Invalid, "join the replicas: %w", err)
	}
	return nil
}

// group is the prefix of the keys of all replicas.
func (c Config) group() string { return fmt.Sprintf("%s-g%d", c.Service, c.Generation) }

// key of this replica's lease.
func (c Config) key() string { return c.group() + "." + c.Replica }

// beat is how often a lease is renewed.
func (c Config) beat() time.Duration { return c.TTL / 5 }

// look is how often the leases are read.
func (c Config) look() time.Duration { return min(c.TTL/10, time.Second) }

// again is the pause before what has failed is tried again.
func (c Config) again() time.Duration { return c.look() / 4 }

// margin is how much earlier than its end a replica stops to count on its own lease: clocks do not run alike.
func (c Config) margin() time.Duration { return c.TTL / 10 }

// Ports is what a Group works with. Logger and Ready may be nil; the rest may not.
type Ports struct {
	Leases log.Leases
	Clock  clock.Clock
	Logger *slog.Logger
	Meter  metric.MeterProvider
	// Ready is told when the replica becomes a member and when it is none any more.
	Ready func(ready bool)
}
