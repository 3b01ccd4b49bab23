package ingestsvc

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/telemetry"
	"refrain.dev/services/ingest/ingestsvc/overload"
)

// queue shares the subject among replicas.
const queue = "ingest"

// natsEntrance takes requests on publish.<tenant>: a Segment call or batch as JSON, a CloudEvent, or a
// PublishEventsRequest as protobuf, told apart by the headers. Who may publish for which tenant is up to
// the permissions of NATS.
type natsEntrance struct {
	door *door
	open *clock.Group
}

func newNATSEntrance(d *door) *natsEntrance {
	return &natsEntrance{door: d, open: clock.NewGroup(d.clock, 0)}
}

// run serves until ctx ends and what is open has been answered. It calls listens when the server knows of it.
func (n *natsEntrance) run(ctx context.Context, on subscriber, listens func()) error {
	sub, err := on.QueueSubscribe(log.PublishSubject+".*", queue, func(m *nats.Msg) { n.arrived(context.WithoutCancel(ctx), m) })
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", log.PublishSubject, err)
	}
	for ctx.Err() == nil {
		if n.flush(ctx, on) == nil {
			listens()
			break
		}
	}
	_, _ = n.door.clock.Wait(ctx, clock.Forever)
	err = sub.Unsubscribe()
	if waitErr := n.open.Wait(context.WithoutCancel(ctx)); waitErr != nil {
		return fmt.Errorf("wait for open requests: %w", waitErr)
	}
	if err != nil {
		return fmt.Errorf("unsubscribe from %s: %w", log.PublishSubject, err)
	}
	return nil
}

// flushWithin is how long one attempt to hear from the server may take.
const flushWithin = 2 * time.Second

func (n *natsEntrance) flush(ctx context.Context, on subscriber) error {
	ctx, cancel := n.door.clock.Within(ctx, flushWithin)
	defer cancel()
	err := on.FlushWithContext(ctx)
	if err != nil {
		_, _ = n.door.clock.Wait(ctx, flushWithin) // a connection that is down says so at once
	}
	return err //nolint:wrapcheck // it only says that it is to be tried again
}

// arrived never waits: what comes behind a message is looked at as soon as it is let in or refused.
func (n *natsEntrance) arrived(ctx context.Context, m *nats.Msg) {
	ctx = telemetry.Parent(ctx, m.Header.Get("traceparent"))
	class := n.class(m)
	reply := &nats.Msg{Header: nats.Header{}}
	visit, err := n.door.gate.Enter(int64(len(m.Data)), class)
	if err != nil {
		reply.Data = n.sorry(ctx, reply.Header, err)
		n.respond(ctx, m, reply)
		return
	}
	n.open.Go(func() error {
		defer visit.Leave()
		if err := n.door.begin(ctx, visit, class, m.Header.Get(laneHeader)); err != nil {
			reply.Data = n.sorry(ctx, reply.Header, err)
		} else {
			reply.Data = n.handle(ctx, visit, m, reply.Header)
		}
		n.respond(ctx, m, reply)
		return nil
	})
}

// class is how a request stands. Protobuf does not tell from outside, and is looked into when it would be
// refused.
func (n *natsEntrance) class(m *nats.Msg) overload.Class {
	if maybeUrgent(m.Data) || maybeUrgentType(canonical(m.Header).Get("Ce-Type")) {
		return overload.Urgent
	}
	if !isProto(m.Header) || n.door.closed(m.Header.Get(laneHeader)) == nil {
		return overload.Normal
	}
	req := &eventv1.PublishEventsRequest{}
	if err := req.UnmarshalVT(m.Data); err == nil && hasUrgent(req.GetEvents()) {
		return overload.Urgent
	}
	return overload.Normal
}

func (n *natsEntrance) respond(ctx context.Context, m, reply *nats.Msg) {
	if m.Reply == "" {
		return
	}
	if err := m.RespondMsg(reply); err != nil {
		n.door.logger.WarnContext(ctx, "reply is not sent", "via", viaNATS, telemetry.KeyError, err)
	}
}

// handle takes one request and returns its reply: JSON, or protobuf if that is what came in.
func (n *natsEntrance) handle(ctx context.Context, visit *overload.Visit, m *nats.Msg, header nats.Header) []byte {
	header.Set("Content-Type", "application/json")
	tenant := strings.TrimPrefix(m.Subject, log.PublishSubject+".")
	if why := event.TenantProblem(tenant); why != "" {
		return answer{Error: "the subject's tenant " + why}.encode()
	}
	items, err := parseNATS(ctx, m.Header, m.Data)
	if err != nil {
		return answer{Error: printable(err)}.encode()
	}
	askLane(items, m.Header.Get(laneHeader))
	done, err := n.door.take(ctx, submission{tenant: tenant, via: viaNATS, items: items, visit: visit})
	if err != nil {
		return n.sorry(ctx, header, err)
	}
	a := answerTo(done)
	header.Set(positionHeader, a.header())
	if isProto(m.Header) {
		data, err := protoAnswer(done).MarshalVT()
		if err == nil {
			header.Set("Content-Type", "application/protobuf")
			return data
		}
	}
	return a.encode()
}

// sorry is the reply about a failure, always JSON. Its headers are those of HTTP, and of NATS services.
func (n *natsEntrance) sorry(ctx context.Context, header nats.Header, err error) []byte {
	a, status := n.door.apology(ctx, viaNATS, err)
	header.Set("Content-Type", "application/json")
	header.Set("Retry-After", strconv.Itoa(seconds(a.after)))
	header.Set("Nats-Service-Error-Code", strconv.Itoa(status))
	header.Set("Nats-Service-Error", a.Reason)
	return a.encode()
}

// parseNATS reads a payload by its headers. An error means that nothing could be read.
func parseNATS(ctx context.Context, header nats.Header, data []byte) ([]*item, error) {
	if len(data) > maxBatch {
		return nil, fmt.Errorf("%w: more than %d bytes", errTooLarge, maxBatch)
	}
	plain := canonical(header)
	media := strings.ToLower(plain.Get("Content-Type"))
	switch {
	case isProto(header) && plain.Get("Ce-Id") == "":
		req := &eventv1.PublishEventsRequest{}
		if err := req.UnmarshalVT(data); err != nil {
			return nil, fmt.Errorf("is not a PublishEventsRequest: %w", err)
		}
		return protoItems(req, viaNATS)
	case plain.Get("Ce-Id") != "" || strings.HasPrefix(media, "application/cloudevents"):
		return parseCloudEvents(ctx, plain, data)
	}
	members, err := membersOf(data, maxJSONDepth+2)
	if err != nil {
		return nil, err
	}
	kind, _ := loose(named(members, "type"))
	call, _ := kind.(string)
	if named(members, "batch") != nil {
		call = "batch"
	}
	items, _, err := parseSegment(call, data)
	return items, err
}

func isProto(header nats.Header) bool {
	media := strings.ToLower(canonical(header).Get("Content-Type"))
	return strings.HasPrefix(media, "application/protobuf") || strings.HasPrefix(media, "application/x-protobuf")
}

// canonical makes NATS headers, whose case counts, look like those of HTTP, whose case does not.
func canonical(header nats.Header) http.Header {
	out := http.Header{}
	for name, values := range header {
		for _, v := range values {
			out.Add(name, v)
		}
	}
	return out
}
