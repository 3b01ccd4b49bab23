package suppressionsvc

import (
	"context"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"

	"refrain.dev/pkg/fault"
)

// server is ContactService over the engine. Requests are validated by the contract's rules in front of it,
// and errors get their codes from their kinds.
type server struct {
	contactv1.UnimplementedContactServiceServer

	engine  *engine
	metrics *metrics
}

// Check implements contactv1.ContactServiceServer.
func (s *server) Check(ctx context.Context, req *contactv1.CheckRequest) (*contactv1.CheckResponse, error) {
	res, err := s.engine.check(ctx, req)
	s.metrics.asked(ctx, "check", res.GetKind(), err)
	return res, err
}

// Reserve implements contactv1.ContactServiceServer.
func (s *server) Reserve(ctx context.Context, req *contactv1.ReserveRequest) (*contactv1.ReserveResponse, error) {
	if err := s.engine.reservable(ctx, req.GetTenant(), req.GetContact()); err != nil {
		s.metrics.asked(ctx, "reserve", 0, err)
		return nil, err
	}
	res, err := answer[*contactv1.ReserveResponse](s.engine.ask(ctx, req.GetTenant(), req.GetIdentifier(), asking{
		id: "reserve/" + req.GetId(), body: reserveRequest{id: req.GetId(), contact: req.GetContact()},
		pass: func(ctx context.Context, peer contactv1.ContactServiceClient) (any, error) {
			return peer.Reserve(ctx, req)
		},
	}))
	s.metrics.asked(ctx, "reserve", res.GetKind(), err)
	return res, err
}

// Commit implements contactv1.ContactServiceServer.
func (s *server) Commit(ctx context.Context, req *contactv1.CommitRequest) (*contactv1.CommitResponse, error) {
	res, err := answer[*contactv1.CommitResponse](s.engine.ask(ctx, req.GetTenant(), req.GetIdentifier(), asking{
		id: "commit/" + req.GetId(), body: commitRequest{id: req.GetId()}, held: true,
		pass: func(ctx context.Context, peer contactv1.ContactServiceClient) (any, error) {
			return peer.Commit(ctx, req)
		},
	}))
	s.metrics.asked(ctx, "commit", 0, err)
	return res, err
}

// Release implements contactv1.ContactServiceServer.
func (s *server) Release(ctx context.Context, req *contactv1.ReleaseRequest) (*contactv1.ReleaseResponse, error) {
	res, err := answer[*contactv1.ReleaseResponse](s.engine.ask(ctx, req.GetTenant(), req.GetIdentifier(), asking{
		id: "release/" + req.GetId(), body: releaseRequest{id: req.GetId()}, held: true,
		pass: func(ctx context.Context, peer contactv1.ContactServiceClient) (any, error) {
			return peer.Release(ctx, req)
		},
	}))
	s.metrics.asked(ctx, "release", 0, err)
	return res, err
}

// answer gives the fold's reply its type.
func answer[T any](reply any, err error) (T, error) {
	var none T
	if err != nil {
		return none, err
	}
	res, ok := reply.(T)
	if !ok {
		return none, fault.New(fault.Internal, "ask the ledger: it answered %T", reply)
	}
	return res, nil
}
