package meshsvc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"refrain.dev/pkg/embed"
)

// restartAfter is how long a Redis that could not be started again is left alone.
const restartAfter = time.Second

// redisChild is the child process that keeps the states, started again whenever it ends: what it lost, the
// owners of the partitions copy into it from the log.
type redisChild struct {
	cfg    embed.RedisConfig
	logger *slog.Logger

	mu     sync.Mutex
	server *embed.RedisServer
}

func startRedis(ctx context.Context, cfg embed.RedisConfig, logger *slog.Logger) (*redisChild, error) {
	server, err := embed.StartRedis(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &redisChild{cfg: cfg, logger: logger, server: server}, nil
}

// Addr is where the child listens; it stays the same.
func (c *redisChild) Addr() string { return c.current().Addr() }

func (c *redisChild) current() *embed.RedisServer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server
}

// Run watches over the child until ctx ends.
func (c *redisChild) Run(ctx context.Context) error {
	for {
		select {
		case err := <-c.current().Exited():
			c.logger.WarnContext(ctx, "the redis child ended; it is started again, and the log brings its states back", "error", err)
		case <-ctx.Done():
			return nil
		}
		if err := c.again(ctx); err != nil {
			return err
		}
	}
}

// again starts the child anew, patiently.
func (c *redisChild) again(ctx context.Context) error {
	for ctx.Err() == nil {
		server, err := embed.StartRedis(ctx, c.cfg)
		if err == nil {
			return c.follow(server)
		}
		c.logger.WarnContext(ctx, "redis cannot be started", "error", err)
		timer := time.NewTimer(restartAfter)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return nil
}

// follow goes on with a new child, if it can be reached where the old one was.
func (c *redisChild) follow(server *embed.RedisServer) error {
	if server.Addr() != c.Addr() {
		return errors.Join(fmt.Errorf("redis listens on %s and did on %s", server.Addr(), c.Addr()), server.Stop())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server = server
	return nil
}

// Stop ends the child.
func (c *redisChild) Stop(context.Context) error { return c.current().Stop() }
