package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
	"refrain.dev/services/mesh/meshsvc"
)

const (
	// patience bounds every wait for the mesh.
	patience = 5 * time.Minute
	lookEach = 5 * time.Millisecond
)

// running is a mesh of five services in this process.
type running struct {
	*meshsvc.Mesh

	partitions int
	dir        string
	cancel     context.CancelFunc
	ended      chan error
	http       *http.Client
	url        string
}

// startMesh runs a mesh on the wall clock with a workspace.
func startMesh(ctx context.Context, dir string, p plan) (*running, error) {
	cfg := meshsvc.Default()
	cfg.Dir, cfg.Workspace = filepath.Join(dir, "mesh"), p.workspace
	cfg.Redis, cfg.LogLevel, cfg.Partitions = p.redis, "error", p.partitions
	cfg.NATSPort, cfg.GRPC, cfg.Admin, cfg.Ingest.HTTP = -1, "127.0.0.1:0", "", "127.0.0.1:0"
	if p.ingest != nil {
		p.ingest(&cfg.Ingest)
	}
	m, err := meshsvc.New(ctx, cfg, meshsvc.Env{Log: os.Stderr, Getenv: func(string) string { return "" }})
	if err != nil {
		return nil, fmt.Errorf("build the mesh: %w", err)
	}
	r := &running{Mesh: m, partitions: p.partitions, dir: cfg.Dir, ended: make(chan error, 1)}
	var runCtx context.Context
	runCtx, r.cancel = context.WithCancel(ctx)
	go func() { r.ended <- m.Run(runCtx) }()
	if err := until(ctx, func() (bool, error) { return len(m.Ready()) == 0, nil }); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for the mesh: %w", err), r.close())
	}
	r.url = "http://" + m.Addr("ingest-http").String()
	r.http = &http.Client{Timeout: requestWithin, Transport: &http.Transport{MaxIdleConnsPerHost: mostOpen, DisableCompression: true}}
	return r, nil
}

func (m *running) close() error {
	if m.http != nil {
		m.http.CloseIdleConnections()
	}
	m.cancel()
	if err := <-m.ended; err != nil {
		return fmt.Errorf("stop the mesh: %w", err)
	}
	return nil
}

// lastStage is the stage behind which an event is through.
const lastStage = "suppression"

// through is how far a partition's lanes have come through all stages up to lastStage.
func (m *running) through(ctx context.Context, partition int) (map[string]uint64, error) {
	v, err := m.Store().Read(ctx, partition, state.Query{Metas: []string{lastStage}})
	if err != nil {
		return nil, fmt.Errorf("read how far partition %d is: %w", partition, err)
	}
	return v.Metas[lastStage].Origins, nil
}

// settled waits until everything that is in the lanes now is through.
func (m *running) settled(ctx context.Context) error {
	for p := range m.partitions {
		for _, lane := range []string{log.LaneLive, log.LaneBulk} {
			last, err := m.Site().Last(ctx, log.Subject(log.Lane(lane), p))
			if errors.Is(err, log.ErrNotFound) {
				continue
			}
			if err != nil {
				return fmt.Errorf("read the end of the lane: %w", err)
			}
			err = until(ctx, func() (bool, error) {
				origins, err := m.through(ctx, p)
				return origins[lane] >= last.Sequence, err
			})
			if err != nil {
				return fmt.Errorf("wait for the %s lane of partition %d: %w", lane, p, err)
			}
		}
	}
	return nil
}

// quietFor is how long no stage may have written for the mesh to be at rest.
const quietFor = 2 * time.Second

// rest waits until no stage writes any more: then everything that was to be sent is.
func (m *running) rest(ctx context.Context) error {
	var names []string
	for _, s := range log.Stages() {
		names = append(names, s.Name)
	}
	before, since := uint64(0), time.Now()
	return until(ctx, func() (bool, error) {
		now := uint64(0) // positions only grow, so their sum tells whether one did
		for p := range m.partitions {
			v, err := m.Store().Read(ctx, p, state.Query{Metas: names})
			if err != nil {
				return false, err
			}
			for _, name := range names {
				now += v.Metas[name].Applied
			}
		}
		if now != before {
			before, since = now, time.Now()
		}
		return time.Since(since) > quietFor, nil
	})
}

func until(ctx context.Context, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(lookEach)
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
