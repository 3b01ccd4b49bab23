package degraded

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// frailStore is a state store that can be down, and that can hold rebuilds up.
type frailStore struct {
	state.Store

	down    atomic.Bool
	holding atomic.Bool
	due     atomic.Int64 // timers of the decision stage that were found due
	mu      sync.Mutex
	refused map[string]int // how often a stage asked for its states in vain
}

func (f *frailStore) up(stages ...string) error {
	if f.down.Load() {
		f.refuse(stages...)
		return fault.New(fault.Unavailable, "connection refused")
	}
	return nil
}

func (f *frailStore) refuse(stages ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range stages {
		f.refused[s]++
	}
}

// asked counts how often a stage asked for its states in vain.
func (f *frailStore) asked(stage string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refused[stage]
}

// Read implements state.Store.
func (f *frailStore) Read(ctx context.Context, partition int, q state.Query) (state.View, error) {
	if err := f.up(q.Metas...); err != nil {
		return state.View{}, err
	}
	return f.Store.Read(ctx, partition, q)
}

// Apply implements state.Store.
func (f *frailStore) Apply(ctx context.Context, shard state.Shard, b state.Batch) error {
	if err := f.up(shard.Stage); err != nil {
		return err
	}
	return f.Store.Apply(ctx, shard, b)
}

// Restore implements state.Store: while rebuilds are held, only that one has begun gets through.
func (f *frailStore) Restore(ctx context.Context, shard state.Shard, p state.Piece) (int, error) {
	if err := f.up(shard.Stage); err != nil {
		return 0, err
	}
	if f.holding.Load() {
		p.Writes, p.Meta = nil, nil
		if p.From == 0 {
			if _, err := f.Store.Restore(ctx, shard, p); err != nil {
				return 0, err
			}
		}
		f.refuse(shard.Stage)
		return 0, fault.New(fault.Unavailable, "slow")
	}
	return f.Store.Restore(ctx, shard, p)
}

// Due implements state.Store.
func (f *frailStore) Due(ctx context.Context, shard state.Shard, until time.Time, limit int) ([]state.Due, error) {
	if err := f.up(shard.Stage); err != nil {
		return nil, err
	}
	due, err := f.Store.Due(ctx, shard, until, limit)
	if shard.Stage == "decision" {
		f.due.Add(int64(len(due)))
	}
	return due, err
}

// Keys implements state.Store.
func (f *frailStore) Keys(ctx context.Context, shard state.Shard, after string, limit int) ([]string, error) {
	if err := f.up(shard.Stage); err != nil {
		return nil, err
	}
	return f.Store.Keys(ctx, shard, after, limit)
}

// frailKV is the store beside the log; definitions can be away.
type frailKV struct {
	log.KV

	down   atomic.Bool
	prefix atomic.Value // of the keys that are away
	asked  atomic.Int64
}

// Get implements log.KV.
func (f *frailKV) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	if prefix, _ := f.prefix.Load().(string); f.down.Load() && strings.HasPrefix(key, prefix) {
		f.asked.Add(1)
		return nil, 0, fault.As(fault.Unavailable, log.ErrUnknown)
	}
	return f.KV.Get(ctx, key)
}

// skewed is the machine's clock, set wrong.
type skewed struct {
	clock.Wall

	by atomic.Int64
}

// Now implements clock.Clock.
func (s *skewed) Now() time.Time { return time.Now().Add(time.Duration(s.by.Load())) }
