package log

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"refrain.dev/pkg/fault"
)

// The error codes of the server that mean something of their own here.
const (
	codeAccountResources jetstream.ErrorCode = 10002
	codeBadRequest       jetstream.ErrorCode = 10003
	codeInsufficient     jetstream.ErrorCode = 10023
	codeStorage          jetstream.ErrorCode = 10047
	codeOverlap          jetstream.ErrorCode = 10065
	codeStoreFailed      jetstream.ErrorCode = 10077
	codePending          jetstream.ErrorCode = 10164
	codeTooMany          jetstream.ErrorCode = 10167

	// storeFull begins the descriptions of codeStoreFailed that say that a limit was reached; with any
	// other description nothing is known.
	storeFullPrefix, storeFullSuffix = "maximum ", " exceeded"
	conflictPrefix                   = "wrong last sequence: "
)

// translate makes an answer of the client library one of this package's errors. An error that does not
// prove that nothing was done is ErrUnknown; so is "no responders", because a leader that steps down is
// briefly without any and an earlier copy may be on its way.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return fault.As(fault.NotFound, ErrNotFound)
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrInvalidMsg):
		return fault.As(fault.Invalid, err)
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return translateCode(api)
	}
	return fault.As(fault.Unavailable, fmt.Errorf("%w: %w", ErrUnknown, err))
}

func translateCode(api *jetstream.APIError) error {
	switch api.ErrorCode {
	case jetstream.JSErrCodeStreamWrongLastSequence:
		last, err := strconv.ParseUint(strings.TrimPrefix(api.Description, conflictPrefix), 10, 64)
		if err != nil || !strings.HasPrefix(api.Description, conflictPrefix) {
			// Not the form that servers of today use: nothing is known but that somebody must read.
			return fault.As(fault.Unavailable, fmt.Errorf("%w: %w", ErrUnknown, api))
		}
		return &ConflictError{Last: last}
	case codePending:
		return fault.As(fault.Unavailable, ErrPending)
	case codeTooMany, codeStorage, codeInsufficient, codeAccountResources:
		return fault.As(fault.Unavailable, fmt.Errorf("%w: %w", ErrFull, api))
	case codeStoreFailed:
		if strings.HasPrefix(api.Description, storeFullPrefix) && strings.HasSuffix(api.Description, storeFullSuffix) {
			return fault.As(fault.Unavailable, fmt.Errorf("%w: %w", ErrFull, api))
		}
	case jetstream.JSErrCodeStreamMessageExceedsMaximum, codeBadRequest:
		return fault.As(fault.Invalid, api)
	case codeOverlap:
		return fault.As(fault.Conflict, api)
	case jetstream.JSErrCodeMessageNotFound:
		return fault.As(fault.NotFound, ErrNotFound)
	case jetstream.JSErrCodeStreamNotFound:
		return fault.As(fault.NotFound, fmt.Errorf("%w: %w", ErrNotFound, api))
	default: // the status below says enough
	}
	if api.Code == 429 {
		return fault.As(fault.Unavailable, fmt.Errorf("%w: %w", ErrFull, api))
	}
	return fault.As(fault.Unavailable, fmt.Errorf("%w: %w", ErrUnknown, api))
}
