package rpc

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/telemetry"
)

// guard is the chain in front of every handler: recover, validate, handle, translate the error.
type guard struct {
	logger    *slog.Logger
	validator protovalidate.Validator
	// own says which methods check their requests themselves.
	own func(method string) bool
}

func (g guard) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = g.panicked(ctx, info.FullMethod, r)
		}
	}()
	if err := g.validate(info.FullMethod, req); err != nil {
		return nil, Status(err).Err()
	}
	resp, err = next(ctx, req)
	return resp, g.translate(ctx, info.FullMethod, err)
}

func (g guard) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = g.panicked(ss.Context(), info.FullMethod, r)
		}
	}()
	err = next(srv, &validatingStream{ServerStream: ss, guard: g, method: info.FullMethod})
	return g.translate(ss.Context(), info.FullMethod, err)
}

type validatingStream struct {
	grpc.ServerStream
	guard  guard
	method string
}

// RecvMsg implements grpc.ServerStream.
func (s *validatingStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err //nolint:wrapcheck // io.EOF and statuses must pass as they are
	}
	if err := s.guard.validate(s.method, m); err != nil {
		return Status(err).Err()
	}
	return nil
}

// panicked logs what a handler panicked with and returns the answer to its caller.
func (g guard) panicked(ctx context.Context, method string, cause any) error {
	g.logger.ErrorContext(ctx, "rpc handler panicked", "method", method, "panic", cause, "stack", string(debug.Stack()))
	return status.Error(codes.Internal, "internal error; the log has the details")
}

// translate answers with a status and logs what its text hides.
func (g guard) translate(ctx context.Context, method string, err error) error {
	if err == nil {
		return nil
	}
	s := Status(err)
	if s.Code() == codes.Internal {
		g.logger.ErrorContext(ctx, "rpc failed", "method", method, telemetry.KeyError, err)
	}
	return s.Err()
}

func (g guard) validate(method string, req any) error {
	m, ok := req.(proto.Message)
	if !ok || g.own(method) {
		return nil
	}
	err := g.validator.Validate(m)
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[*protovalidate.ValidationError](err)
	if !ok {
		return fault.As(fault.Internal, err)
	}
	violations := make([]Violation, len(invalid.Violations))
	for i, v := range invalid.Violations {
		violations[i] = Violation{Field: protovalidate.FieldPathString(v.Proto.GetField()), Why: v.Proto.GetMessage()}
	}
	return WithViolations(fault.New(fault.Invalid, "request is not valid: %s", invalid.Error()), violations...)
}
