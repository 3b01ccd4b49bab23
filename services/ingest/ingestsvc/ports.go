package ingestsvc

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/log"
)

// store is what the committer needs of the log.
type store interface {
	Publish(ctx context.Context, subject string, data []byte) (uint64, error)
}

// gauges is what the sampler needs of the log.
type gauges interface {
	Last(ctx context.Context, subject string) (log.Message, error)
	Next(ctx context.Context, subject string, after uint64) (log.Message, error)
	Usage(ctx context.Context, subject string) (log.Usage, error)
}

// pressure says whether the mesh takes more.
type pressure interface {
	// Load is what is known now.
	Load() load
}

// load is why the mesh takes no more events; the zero load means that it does.
type load struct {
	// full says that a stream is nearly full: nothing but opt-outs and receipts is taken.
	full bool
	// why is the refusal, such as "the stream of prf.0 is 83 % full".
	why string
	// retryAfter is when to try again.
	retryAfter time.Duration
}

func (l load) refuses() bool { return l.why != "" }

// subscriber is what the NATS entrance needs of a connection.
type subscriber interface {
	QueueSubscribe(subject, queue string, handler nats.MsgHandler) (*nats.Subscription, error)
}

// kinds says which identifier kinds there are now.
type kinds interface {
	Kinds(tenant string) *event.Kinds
}

// defaultKinds is kinds for a mesh in which no others are declared.
type defaultKinds struct{ set *event.Kinds }

func (d defaultKinds) Kinds(string) *event.Kinds { return d.set }
