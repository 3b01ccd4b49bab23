// Package local runs a whole mesh in the process of a measuring tool, on the wall clock.
package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
	"refrain.dev/services/mesh/meshsvc"
)

// Mesh is one of five services. It must be closed.
type Mesh struct {
	*meshsvc.Mesh

	// Dir is where it keeps everything.
	Dir string
	// URL of ingest.
	URL string

	partitions     int
	patience, look time.Duration
	cancel         context.CancelFunc
	ended          chan error
}

// Config is what tools choose.
type Config struct {
	Mesh meshsvc.Config
	// Patience bounds every wait for the mesh, Look is how often it is looked at meanwhile.
	Patience, Look time.Duration
}

// Start starts a mesh on ports of its own and waits until it is ready.
func Start(ctx context.Context, c Config) (*Mesh, error) {
	cfg := c.Mesh
	cfg.LogLevel, cfg.NATSPort, cfg.GRPC, cfg.Admin, cfg.Ingest.HTTP = "error", -1, "127.0.0.1:0", "", "127.0.0.1:0"
	built, err := meshsvc.New(ctx, cfg, meshsvc.Env{Log: os.Stderr, Getenv: func(string) string { return "" }})
	if err != nil {
		return nil, fmt.Errorf("build the mesh: %w", err)
	}
	m := &Mesh{Mesh: built, Dir: cfg.Dir, partitions: cfg.Partitions, patience: c.Patience, look: c.Look, ended: make(chan error, 1)}
	var life context.Context
	life, m.cancel = context.WithCancel(ctx)
	go func() { m.ended <- m.Run(life) }()
	if err := m.Until(ctx, func() (bool, error) { return len(m.Ready()) == 0, nil }); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for the mesh: %w", err), m.Close())
	}
	m.URL = "http://" + m.Addr("ingest-http").String()
	return m, nil
}

// Close ends it.
func (m *Mesh) Close() error {
	m.cancel()
	if err := <-m.ended; err != nil {
		return fmt.Errorf("stop the mesh: %w", err)
	}
	return nil
}

// Until waits until ok says so; an error of ok ends the wait.
func (m *Mesh) Until(ctx context.Context, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, m.patience)
	defer cancel()
	tick := time.NewTicker(m.look)
	defer tick.Stop()
	for {
		done, err := ok()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Rest waits until no stage has written for a while: then everything that was to be done is.
func (m *Mesh) Rest(ctx context.Context, quiet time.Duration) error {
	var names []string
	for _, s := range log.Stages() {
		names = append(names, s.Name)
	}
	before, since := uint64(0), time.Now()
	return m.Until(ctx, func() (bool, error) {
		now := uint64(0) // positions only grow, so their sum tells whether one did
		for p := range m.partitions {
			v, err := m.Store().Read(ctx, p, state.Query{Metas: names})
			if err != nil {
				return false, fmt.Errorf("read how far partition %d is: %w", p, err)
			}
			for _, name := range names {
				now += v.Metas[name].Applied
			}
		}
		if now != before {
			before, since = now, time.Now()
		}
		return time.Since(since) > quiet, nil
	})
}

// Covered waits until some stages have covered what is stored in lanes now.
func (m *Mesh) Covered(ctx context.Context, lanes []string, stages ...string) error {
	for p := range m.partitions {
		for _, lane := range lanes {
			last, err := m.Site().Last(ctx, log.Subject(log.Lane(lane), p))
			if errors.Is(err, log.ErrNotFound) {
				continue
			}
			if err != nil {
				return fmt.Errorf("read the end of the %s lane of partition %d: %w", lane, p, err)
			}
			err = m.Until(ctx, func() (bool, error) { return m.covers(ctx, p, lane, last.Sequence, stages) })
			if err != nil {
				return fmt.Errorf("wait for the %s lane of partition %d: %w", lane, p, err)
			}
		}
	}
	return nil
}

func (m *Mesh) covers(ctx context.Context, partition int, lane string, sequence uint64, stages []string) (bool, error) {
	v, err := m.Store().Read(ctx, partition, state.Query{Metas: stages})
	if err != nil {
		return false, fmt.Errorf("read how far partition %d is: %w", partition, err)
	}
	for _, s := range stages {
		if v.Metas[s].Origins[lane] < sequence {
			return false, nil
		}
	}
	return true, nil
}
