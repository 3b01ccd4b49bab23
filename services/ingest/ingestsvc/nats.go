package ingestsvc

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/telemetry"
)

// queue shares the subject among replicas.
const queue = "ingest"

// maxOpen bounds the NATS requests that one replica works on.
const maxOpen = 256

// natsEntrance takes requests on publish.<tenant>: a Segment call or batch as JSON, a CloudEvent, or a
// PublishEventsRequest as protobuf, told apart by the headers. Who may publish for which tenant is up to
// the permissions of NATS.
type natsEntrance struct {
	door *door

	slots chan struct{}
	open  sync.WaitGroup
}

func newNATSEntrance(d *door) *natsEntrance {
	return &natsEntrance{door: d, slots: make(chan struct{}, maxOpen)}
}

// run serves until ctx ends and what is open has been answered.
func (n *natsEntrance) run(ctx context.Context, on subscriber) error {
	sub, err := on.QueueSubscribe(log.PublishSubject+".*", queue, func(m *nats.Msg) {
		n.slots <- struct{}{}
		n.open.Go(func() {
			defer func() { <-n.slots }()
			n.serve(context.WithoutCancel(ctx), m)
		})
	})
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", log.PublishSubject, err)
	}
	<-ctx.Done()
	err = sub.Unsubscribe()
	n.open.Wait()
	if err != nil {
		return fmt.Errorf("unsubscribe from %s: %w", log.PublishSubject, err)
	}
	return nil
}

func (n *natsEntrance) serve(ctx context.Context, m *nats.Msg) {
	ctx = telemetry.Parent(ctx, m.Header.Get("traceparent"))
	reply := &nats.Msg{Header: nats.Header{}}
	reply.Data = n.handle(ctx, strings.TrimPrefix(m.Subject, log.PublishSubject+"."), m, reply.Header)
	if m.Reply == "" {
		return
	}
	if err := m.RespondMsg(reply); err != nil {
		n.door.logger.WarnContext(ctx, "reply is not sent", "via", viaNATS, telemetry.KeyError, err)
	}
}

// handle takes one request and returns its reply: JSON, or protobuf if that is what came in.
func (n *natsEntrance) handle(ctx context.Context, tenant string, m *nats.Msg, header nats.Header) []byte {
	header.Set("Content-Type", "application/json")
	if why := event.TenantProblem(tenant); why != "" {
		return answer{Error: "the subject's tenant " + why}.encode()
	}
	items, err := parseNATS(ctx, m.Header, m.Data)
	if err != nil {
		return answer{Error: printable(err)}.encode()
	}
	askLane(items, m.Header.Get(laneHeader))
	done, err := n.door.take(ctx, submission{tenant: tenant, via: viaNATS, items: items})
	if err != nil {
		n.door.logger.WarnContext(ctx, "submission is not stored", "via", viaNATS, telemetry.KeyError, err)
		return answer{Error: publicText(err)}.encode()
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
	var probe struct {
		Type  string `json:"type"`
		Batch []any  `json:"batch"`
	}
	if err := guardJSON(data); err != nil {
		return nil, err
	}
	if err := decodeJSON(data, &probe); err != nil {
		return nil, err
	}
	call := probe.Type
	if probe.Batch != nil {
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
