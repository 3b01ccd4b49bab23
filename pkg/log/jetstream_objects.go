package log

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"refrain.dev/pkg/fault"
)

// objectTimeout bounds one call; an object is many messages.
const objectTimeout = 30 * time.Second

type jsObjects struct{ j *JetStream }

// Objects implements Site. The bucket is a JetStream object store named refrain-snapshots, which `nats object`
// reads too.
func (j *JetStream) Objects() Objects { return jsObjects{j} }

// prepareObjects makes the bucket. It promises no room: what streams are promised is not taken by snapshots.
func (j *JetStream) prepareObjects(ctx context.Context, replicas int) error {
	return j.create(ctx, jetstream.StreamConfig{
		Name: objectStream, Subjects: []string{objectChunks + ">", objectMetas + ">"}, Replicas: replicas,
		MaxBytes: -1, MaxMsgSize: -1, Discard: jetstream.DiscardNew, AllowRollup: true, Storage: jetstream.FileStorage,
		Duplicates: duplicates,
	})
}

// in runs a call on the bucket and translates its error.
func (o jsObjects) in(ctx context.Context, what, name string, do func(context.Context, jetstream.ObjectStore) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s object %s: %w", what, name, err)
	}
	tctx, cancel := context.WithTimeout(ctx, objectTimeout)
	defer cancel()
	bucket, err := o.j.js.ObjectStore(tctx, objectBucket)
	if err == nil {
		err = do(tctx, bucket)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrObjectNotFound):
		err = fault.As(fault.NotFound, ErrNotFound)
	case errors.Is(err, jetstream.ErrBucketNotFound):
		err = fault.New(fault.Unavailable, "the bucket %s is missing; run refrain provision", objectBucket)
	case errors.Is(err, jetstream.ErrDigestMismatch):
		err = fault.As(fault.Internal, fmt.Errorf("%w: %w", ErrCorrupted, err))
	default:
		err = translate(err)
	}
	return fmt.Errorf("%s object %s: %w", what, name, err)
}

// Put implements Objects.
func (o jsObjects) Put(ctx context.Context, name string, data []byte) error {
	if err := checkObject(name, data); err != nil {
		return err
	}
	return o.in(ctx, "put", name, func(ctx context.Context, b jetstream.ObjectStore) error {
		_, err := b.PutBytes(ctx, name, data)
		return err
	})
}

// Get implements Objects.
func (o jsObjects) Get(ctx context.Context, name string) (data []byte, err error) {
	if err := checkObject(name, nil); err != nil {
		return nil, err
	}
	err = o.in(ctx, "get", name, func(ctx context.Context, b jetstream.ObjectStore) (err error) {
		data, err = b.GetBytes(ctx, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Delete implements Objects. The library would leave a marker for every object that ever was.
func (o jsObjects) Delete(ctx context.Context, name string) error {
	if err := checkObject(name, nil); err != nil {
		return err
	}
	err := o.in(ctx, "delete", name, func(ctx context.Context, b jetstream.ObjectStore) error {
		info, err := b.GetInfo(ctx, name, jetstream.GetObjectInfoShowDeleted())
		if err != nil {
			return err
		}
		s, err := o.j.js.Stream(ctx, objectStream)
		if err != nil {
			return err
		}
		if err := s.Purge(ctx, jetstream.WithPurgeSubject(objectChunks+info.NUID)); err != nil {
			return err
		}
		return s.Purge(ctx, jetstream.WithPurgeSubject(objectMetas+base64.URLEncoding.EncodeToString([]byte(name))))
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// List implements Objects.
func (o jsObjects) List(ctx context.Context, prefix string) (out []Object, err error) {
	err = o.in(ctx, "list", prefix, func(ctx context.Context, b jetstream.ObjectStore) error {
		all, err := b.List(ctx)
		if errors.Is(err, jetstream.ErrNoObjectsFound) {
			return nil
		}
		for _, i := range all {
			if strings.HasPrefix(i.Name, prefix) {
				out = append(out, Object{Name: i.Name, Size: i.Size, Stored: i.ModTime})
			}
		}
		return err
	})
	slices.SortFunc(out, func(a, b Object) int { return strings.Compare(a.Name, b.Name) })
	return out, err
}

// Sweep implements Objects: it looks for chunks that no object names. Those of an upload under way are young.
func (o jsObjects) Sweep(ctx context.Context, before time.Time) error {
	return o.in(ctx, "sweep", objectBucket, func(ctx context.Context, b jetstream.ObjectStore) error {
		s, err := o.j.js.Stream(ctx, objectStream)
		if err != nil {
			return err
		}
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(objectChunks+">"))
		if err != nil {
			return err
		}
		all, err := b.List(ctx, jetstream.ListObjectsShowDeleted())
		if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
			return err
		}
		for _, i := range all {
			delete(info.State.Subjects, objectChunks+i.NUID)
		}
		for _, subject := range sortedKeys(info.State.Subjects) {
			last, err := s.GetLastMsgForSubject(ctx, subject)
			if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && !last.Time.Before(before) {
				continue
			}
			if err != nil {
				return err
			}
			if err := s.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
				return err
			}
		}
		return nil
	})
}
