package dispatchsvc

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/state"
)

const (
	defaultTenant = "default"
	defaultPage   = 100
)

// Normaliser brings identifiers into the form in which they are hashed.
type Normaliser interface {
	// Normalise returns the normalised value of an identifier of one of a tenant's kinds.
	Normalise(ctx context.Context, tenant, kind, value string) (string, error)
}

// rpcServer serves DispatchService.
type rpcServer struct {
	dispatchv1.UnimplementedDispatchServiceServer

	reader  Reader
	homes   Homes
	kinds   Normaliser
	letters *deadLetters
}

// ListDeliveries implements dispatchv1.DispatchServiceServer.
func (s *rpcServer) ListDeliveries(ctx context.Context, req *dispatchv1.ListDeliveriesRequest) (*dispatchv1.ListDeliveriesResponse, error) {
	tenant := req.GetTenant()
	if tenant == "" {
		tenant = defaultTenant
	}
	customer, err := s.resolve(ctx, tenant, req.GetIdentifier())
	if err != nil {
		return nil, err
	}
	deliveries := &dispatchv1.State{}
	if _, err := s.read(ctx, customer, state.Row{Stage: name, Key: identity.CustomerKey(tenant, customer)}, deliveries); err != nil {
		return nil, err
	}
	return &dispatchv1.ListDeliveriesResponse{Deliveries: deliveries.GetDeliveries()}, nil
}

// resolve finds the profile that an identifier belongs to. The kind profile names a profile by its id, as the log does.
func (s *rpcServer) resolve(ctx context.Context, tenant string, id *eventv1.Identifier) ([]byte, error) {
	if id.GetKind() == event.KindProfile {
		return profile.IdentifierID(identity.Hasher{}, tenant, id) //nolint:wrapcheck // it says what is wrong with the id
	}
	value, err := s.kinds.Normalise(ctx, tenant, id.GetKind(), id.GetValue())
	if err != nil {
		return nil, fault.As(fault.Invalid, fmt.Errorf("read identifier: %w", err))
	}
	hash := s.homes.ID(tenant, &eventv1.Identifier{Kind: id.GetKind(), Value: value})
	row := &profilev1.IdentifierRow{}
	known, err := s.read(ctx, hash, state.Row{Stage: profileName, Key: identity.IdentifierKey(tenant, hash)}, row)
	if err != nil {
		return nil, err
	}
	if !known || len(row.GetProfileId()) != identity.IDSize {
		return nil, fault.New(fault.NotFound, "nobody is known by this %s", id.GetKind())
	}
	return row.GetProfileId(), nil
}

// read decodes the row of an id in its home; false if there is none.
func (s *rpcServer) read(ctx context.Context, id []byte, row state.Row, into proto.Message) (bool, error) {
	view, err := s.reader.Read(ctx, s.homes.Partition(id), state.Query{Metas: []string{row.Stage}, Rows: []state.Row{row}})
	if err != nil {
		return false, fault.As(fault.Unavailable, fmt.Errorf("read %s: %w", row.Stage, err))
	}
	if view.Rows[0] == nil {
		return false, nil
	}
	if err := proto.Unmarshal(view.Rows[0], into); err != nil {
		return false, fmt.Errorf("decode %s row: %w", row.Stage, err)
	}
	return true, nil
}

// ListDeadLetters implements dispatchv1.DispatchServiceServer.
func (s *rpcServer) ListDeadLetters(ctx context.Context, req *dispatchv1.ListDeadLettersRequest) (*dispatchv1.ListDeadLettersResponse, error) {
	limit := int(req.GetLimit())
	if limit == 0 {
		limit = defaultPage
	}
	letters, next, err := s.letters.page(ctx, req.GetStage(), req.GetAfter(), limit)
	if err != nil {
		return nil, err
	}
	out := &dispatchv1.ListDeadLettersResponse{Next: next}
	for _, l := range letters {
		info, err := s.letters.info(ctx, l)
		if err != nil {
			return nil, err
		}
		out.DeadLetters = append(out.DeadLetters, info)
	}
	return out, nil
}

// GetDeadLetter implements dispatchv1.DispatchServiceServer.
func (s *rpcServer) GetDeadLetter(ctx context.Context, req *dispatchv1.GetDeadLetterRequest) (*dispatchv1.GetDeadLetterResponse, error) {
	l, err := s.letters.find(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	info, err := s.letters.info(ctx, l)
	if err != nil {
		return nil, err
	}
	info.Payload = readable(l.letter)
	return &dispatchv1.GetDeadLetterResponse{DeadLetter: info}, nil
}

// RedriveDeadLetter implements dispatchv1.DispatchServiceServer.
func (s *rpcServer) RedriveDeadLetter(ctx context.Context, req *dispatchv1.RedriveDeadLetterRequest) (*dispatchv1.RedriveDeadLetterResponse, error) {
	l, err := s.letters.find(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return s.letters.redrive(ctx, l)
}
