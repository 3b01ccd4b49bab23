package ingestsvc

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/rpc"
	"refrain.dev/services/ingest/ingestsvc/overload"
)

// rpcEntrance serves IngestService.
type rpcEntrance struct {
	eventv1.UnimplementedIngestServiceServer

	door *door
	keys keyring
}

// PublishEvents implements eventv1.IngestServiceServer. Each event is checked by itself: one that is
// refused does not keep the others out.
func (s *rpcEntrance) PublishEvents(ctx context.Context, req *eventv1.PublishEventsRequest) (*eventv1.PublishEventsResponse, error) {
	meta, _ := metadata.FromIncomingContext(ctx)
	tenant, ok := s.keys.tenant(keyFrom(first(meta, "authorization")))
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "the write key is not known: send it in authorization as Bearer")
	}
	lane := first(meta, "x-refrain-lane")
	visit, err := s.enter(ctx, req, lane)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	defer visit.Leave()
	items, err := protoItems(req, viaGRPC)
	if err != nil {
		return nil, err
	}
	askLane(items, lane)
	done, err := s.door.take(ctx, submission{tenant: tenant, via: viaGRPC, items: items, visit: visit})
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return protoAnswer(done), nil
}

// enter lets a request in and waits for its turn.
func (s *rpcEntrance) enter(ctx context.Context, req *eventv1.PublishEventsRequest, lane string) (*overload.Visit, error) {
	class := overload.Normal
	if hasUrgent(req.GetEvents()) {
		class = overload.Urgent
	}
	visit, err := s.door.gate.Enter(int64(req.SizeVT()), class)
	if err != nil {
		return nil, fault.As(fault.Unavailable, err)
	}
	if err := s.door.begin(ctx, visit, class, lane); err != nil {
		visit.Leave()
		return nil, err
	}
	return visit, nil
}

func (s *rpcEntrance) failed(ctx context.Context, err error) error {
	a, code := s.door.apology(ctx, viaGRPC, err)
	said := errors.New(a.Error)
	if code == http.StatusTooManyRequests {
		return rpc.Exhausted(said, a.Reason, a.after)
	}
	return rpc.WithRetryAfter(rpc.WithReason(fault.As(fault.Unavailable, said), a.Reason), a.after)
}

func first(meta metadata.MD, name string) string {
	if values := meta.Get(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// protoItems makes items of a request's events.
func protoItems(req *eventv1.PublishEventsRequest, entrance string) ([]*item, error) {
	if n := len(req.GetEvents()); n == 0 || n > maxItems {
		err := fault.New(fault.Invalid, "the request has %d events; want 1 to %d", n, maxItems)
		return nil, rpc.WithViolations(err, rpc.Violation{Field: "events", Why: "must be 1 to 2500"})
	}
	items := make([]*item, len(req.GetEvents()))
	for i, e := range req.GetEvents() {
		items[i] = protoItem(e, entrance)
	}
	return items, nil
}

// protoItem takes an event as it is. What only ingest may fill is filled by ingest.
func protoItem(e *eventv1.Event, entrance string) *item {
	it := &item{}
	if e == nil {
		return it
	}
	judgeProto(e)
	raw, err := e.MarshalVT()
	if err != nil {
		it.problem("", "cannot be encoded")
		return it
	}
	it.raw, it.event = raw, e
	e.ReceivedAt, e.Remarks = nil, nil
	if e.Context == nil {
		e.Context = &eventv1.Context{}
	}
	e.Context.Via = entrance
	if id := e.GetId(); len(id) > event.MaxID {
		e.Id = derived("message", id)
		it.remark("id", fmt.Sprintf("has more than %d bytes; a shorter id was made of it", event.MaxID))
	}
	if zone := e.GetContext().GetTimeZone(); zone != "" {
		e.Context.TimeZone = ""
		it.zone("context.time_zone", zone)
	}
	for i, id := range e.GetIdentifiers() {
		if id.GetKind() == event.KindProfile {
			it.problem(protoField(i), "addresses a profile directly, which only a token may")
		}
		it.fields = append(it.fields, protoField(i))
	}
	return it
}

func protoAnswer(r receipt) *eventv1.PublishEventsResponse {
	out := &eventv1.PublishEventsResponse{Results: make([]*eventv1.EventResult, len(r.results))}
	for i, res := range r.results {
		out.Results[i] = &eventv1.EventResult{Id: res.id, Position: res.position, Remarks: remarksOf(res.remarks)}
		if len(res.refused) > 0 {
			out.Results[i].Refusal = &eventv1.Refusal{
				Index: uint32(i), Field: res.refused[0].Field, Why: whyOf(res), DeadLetter: res.deadLetter, //nolint:gosec // at most 2500
			}
		}
	}
	return out
}
