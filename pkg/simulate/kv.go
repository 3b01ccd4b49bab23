package simulate

import (
	"bytes"
	"context"
	"time"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/simulate/schedule"
)

// simKV is a process's connection to the store beside the log.
type simKV struct{ p *Process }

var _ log.KV = (*simKV)(nil)

// Get implements log.KV.
func (k *simKV) Get(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	err = k.p.do(ctx, operation{class: schedule.KV, name: "get", on: key}, func() (err error) {
		value, revision, err = k.p.world.log.KV().Get(context.Background(), key)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return value, revision, nil
}

// Put implements log.KV.
func (k *simKV) Put(ctx context.Context, key string, value []byte) error {
	o := operation{class: schedule.KV, name: "put", on: key, size: len(value), write: true}
	o.keep = func() { value = bytes.Clone(value) }
	return k.p.do(ctx, o, func() error { return k.p.world.log.KV().Put(context.Background(), key, value) })
}

// Update implements log.KV.
func (k *simKV) Update(ctx context.Context, key string, value []byte, revision uint64) error {
	o := operation{class: schedule.KV, name: "update", on: key, size: len(value), write: true}
	o.keep = func() { value = bytes.Clone(value) }
	return k.p.do(ctx, o, func() error { return k.p.world.log.KV().Update(context.Background(), key, value, revision) })
}

// Keys implements log.KV.
func (k *simKV) Keys(ctx context.Context, prefix string) (keys []string, err error) {
	err = k.p.do(ctx, operation{class: schedule.KV, name: "keys", on: prefix}, func() (err error) {
		keys, err = k.p.world.log.KV().Keys(context.Background(), prefix)
		return err
	})
	return keys, err
}

// simLeases is a process's connection to what goes by itself.
type simLeases struct{ p *Process }

var _ log.Leases = (*simLeases)(nil)

// Hold implements log.Leases.
func (l *simLeases) Hold(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (at uint64, err error) {
	o := operation{class: schedule.Lease, name: "hold", on: key, size: len(value), write: true}
	o.keep = func() { value = bytes.Clone(value) }
	err = l.p.do(ctx, o, func() error {
		got, err := l.p.world.log.Leases().Hold(context.Background(), key, value, revision, ttl)
		if err == nil {
			at = got
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return at, nil
}

// All implements log.Leases.
func (l *simLeases) All(ctx context.Context, group string) (all []log.Lease, err error) {
	err = l.p.do(ctx, operation{class: schedule.Lease, name: "all", on: group}, func() (err error) {
		all, err = l.p.world.log.Leases().All(context.Background(), group)
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// simObjects is a process's connection to the store of objects.
type simObjects struct{ p *Process }

var _ log.Objects = (*simObjects)(nil)

// Put implements log.Objects.
func (s *simObjects) Put(ctx context.Context, name string, data []byte) error {
	o := operation{class: schedule.Object, name: "put", on: name, size: len(data), write: true}
	o.keep = func() { data = bytes.Clone(data) }
	return s.p.do(ctx, o, func() error { return s.p.world.log.Objects().Put(context.Background(), name, data) })
}

// Get implements log.Objects.
func (s *simObjects) Get(ctx context.Context, name string) (data []byte, err error) {
	err = s.p.do(ctx, operation{class: schedule.Object, name: "get", on: name}, func() (err error) {
		data, err = s.p.world.log.Objects().Get(context.Background(), name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Delete implements log.Objects.
func (s *simObjects) Delete(ctx context.Context, name string) error {
	o := operation{class: schedule.Object, name: "delete", on: name, write: true}
	return s.p.do(ctx, o, func() error { return s.p.world.log.Objects().Delete(context.Background(), name) })
}

// List implements log.Objects.
func (s *simObjects) List(ctx context.Context, prefix string) (found []log.Object, err error) {
	err = s.p.do(ctx, operation{class: schedule.Object, name: "list", on: prefix}, func() (err error) {
		found, err = s.p.world.log.Objects().List(context.Background(), prefix)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Sweep implements log.Objects.
func (s *simObjects) Sweep(ctx context.Context, before time.Time) error {
	o := operation{class: schedule.Object, name: "sweep", on: "", write: true}
	return s.p.do(ctx, o, func() error { return s.p.world.log.Objects().Sweep(context.Background(), before) })
}
