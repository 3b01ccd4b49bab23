//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"refrain.dev/pkg/embed/cluster"
	"refrain.dev/pkg/embed/faultproxy"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
	"refrain.dev/tools/internal/fleet"
	"refrain.dev/tools/ledger"
)

// startWithin bounds every start, also on a machine that has other things to do.
const startWithin = 3 * time.Minute

// world is everything that runs.
type world struct {
	plan    plan
	brokers *cluster.Cluster
	nc      *nats.Conn
	site    *log.JetStream
	gen     log.Generation
	store   *store
	states  state.Store
	client  redis.UniversalClient

	provider *provider
	// contact is where suppression is found, whichever replica runs.
	contact    *faultproxy.Proxy
	replicas   []*replica
	workspaces []workspace
	sent       *ledger.Recorder // what clients sent
	tally      *tally
}

// services in the order of the flow.
func services() []string {
	return []string{"ingest", "profile", "decision", "suppression", "dispatch"}
}

// replicasOf is how many processes of each service there are.
const replicasOf = 2

// newWorld starts everything but the services. What it returns must be closed, also with an error.
func newWorld(ctx context.Context, p plan) (*world, error) {
	w := &world{plan: p, tally: newTally()}
	ctx, cancel := context.WithTimeout(ctx, 2*startWithin)
	defer cancel()
	for _, step := range []func(context.Context) error{w.build, w.startBrokers, w.startStore, w.startProvider, w.define, w.prepare} {
		if err := step(ctx); err != nil {
			return w, err
		}
	}
	return w, nil
}

func (w *world) path(name ...string) string {
	return filepath.Join(append([]string{w.plan.dir}, name...)...)
}

// random gives a part of the run choices of its own.
func (w *world) random(part uint64) *rand.Rand {
	return rand.New(rand.NewPCG(w.plan.seed, part)) //nolint:gosec // choices of a test
}

func (w *world) build(ctx context.Context) error {
	for _, dir := range []string{"bin", "brokers", "logs", "channels"} {
		if err := os.MkdirAll(w.path(dir), 0o700); err != nil {
			return fmt.Errorf("make directories: %w", err)
		}
	}
	return fleet.Build(ctx, w.path("bin"), services()...)
}

func (w *world) startBrokers(ctx context.Context) error {
	server, err := cluster.Build(ctx, w.path("bin"))
	if err != nil {
		return err
	}
	if w.brokers, err = cluster.Start(ctx, cluster.Config{Server: server, Dir: w.path("brokers")}); err != nil {
		return err
	}
	if w.nc, err = w.brokers.Connect(nats.ReconnectWait(100*time.Millisecond), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})); err != nil {
		return err
	}
	if w.site, err = log.NewJetStream(w.nc); err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	gen := log.Generation{Number: 1, Partitions: w.plan.partitions, Streams: 1, Replicas: len(w.brokers.Nodes())}
	if w.gen, err = log.Provision(ctx, w.site, gen, log.ProvisionConfig{Owner: "chaos"}); err != nil {
		return fmt.Errorf("provision: %w", err)
	}
	return w.brokers.WaitReady(ctx)
}

func (w *world) startStore(ctx context.Context) (err error) {
	if w.store, err = newStore(w.path("redis")); err != nil {
		return err
	}
	if err := w.store.start(ctx); err != nil {
		return err
	}
	w.client = w.store.client()
	w.states = state.NewRedis(w.client, w.gen.Number)
	return nil
}

// prepare makes the services' processes, and what clients need.
func (w *world) prepare(context.Context) (err error) {
	if w.sent, err = ledger.OpenRecorder(w.path("sent.jsonl")); err != nil {
		return err
	}
	if w.contact, err = faultproxy.Listen(""); err != nil {
		return err
	}
	for _, service := range services() {
		for n := range replicasOf {
			r, err := w.newReplica(service, n+1)
			if err != nil {
				return err
			}
			w.replicas = append(w.replicas, r)
		}
	}
	return nil
}

// of are the replicas of a service.
func (w *world) of(service string) []*replica {
	var out []*replica
	for _, r := range w.replicas {
		if r.service == service {
			out = append(out, r)
		}
	}
	return out
}

// close ends everything, in whatever state it is. Idempotent.
func (w *world) close() error {
	var wait sync.WaitGroup
	errs := make([]error, len(w.replicas))
	for n, r := range w.replicas {
		wait.Go(func() { errs[n] = r.close() })
	}
	wait.Wait()
	return errors.Join(errors.Join(errs...), w.closeClients(), w.closeServers())
}

func (w *world) closeClients() error {
	var errs []error
	if w.provider != nil {
		errs = append(errs, w.provider.close())
	}
	if w.sent != nil {
		errs = append(errs, w.sent.Close())
	}
	if w.contact != nil {
		errs = append(errs, w.contact.Close())
	}
	if w.client != nil {
		errs = append(errs, w.client.Close())
	}
	if w.nc != nil {
		w.nc.Close()
	}
	return errors.Join(errs...)
}

func (w *world) closeServers() error {
	var errs []error
	if w.store != nil {
		errs = append(errs, w.store.kill(), w.store.close())
	}
	if w.brokers != nil {
		errs = append(errs, w.brokers.Stop())
	}
	return errors.Join(errs...)
}
