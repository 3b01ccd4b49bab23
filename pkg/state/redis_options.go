package state

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"refrain.dev/pkg/fault"
)

// ErrUnasserted says that the server does not tell its configuration, so that nothing is known about it.
// Whoever starts a service says so in the log and goes on.
var ErrUnasserted = errors.New("the server does not tell its maxmemory-policy")

// ErrDamaged says that something in the store was not written by a Store. Only a restore or a reset of the
// shard repairs it; repeating what failed does not.
var ErrDamaged = errors.New("the state store holds something else")

// RedisOptions returns options for redis.NewUniversalClient that suit a Store: deadlines of contexts
// hold, commands are not repeated behind the caller's back, the pool is small. addr is host:port, the
// path of a unix socket, or several host:port separated by commas for a cluster.
func RedisOptions(addr string) *redis.UniversalOptions {
	return &redis.UniversalOptions{
		Addrs:                    strings.Split(addr, ","),
		ContextTimeoutEnabled:    true,
		MaxRetries:               -1,
		DialTimeout:              2 * time.Second,
		ReadTimeout:              5 * time.Second,
		WriteTimeout:             5 * time.Second,
		PoolSize:                 16,
		PoolTimeout:              time.Second,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// Assert checks what the server's configuration must promise: that it never evicts a key by itself.
// It returns ErrUnasserted, wrapped, if the server has CONFIG disabled.
func (r *Redis) Assert(ctx context.Context) error {
	if cluster, ok := r.client.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			return assertNoEviction(ctx, node)
		})
	}
	return assertNoEviction(ctx, r.client)
}

func assertNoEviction(ctx context.Context, node redis.Cmdable) error {
	const name = "maxmemory-policy"
	config, err := node.ConfigGet(ctx, name).Result()
	if _, refused := errors.AsType[redis.Error](err); refused {
		return fmt.Errorf("%w: %w", ErrUnasserted, err)
	}
	if err != nil {
		return unavailable(err, "read the server's %s", name)
	}
	switch policy := config[name]; policy {
	case "noeviction":
		return nil
	case "":
		return ErrUnasserted
	default:
		return fault.New(fault.Invalid, "the server's %s is %s, which drops states; it must be noeviction", name, policy)
	}
}
