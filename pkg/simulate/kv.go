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
