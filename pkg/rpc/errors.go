package rpc

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"refrain.dev/pkg/fault"
)

// Domain is the domain of every ErrorInfo.
const Domain = "refrain.dev"

// Violation is one wrong field of a request.
type Violation struct {
	// Field is its path in the request.
	Field string
	// Why it is wrong.
	Why string
}

// detail is what an error says beyond its kind.
type detail struct {
	err        error
	code       codes.Code
	reason     string
	retryAfter time.Duration
	violations []Violation
}

func (d *detail) Error() string { return d.err.Error() }
func (d *detail) Unwrap() error { return d.err }

// WithReason attaches an upper-case reason for ErrorInfo, in place of the kind's name. Of several the
// outermost wins.
func WithReason(err error, reason string) error {
	return with(err, func(d *detail) { d.reason = reason })
}

// WithRetryAfter attaches RetryInfo.
func WithRetryAfter(err error, after time.Duration) error {
	return with(err, func(d *detail) { d.retryAfter = after })
}

// WithViolations attaches BadRequest.
func WithViolations(err error, violations ...Violation) error {
	return with(err, func(d *detail) { d.violations = violations })
}

// Exhausted makes err a RESOURCE_EXHAUSTED with RetryInfo: the caller sends more than is taken now.
func Exhausted(err error, reason string, after time.Duration) error {
	return with(fault.As(fault.Unavailable, err), func(d *detail) {
		d.code, d.reason, d.retryAfter = codes.ResourceExhausted, reason, after
	})
}

func with(err error, set func(*detail)) error {
	if err == nil {
		return nil
	}
	d := &detail{err: err}
	if inner, ok := errors.AsType[*detail](err); ok {
		*d = *inner
		d.err = err
	}
	set(d)
	return d
}

// CodeOf is the RPC code of a fault kind.
func CodeOf(kind fault.Kind) codes.Code {
	switch kind {
	case fault.Invalid:
		return codes.InvalidArgument
	case fault.NotFound:
		return codes.NotFound
	case fault.Conflict:
		return codes.Aborted
	case fault.Unavailable:
		return codes.Unavailable
	case fault.Internal:
		return codes.Internal
	}
	return codes.Internal
}

// Status turns an error into what a caller may see: code, message and details. The text of an internal
// error is hidden. An error that is a status already passes as it is.
func Status(err error) *status.Status {
	if err == nil {
		return status.New(codes.OK, "")
	}
	if s, ok := status.FromError(err); ok {
		return s
	}
	d := &detail{}
	if found, ok := errors.AsType[*detail](err); ok {
		d = found
	}
	kind := fault.Of(err)
	code, message := CodeOf(kind), err.Error()
	switch {
	case d.code != codes.OK:
		code = d.code
	case kind == fault.Internal && errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case kind == fault.Internal && errors.Is(err, context.Canceled):
		code = codes.Canceled
	case kind == fault.Internal:
		message = "internal error; the log has the details"
	}
	return detailed(status.New(code, message), kind, d)
}

func detailed(s *status.Status, kind fault.Kind, d *detail) *status.Status {
	reason := d.reason
	if reason == "" {
		reason = strings.ToUpper(kind.String())
	}
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: reason, Domain: Domain}}
	if len(d.violations) > 0 {
		bad := &errdetails.BadRequest{}
		for _, v := range d.violations {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: v.Field, Description: v.Why})
		}
		details = append(details, bad)
	}
	if d.retryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(d.retryAfter)})
	}
	full, err := s.WithDetails(details...)
	if err != nil {
		return s
	}
	return full
}

// FromStatus turns what a client got into an error with a fault kind; nil stays nil. The caller's own
// deadline or cancellation is Unavailable: nobody knows what became of the request.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	switch status.Code(err) { //nolint:exhaustive // the rest is internal
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange, codes.Unimplemented, codes.PermissionDenied, codes.Unauthenticated:
		return fault.As(fault.Invalid, err)
	case codes.NotFound:
		return fault.As(fault.NotFound, err)
	case codes.Aborted, codes.AlreadyExists:
		return fault.As(fault.Conflict, err)
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Canceled:
		return fault.As(fault.Unavailable, err)
	}
	return fault.As(fault.Internal, err)
}
