package log

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"refrain.dev/pkg/fault"
)

const (
	kvStream   = "KV_" + kvBucket
	kvSubjects = "$KV." + kvBucket + "."
	kvMaxBytes = 256 << 20
	// duplicates is the smallest window that the server takes gladly; nothing relies on it.
	duplicates = 100 * time.Millisecond
)

type jsKV struct{ j *JetStream }

// KV implements Site. The bucket is a JetStream KV bucket named refrain; what other clients delete there
// reads as an empty value.
func (j *JetStream) KV() KV { return jsKV{j} }

// Get implements KV.
func (k jsKV) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	if err := checkKV(key, nil); err != nil {
		return nil, 0, err
	}
	m, err := k.j.Last(ctx, kvSubjects+key)
	if err != nil {
		return nil, 0, err
	}
	return m.Data, m.Sequence, nil
}

// Put implements KV.
func (k jsKV) Put(ctx context.Context, key string, value []byte) error {
	if err := checkKV(key, value); err != nil {
		return err
	}
	_, err := k.j.Publish(ctx, kvSubjects+key, value)
	return err
}

// Update implements KV. A new key is expected at revision 0, which is right here: a bucket has no history.
func (k jsKV) Update(ctx context.Context, key string, value []byte, revision uint64) error {
	if err := checkKV(key, value); err != nil {
		return err
	}
	_, err := k.j.publish(ctx, "update "+key, &nats.Msg{Subject: kvSubjects + key, Data: value},
		jetstream.WithExpectLastSequencePerSubject(revision))
	return err
}

// Keys implements KV.
func (k jsKV) Keys(ctx context.Context, prefix string) ([]string, error) {
	tctx, cancel := context.WithTimeout(ctx, k.j.timeout)
	defer cancel()
	s, err := k.j.js.Stream(tctx, kvStream)
	if err != nil {
		return nil, fmt.Errorf("list keys of %s: %w", prefix, translate(err))
	}
	info, err := s.Info(tctx, jetstream.WithSubjectFilter(kvSubjects+">"))
	if err != nil {
		return nil, fmt.Errorf("list keys of %s: %w", prefix, translate(err))
	}
	var keys []string
	for subject := range info.State.Subjects {
		if key := strings.TrimPrefix(subject, kvSubjects); strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys, nil
}

// Prepare implements Site: it makes the KV bucket, whose reads go to the leader too, that of leases and that
// of objects.
func (j *JetStream) Prepare(ctx context.Context, replicas int) error {
	if err := j.prepareObjects(ctx, replicas); err != nil {
		return err
	}
	if err := j.prepareLeases(ctx, replicas); err != nil {
		return err
	}
	return j.create(ctx, jetstream.StreamConfig{
		Name: kvStream, Subjects: []string{kvSubjects + ">"}, Replicas: replicas, MaxMsgsPerSubject: 1,
		MaxBytes: kvMaxBytes, MaxMsgSize: maxValue + 4096, Discard: jetstream.DiscardNew, DenyDelete: true,
		AllowRollup: true, Storage: jetstream.FileStorage, Duplicates: duplicates,
	})
}

// CreateStream implements Site.
func (j *JetStream) CreateStream(ctx context.Context, cfg StreamConfig) error {
	c := jetstream.StreamConfig{
		Name: cfg.Name, Subjects: cfg.Subjects, Replicas: cfg.Replicas, MaxBytes: cfg.MaxBytes, MaxMsgSize: cfg.MaxMessage,
		MaxAge: cfg.MaxAge, MaxMsgsPerSubject: cfg.MaxPerSubject, DenyDelete: cfg.DenyDelete, AllowDirect: cfg.AllowDirect,
		Discard: jetstream.DiscardOld, Storage: jetstream.MemoryStorage, Duplicates: duplicates,
	}
	if cfg.DiscardNew {
		c.Discard = jetstream.DiscardNew
	}
	if cfg.File {
		c.Storage = jetstream.FileStorage
	}
	return j.create(ctx, c)
}

func (j *JetStream) create(ctx context.Context, c jetstream.StreamConfig) error {
	tctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	_, err := j.js.CreateStream(tctx, c)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return fault.As(fault.Conflict, err)
	}
	return translate(err)
}

// Stream implements Site.
func (j *JetStream) Stream(ctx context.Context, name string) (StreamConfig, error) {
	tctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	s, err := j.js.Stream(tctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return StreamConfig{}, fault.As(fault.NotFound, fmt.Errorf("stream %s: %w", name, ErrNotFound))
	}
	if err != nil {
		return StreamConfig{}, fmt.Errorf("stream %s: %w", name, translate(err))
	}
	c, made := s.CachedInfo().Config, s.CachedInfo().Created
	return StreamConfig{
		Name: c.Name, Subjects: c.Subjects, Replicas: c.Replicas, MaxBytes: c.MaxBytes, MaxMessage: c.MaxMsgSize,
		MaxAge: c.MaxAge, MaxPerSubject: max(c.MaxMsgsPerSubject, 0), DiscardNew: c.Discard == jetstream.DiscardNew,
		DenyDelete: c.DenyDelete, AllowDirect: c.AllowDirect, File: c.Storage == jetstream.FileStorage, Made: made,
	}, nil
}

// DeleteStream implements Site.
func (j *JetStream) DeleteStream(ctx context.Context, name string) error {
	tctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	err := j.js.DeleteStream(tctx, name)
	j.forget(name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	return translate(err)
}

// Begin implements Site. The expectation is the stream's, not a chain's.
func (j *JetStream) Begin(ctx context.Context, subject string, position uint64, data []byte) error {
	_, err := j.publish(ctx, "begin "+subject, &nats.Msg{Subject: subject, Data: data},
		jetstream.WithExpectLastSequence(position-1))
	return err
}
