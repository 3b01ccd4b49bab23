package crash

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"refrain.dev/pkg/embed/embedtest"
	"refrain.dev/pkg/state"
)

// redisState is a Redis whose whole content can be emptied, kept and set back.
type redisState struct {
	t      *testing.T
	addr   string
	client redis.UniversalClient

	mu       sync.Mutex
	copies   []kept // oldest first
	emptied  int
	setBack  int
	furthest time.Duration
}

// kept is everything that Redis held at one instant.
type kept struct {
	at   time.Time
	rows []any // key, dump, key, dump, …
}

func newRedisState(t *testing.T) *redisState {
	t.Helper()
	r := &redisState{t: t, addr: embedtest.Redis(t)}
	r.client = redis.NewUniversalClient(state.RedisOptions(r.addr))
	t.Cleanup(func() { _ = r.client.Close() })
	return r
}

// empty is FLUSHALL.
func (r *redisState) empty(ctx context.Context) {
	if err := r.client.FlushAll(ctx).Err(); err != nil {
		r.t.Error(err)
	}
	r.emptied++
}

// copyAll and setAll are atomic: Redis runs a script alone.
const (
	copyAll = `local out = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  out[#out+1] = key
  out[#out+1] = redis.call('DUMP', key)
end
return out`
	setAll = `redis.call('FLUSHALL')
for n = 1, #ARGV, 2 do redis.call('RESTORE', ARGV[n], 0, ARGV[n+1]) end
return #ARGV / 2`
)

// copyEvery is how often everything is copied while somebody wants to set it back.
const copyEvery = 200 * time.Millisecond

// watch copies everything again and again until the test ends.
func (r *redisState) watch(ctx context.Context) {
	done := make(chan struct{})
	ctx, stop := context.WithCancel(ctx)
	r.t.Cleanup(func() { stop(); <-done })
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			at := time.Now()
			rows, err := r.client.Eval(ctx, copyAll, nil).Slice()
			if err != nil && ctx.Err() == nil {
				r.t.Errorf("copy redis: %v", err)
			}
			r.mu.Lock()
			r.copies = append(r.copies, kept{at: at, rows: rows})
			r.copies = r.copies[max(0, len(r.copies)-10):]
			r.mu.Unlock()
			pause(ctx, copyEvery)
		}
	}()
}

// rollBack sets everything back by about a second.
func (r *redisState) rollBack(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.copies) == 0 {
		return
	}
	k := r.copies[0]
	for _, c := range r.copies {
		if time.Since(c.at) >= time.Second {
			k = c
		}
	}
	if err := r.client.Eval(ctx, setAll, nil, k.rows...).Err(); err != nil {
		r.t.Errorf("set redis back: %v", err)
	}
	r.setBack++
	r.furthest = max(r.furthest, time.Since(k.at))
}

// String says what was done to it.
func (r *redisState) String() string {
	return fmt.Sprintf("emptied %d times, set back %d times by up to %s", r.emptied, r.setBack, r.furthest.Round(time.Millisecond))
}
