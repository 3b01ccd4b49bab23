package log

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"refrain.dev/pkg/fault"
)

// Only an answer that proves that nothing was stored may say so.
func TestTranslate(t *testing.T) {
	api := func(code int, err jetstream.ErrorCode, description string) error {
		return &jetstream.APIError{Code: code, ErrorCode: err, Description: description}
	}
	for _, test := range []struct {
		name string
		err  error
		want error
		kind fault.Kind
	}{
		{"another append is open", api(400, 10164, "wrong last sequence"), ErrPending, fault.Unavailable},
		{"stream is full", api(503, 10077, "maximum bytes exceeded"), ErrFull, fault.Unavailable},
		{"stream has too many", api(503, 10077, "maximum messages exceeded"), ErrFull, fault.Unavailable},
		{"store failed", api(503, 10077, "disk is gone"), ErrUnknown, fault.Unavailable},
		{"too many requests", api(429, 10167, "too many requests"), ErrFull, fault.Unavailable},
		{"no storage", api(500, 10047, "insufficient storage resources available"), ErrFull, fault.Unavailable},
		{"no leader", api(503, 10008, "JetStream system temporarily unavailable"), ErrUnknown, fault.Unavailable},
		{"unreadable conflict", api(400, 10071, "wrong last sequence"), ErrUnknown, fault.Unavailable},
		{"no message", api(404, 10037, "no message found"), ErrNotFound, fault.NotFound},
		{"no message, as the library says it", jetstream.ErrMsgNotFound, ErrNotFound, fault.NotFound},
		{"subjects of another stream", api(400, 10065, "subjects overlap with an existing stream"), nil, fault.Conflict},
		{"time-out", context.DeadlineExceeded, ErrUnknown, fault.Unavailable},
		{"no responders", jetstream.ErrNoStreamResponse, ErrUnknown, fault.Unavailable},
		{"connection lost", nats.ErrConnectionClosed, ErrUnknown, fault.Unavailable},
		{"too large", nats.ErrMaxPayload, nats.ErrMaxPayload, fault.Invalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := translate(test.err)
			if test.want != nil && !errors.Is(got, test.want) || got == nil || fault.Of(got) != test.kind {
				t.Errorf("got %v of kind %s, want %v of kind %s", got, fault.Of(got), test.want, test.kind)
			}
		})
	}
	conflict, ok := errors.AsType[*ConflictError](translate(api(400, 10071, "wrong last sequence: 18446744073709551615")))
	if !ok || conflict.Last != 1<<64-1 {
		t.Errorf("conflict is %v, want the greatest sequence", conflict)
	}
	if translate(nil) != nil {
		t.Error("no error became one")
	}
}
