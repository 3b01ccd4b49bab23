package channel

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/delivery"
	"refrain.dev/pkg/telemetry"
)

// natsAdapter publishes JSON on a subject. With stream: "true" the subject belongs to a JetStream stream
// and its acknowledgement is the acceptance; else it is accepted when the server has it.
type natsAdapter struct {
	url, subject string
	stream       bool
	shared       *nats.Conn // not ours to close; nil if the channel has its own connection

	mu   sync.Mutex
	conn *nats.Conn
}

func newNATS(config map[string]string, o Options) (*natsAdapter, error) {
	a := &natsAdapter{url: config["url"], subject: config["subject"], stream: config["stream"] == "true"}
	if a.url == "" {
		a.url = o.NATSURL
	}
	if a.url == "" {
		a.shared = o.NATS
	}
	if a.url == "" && a.shared == nil {
		return nil, errors.New("url: no server to publish to")
	}
	if a.subject == "" || strings.ContainsAny(a.subject, "*> \t\r\n") {
		return nil, errors.New("subject: want one subject without wildcards")
	}
	return a, nil
}

// Close implements Adapter.
func (a *natsAdapter) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != nil {
		a.conn.Close()
		a.conn = nil
	}
	return nil
}

// connection connects on first use. While it is down nothing is buffered: what cannot be written is unsent.
func (a *natsAdapter) connection() (*nats.Conn, error) {
	if a.shared != nil {
		return a.shared, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != nil && !a.conn.IsClosed() {
		return a.conn, nil
	}
	conn, err := nats.Connect(a.url, nats.Name("refrain-dispatch"), nats.ReconnectBufSize(-1), nats.MaxReconnects(-1))
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	a.conn = conn
	return conn, nil
}

// Send implements Adapter.
func (a *natsAdapter) Send(ctx context.Context, m Message) delivery.Result {
	data, err := encode(payloadOf(m))
	if err != nil {
		return unsent(reasonv1.Code_CODE_RENDER_FAILED, "the payload cannot be encoded")
	}
	conn, err := a.connection()
	if err != nil {
		return unavailable("no connection")
	}
	msg := &nats.Msg{Subject: a.subject, Data: data, Header: nats.Header{}}
	msg.Header.Set(jetstream.MsgIDHeader, m.Proposal)
	if parent := telemetry.Traceparent(ctx); parent != "" {
		msg.Header.Set("traceparent", parent)
	}
	if a.stream {
		return publishStream(ctx, conn, msg)
	}
	if !conn.IsConnected() {
		return unavailable("not connected")
	}
	if err := conn.PublishMsg(msg); err != nil {
		return published(err)
	}
	if err := conn.FlushWithContext(ctx); err != nil {
		return unknown()
	}
	return accepted("")
}

// published says what an error of a core publish proves: these are found before anything is written.
func published(err error) delivery.Result {
	for _, before := range []error{nats.ErrConnectionClosed, nats.ErrReconnectBufExceeded, nats.ErrConnectionDraining} {
		if errors.Is(err, before) {
			return unavailable("not connected")
		}
	}
	if errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadSubject) {
		return rejected("too large, or not a subject")
	}
	return unknown()
}

func publishStream(ctx context.Context, conn *nats.Conn, msg *nats.Msg) delivery.Result {
	js, err := jetstream.New(conn)
	if err != nil {
		return unavailable("no JetStream")
	}
	ack, err := js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0))
	if err == nil {
		return accepted(fmt.Sprintf("%s/%d", ack.Stream, ack.Sequence))
	}
	if errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
		return unavailable("no stream takes the subject")
	}
	if refusal, ok := errors.AsType[*jetstream.APIError](err); ok {
		return refused(refusal)
	}
	return published(err)
}

// Codes with which a server says that it has not stored a message.
const (
	codeAccount      jetstream.ErrorCode = 10002 // the account has no room
	codeInsufficient jetstream.ErrorCode = 10023
	codeMemory       jetstream.ErrorCode = 10028
	codeStorage      jetstream.ErrorCode = 10047
	codeTooLarge     jetstream.ErrorCode = 10054
	codeStoreFailed  jetstream.ErrorCode = 10077 // proves it only if a limit of the stream is why
	codeSealed       jetstream.ErrorCode = 10109
)

// refused says what a stream's refusal proves. Most do not say whether another try is under way or was stored: a
// duplicate that is in process, a leader that has changed.
func refused(err *jetstream.APIError) delivery.Result {
	evidence := "JetStream " + strconv.Itoa(int(err.ErrorCode))
	switch err.ErrorCode { //nolint:exhaustive // whatever else it is proves nothing
	case codeTooLarge:
		return rejected(evidence)
	case codeAccount, codeInsufficient, codeMemory, codeStorage, codeSealed:
		return unavailable(evidence)
	case codeStoreFailed:
		if strings.Contains(err.Description, "maximum") && strings.Contains(err.Description, "exceeded") {
			return unavailable(evidence)
		}
	}
	r := rejected(evidence)
	r.Status = dispatchv1.Status_STATUS_UNKNOWN
	return r
}
