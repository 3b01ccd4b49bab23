package ingestsvc

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"refrain.dev/pkg/consent"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/log"
	"refrain.dev/services/ingest/ingestsvc/overload"
)

// store is what the committer needs of the log.
type store interface {
	Publish(ctx context.Context, subject string, data []byte) (uint64, error)
	Get(ctx context.Context, subject string, sequence uint64) (log.Message, error)
}

// gauges is what sampler and flows need of the log.
type gauges interface {
	Last(ctx context.Context, subject string) (log.Message, error)
	Usage(ctx context.Context, subject string) (log.Usage, error)
}

// pressure says whether there is room in the streams.
type pressure interface {
	// Full is why a lane is closed; nil while it is open.
	Full(lane string) *overload.RefusedError
}

// subscriber is what the NATS entrance needs of a connection.
type subscriber interface {
	QueueSubscribe(subject, queue string, handler nats.MsgHandler) (*nats.Subscription, error)
	// FlushWithContext returns when the server has seen all that was sent; ctx must have a deadline.
	FlushWithContext(ctx context.Context) error
}

// kinds is what is defined now.
type kinds interface {
	// Kinds are the identifier kinds, Zone is where the times are that name none.
	Kinds(tenant string) *event.Kinds
	Zone(tenant string) *time.Location
	// Names are the channels and topics; nil if nothing was applied.
	Names(tenant string) *consent.Names
	// Know reads what is defined if that was never read. An error says that it cannot be: by what was not read nothing
	// may be decided.
	Know(ctx context.Context) error
	// Look looks whether more was applied.
	Look(ctx context.Context)
}

// defaultKinds is kinds for a mesh in which no others are declared.
type defaultKinds struct{ set *event.Kinds }

func (d defaultKinds) Kinds(string) *event.Kinds { return d.set }

func (defaultKinds) Zone(string) *time.Location { return time.UTC }

func (defaultKinds) Names(string) *consent.Names { return nil }

func (defaultKinds) Know(context.Context) error { return nil }

func (defaultKinds) Look(context.Context) {}
