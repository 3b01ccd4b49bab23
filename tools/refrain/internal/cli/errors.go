package cli

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// negativeError is a no that was asked for: exit code 1. Its text may be empty if all is said already.
type negativeError struct{ text string }

func (e *negativeError) Error() string { return e.text }

func negative(format string, args ...any) error {
	return &negativeError{fmt.Sprintf(format, args...)}
}

// usageError is a mistake in the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usage(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// remote says in words what a service answered, and what to do about it.
func (a *app) remote(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch s.Code() {
	case codes.NotFound, codes.FailedPrecondition:
		return negative("%s", s.Message())
	case codes.Unavailable:
		return fmt.Errorf("the mesh at %s does not answer: %s (is it running? --grpc or REFRAIN_GRPC says where)", a.grpcAddr, s.Message())
	case codes.DeadlineExceeded:
		return fmt.Errorf("the mesh at %s did not answer within %s (--timeout allows more)", a.grpcAddr, a.timeout)
	case codes.Unimplemented:
		return fmt.Errorf("the mesh at %s does not serve this: %s", a.grpcAddr, s.Message())
	default:
		return errors.New(s.Message() + violations(s))
	}
}

func violations(s *status.Status) string {
	var out []string
	for _, d := range s.Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				out = append(out, v.GetField()+": "+v.GetDescription())
			}
		}
	}
	if len(out) == 0 {
		return ""
	}
	return " (" + strings.Join(out, "; ") + ")"
}
