package log

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"refrain.dev/pkg/fault"
)

// JetStream is a Site on a JetStream account. Reads go to the stream's leader. It is safe for concurrent
// use and holds nothing that has to be closed but its feeds; the connection is the caller's.
type JetStream struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	timeout time.Duration
	limits  feedLimits

	mu      sync.Mutex
	streams map[string]jetstream.Stream // handles by what they store, as in their configuration
}

// NewJetStream returns the Site on the account that nc is connected to. A request to the broker whose answer
// takes longer than 5 s counts as unknown; a tail holds 128 messages or 1 MiB, whichever comes first.
func NewJetStream(nc *nats.Conn) (*JetStream, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	return &JetStream{
		nc: nc, js: js, timeout: 5 * time.Second, limits: defaultFeedLimits(),
		streams: map[string]jetstream.Stream{},
	}, nil
}

// Append implements Broker.
func (j *JetStream) Append(ctx context.Context, subject string, expect uint64, data []byte) (uint64, error) {
	if expect == 0 {
		return 0, fault.As(fault.Invalid, fmt.Errorf("append %s: %w", subject, ErrZeroExpectation))
	}
	return j.publish(ctx, "append "+subject, &nats.Msg{Subject: subject, Data: data},
		jetstream.WithExpectLastSequencePerSubject(expect))
}

// Publish implements Broker.
func (j *JetStream) Publish(ctx context.Context, subject string, data []byte) (uint64, error) {
	return j.publish(ctx, "publish "+subject, &nats.Msg{Subject: subject, Data: data})
}

// publish sends one copy and waits for its answer. The client must not send a second one by itself.
func (j *JetStream) publish(ctx context.Context, what string, msg *nats.Msg, opts ...jetstream.PublishOpt) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	if err := checkSubject(msg.Subject); err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	tctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	ack, err := j.js.PublishMsg(tctx, msg, append(opts, jetstream.WithRetryAttempts(0))...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, translate(err))
	}
	return ack.Sequence, nil
}

// Last implements Broker.
func (j *JetStream) Last(ctx context.Context, subject string) (Message, error) {
	return j.read(ctx, "last", subject, func(ctx context.Context, s jetstream.Stream) (*jetstream.RawStreamMsg, error) {
		return s.GetLastMsgForSubject(ctx, subject)
	})
}

// Get implements Broker.
func (j *JetStream) Get(ctx context.Context, subject string, sequence uint64) (Message, error) {
	return j.read(ctx, "get", subject, func(ctx context.Context, s jetstream.Stream) (*jetstream.RawStreamMsg, error) {
		if sequence == 0 { // to the server that would be a question for something else
			return nil, jetstream.ErrMsgNotFound
		}
		return s.GetMsg(ctx, sequence)
	})
}

// Next implements Broker.
func (j *JetStream) Next(ctx context.Context, subject string, after uint64) (Message, error) {
	return j.read(ctx, "next", subject, func(ctx context.Context, s jetstream.Stream) (*jetstream.RawStreamMsg, error) {
		return s.GetMsg(ctx, after+1, jetstream.WithGetMsgSubject(subject))
	})
}

type getter func(context.Context, jetstream.Stream) (*jetstream.RawStreamMsg, error)

func (j *JetStream) read(ctx context.Context, what, subject string, get getter) (Message, error) {
	if err := ctx.Err(); err != nil {
		return Message{}, fmt.Errorf("%s %s: %w", what, subject, err)
	}
	tctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	s, err := j.streamOf(tctx, subject)
	if err != nil {
		return Message{}, fmt.Errorf("%s %s: %w", what, subject, err)
	}
	raw, err := get(tctx, s)
	if err != nil {
		return Message{}, fmt.Errorf("%s %s: %w", what, subject, translate(err))
	}
	return Message{Subject: raw.Subject, Sequence: raw.Sequence, Data: raw.Data, Time: raw.Time}, nil
}

// Purge implements Broker.
func (j *JetStream) Purge(ctx context.Context, subject string, below uint64) error {
	last, err := j.Last(ctx, subject)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("purge %s: %w", subject, err)
	}
	if below > last.Sequence {
		return fmt.Errorf("purge %s: %w", subject, errPurgeLast(below, last.Sequence))
	}
	if below <= 1 {
		return nil
	}
	tctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	s, err := j.streamOf(tctx, subject)
	if err == nil {
		err = translate(s.Purge(tctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(below)))
	}
	if err != nil {
		return fmt.Errorf("purge %s: %w", subject, err)
	}
	return nil
}

// Usage implements Broker.
func (j *JetStream) Usage(ctx context.Context, subject string) (Usage, error) {
	info, err := j.info(ctx, subject)
	if err != nil {
		return Usage{}, fmt.Errorf("usage of %s: %w", subject, err)
	}
	return Usage{
		Bytes: info.State.Bytes, MaxBytes: uint64(max(info.Config.MaxBytes, 0)), //nolint:gosec // not negative
		Messages: info.State.Msgs, LastSequence: info.State.LastSeq, Made: info.Created,
	}, nil
}

func (j *JetStream) info(ctx context.Context, subject string) (*jetstream.StreamInfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	tctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	s, err := j.streamOf(tctx, subject)
	if err != nil {
		return nil, err
	}
	info, err := s.Info(tctx)
	return info, translate(err)
}

// streamOf returns the handle of the stream that stores subject; it asks the server once per stream.
func (j *JetStream) streamOf(ctx context.Context, subject string) (jetstream.Stream, error) {
	if err := checkSubject(subject); err != nil {
		return nil, err
	}
	if s, ok := j.known(subject); ok {
		return s, nil
	}
	name, err := j.js.StreamNameBySubject(ctx, subject)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, errNoStream(subject)
	}
	if err != nil {
		return nil, translate(err)
	}
	s, err := j.js.Stream(ctx, name)
	if err != nil {
		return nil, translate(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, stored := range s.CachedInfo().Config.Subjects {
		j.streams[stored] = s
	}
	return s, nil
}

func (j *JetStream) known(subject string) (jetstream.Stream, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s, ok := j.streams[subject]
	if !ok {
		s, ok = j.streams[wildcard(subject)]
	}
	return s, ok
}

func (j *JetStream) streamName(ctx context.Context, subject string) (string, error) {
	tctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	s, err := j.streamOf(tctx, subject)
	if err != nil {
		return "", err
	}
	return s.CachedInfo().Config.Name, nil
}

// forget drops the handle of a stream that is removed.
func (j *JetStream) forget(name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	maps.DeleteFunc(j.streams, func(_ string, s jetstream.Stream) bool { return s.CachedInfo().Config.Name == name })
}
