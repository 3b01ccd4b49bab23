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
		if cause, absent := unreachable(s.Message()); absent {
			return fmt.Errorf("the mesh at %s does not answer: is it running? --grpc or REFRAIN_GRPC says where (%s)", a.grpcAddr, cause)
		}
		return fmt.Errorf("the mesh at %s cannot answer now, try again: %s", a.grpcAddr, s.Message())
	case codes.DeadlineExceeded:
		return fmt.Errorf("the mesh at %s did not answer within %s: is it busy? --timeout allows more", a.grpcAddr, a.timeout)
	case codes.Unimplemented:
		return fmt.Errorf("the mesh at %s does not serve this: %s", a.grpcAddr, s.Message())
	default:
		return errors.New(s.Message() + violations(s))
	}
}

// unreachable reports whether a call never came to the mesh, and what stood in the way, without the words of the
// library that noticed.
func unreachable(message string) (cause string, absent bool) {
	if !strings.Contains(message, "connection error") && !strings.Contains(message, "transport:") && !strings.Contains(message, "name resolver") {
		return "", false
	}
	return lastCause(message), true
}

// lastCause is the innermost of the causes that a message chains, such as connection refused.
func lastCause(message string) string {
	message = strings.TrimRight(strings.TrimSpace(message), `"`)
	if i := strings.LastIndex(message, ": "); i >= 0 {
		message = message[i+2:]
	}
	return message
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
