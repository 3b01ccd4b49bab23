package profilesvc

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/rpc"
)

const defaultTenant = "default"

// server answers ProfileService. Requests were validated in front of it.
type server struct {
	profilev1.UnimplementedProfileServiceServer

	engine   *engine
	counting Counting
	metrics  *metrics
	show     bool // identifiers are answered in clear
}

// GetProfile implements profilev1.ProfileServiceServer.
func (s *server) GetProfile(ctx context.Context, req *profilev1.GetProfileRequest) (*profilev1.GetProfileResponse, error) {
	p, partition, err := s.engine.find(ctx, cmp.Or(req.GetTenant(), defaultTenant), req.GetIdentifier(), req.GetAtLeast())
	if err == nil {
		err = s.sayWhatCounts(ctx, p)
	}
	s.metrics.read(ctx, "get_profile", err)
	if err != nil {
		return nil, explain(err)
	}
	if !s.show {
		p = hidden(p)
	}
	return &profilev1.GetProfileResponse{Profile: p, Partition: uint32(partition)}, nil //nolint:gosec // at most 1024
}

// sayWhatCounts says of a profile's computed traits since when they count.
func (s *server) sayWhatCounts(ctx context.Context, p *profilev1.Profile) error {
	since, err := s.counting.CountedSince(ctx, p.GetTenant())
	if err != nil {
		return err
	}
	for _, l := range p.GetLeaves() {
		for _, t := range l.GetTraits() {
			if at, ok := since[t.GetName()]; ok {
				t.CountedSince = timestamppb.New(at)
			}
		}
	}
	return nil
}

// hidden is a profile without what names the customer outside of the mesh: which kinds of identifiers and which
// channels there are stays.
func hidden(p *profilev1.Profile) *profilev1.Profile {
	p = p.CloneVT()
	for _, l := range p.GetLeaves() {
		addresses := map[string]bool{}
		for _, i := range l.GetIdentities() {
			addresses[i.GetIdentifier().GetKind()] = true
			i.Identifier = &eventv1.Identifier{Kind: i.GetIdentifier().GetKind()}
		}
		for _, e := range l.GetEndpoints() {
			e.Address, e.Written = "", ""
		}
		l.Traits = slices.DeleteFunc(l.GetTraits(), func(t *profilev1.Trait) bool { return addresses[t.GetName()] })
		l.Quarantine = nil
	}
	return p
}

// ListTimeline implements profilev1.ProfileServiceServer.
func (s *server) ListTimeline(ctx context.Context, req *profilev1.ListTimelineRequest) (*profilev1.ListTimelineResponse, error) {
	limit := min(int(cmp.Or(req.GetLimit(), usualTimeline)), maxTimeline)
	p, partition, err := s.engine.find(ctx, cmp.Or(req.GetTenant(), defaultTenant), req.GetIdentifier(), nil)
	var entries []*profilev1.TimelineEntry
	if err == nil {
		entries, err = s.engine.timeline(ctx, p, partition, limit)
	}
	s.metrics.read(ctx, "list_timeline", err)
	if err != nil {
		return nil, explain(err)
	}
	return &profilev1.ListTimelineResponse{Entries: entries}, nil
}

// explain gives a stale view its code and details; other errors are translated by their kind.
func explain(err error) error {
	stale, ok := errors.AsType[*staleError](err)
	if !ok {
		return err
	}
	st, detailErr := status.New(codes.FailedPrecondition, stale.Error()).WithDetails(
		&errdetails.ErrorInfo{Reason: "STALE_VIEW", Domain: rpc.Domain},
		&reasonv1.Reason{Code: reasonv1.Code_CODE_STALE_VIEW, Remedy: "ask again in a moment, or without a position"},
	)
	if detailErr != nil {
		return status.Error(codes.FailedPrecondition, stale.Error())
	}
	return st.Err()
}
