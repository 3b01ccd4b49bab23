package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"

	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/source"
	"refrain.dev/pkg/state"
	"refrain.dev/pkg/telemetry"
)

// connect makes the connections and waits for the generation. What it opens is on the stack.
func (p *process) connect(ctx context.Context) (Deps, error) {
	deps, err := p.deps()
	if err != nil {
		return Deps{}, err
	}
	nc, err := p.connectNATS()
	if err != nil {
		return Deps{}, err
	}
	site, err := log.NewJetStream(nc)
	if err != nil {
		return Deps{}, fmt.Errorf("open the log: %w", err)
	}
	deps.NATS, deps.Broker, deps.KV, p.leases = nc, site, site.KV(), site.Leases()
	deps.Bundles, deps.Objects, deps.Retention = source.StoreOf(site), site.Objects(), p.cfg.Retention.Settings()
	p.logger.InfoContext(ctx, "waiting for the generation")
	if deps.Generation, err = log.LoadGeneration(ctx, site.KV()); err != nil {
		return Deps{}, err
	}
	if err := p.assert(ctx, site, deps.Generation); err != nil {
		return Deps{}, err
	}
	g := deps.Generation
	p.logger.InfoContext(ctx, "generation found", "generation", g.Number, "partitions", g.Partitions,
		"replicas", g.Replicas, "durability", log.ProbeDurability(ctx, nc).String())
	if p.settings.stateless {
		return deps, nil
	}
	deps.Store, err = p.connectRedis(ctx, g)
	return deps, err
}

// connectNATS keeps trying for ever: a service that is started before its broker waits for it.
func (p *process) connectNATS() (*nats.Conn, error) {
	opts := []nats.Option{
		nats.Name("refrain-" + p.name + "-" + p.cfg.Replica),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectBufSize(-1),
		// A server that is frozen or cut off is left within seconds; the default takes minutes.
		nats.PingInterval(2 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			p.logger.Warn("disconnected from NATS", telemetry.KeyError, err)
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			p.logger.Info("connected to NATS", telemetry.KeyAddress, nc.ConnectedUrlRedacted())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			p.logger.Warn("NATS reports an error", telemetry.KeyError, err)
		}),
	}
	if p.cfg.NATSCredentials != "" {
		opts = append(opts, nats.UserCredentials(p.cfg.NATSCredentials))
	}
	nc, err := nats.Connect(p.cfg.NATS, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	p.stack.Push("nats", func(context.Context) error {
		nc.Close()
		return nil
	})
	return nc, nil
}

// assert compares the streams with the generation. While one of them has no leader that cannot be: then it is
// tried again, for as long as it takes.
func (p *process) assert(ctx context.Context, site log.Site, g log.Generation) error {
	for {
		err := log.Assert(ctx, site, g)
		if !errors.Is(err, log.ErrUnknown) && fault.Of(err) != fault.Unavailable {
			return err
		}
		p.logger.WarnContext(ctx, "waiting for the streams", telemetry.KeyError, err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the streams: %w", errors.Join(ctx.Err(), err))
		case <-time.After(time.Second):
		}
	}
}

// connectRedis waits until Redis answers and checks that it will not evict states.
func (p *process) connectRedis(ctx context.Context, g log.Generation) (state.Store, error) {
	client := redis.NewUniversalClient(state.RedisOptions(p.cfg.Redis))
	p.stack.Push("redis", func(context.Context) error { return client.Close() })
	if err := p.instrument(client); err != nil {
		return nil, err
	}
	store := state.NewRedis(client, g.Number)
	for {
		err := store.Assert(ctx)
		if errors.Is(err, state.ErrUnasserted) {
			p.logger.WarnContext(ctx, "Redis does not tell its maxmemory-policy; make sure that it is noeviction")
			return store, nil
		}
		if fault.Of(err) != fault.Unavailable {
			return store, err
		}
		p.logger.WarnContext(ctx, "waiting for Redis", telemetry.KeyError, err)
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for Redis: %w", errors.Join(ctx.Err(), err))
		case <-time.After(time.Second):
		}
	}
}

// instrument adds spans and metrics where telemetry is on. Statements hold personal data and stay out.
func (p *process) instrument(client redis.UniversalClient) error {
	if !telemetry.Enabled(p.telemetry.Tracer, p.telemetry.Meter) {
		return nil
	}
	return errors.Join(
		redisotel.InstrumentTracing(client, redisotel.WithTracerProvider(p.telemetry.Tracer), redisotel.WithDBStatement(false)),
		redisotel.InstrumentMetrics(client, redisotel.WithMeterProvider(p.telemetry.Meter)),
	)
}
