package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
	"refrain.dev/services/mesh/meshsvc"
	"refrain.dev/tools/internal/local"
)

const (
	// patience bounds every wait for the mesh.
	patience = 5 * time.Minute
	lookEach = 5 * time.Millisecond
)

// running is a mesh of five services in this process, and a client of it.
type running struct {
	*local.Mesh

	partitions int
	http       *http.Client
}

// startMesh runs a mesh on the wall clock with a workspace.
func startMesh(ctx context.Context, dir string, p plan) (*running, error) {
	cfg := meshsvc.Default()
	cfg.Dir, cfg.Workspace = filepath.Join(dir, "mesh"), p.workspace
	cfg.Redis, cfg.Partitions = p.redis, p.partitions
	if p.ingest != nil {
		p.ingest(&cfg.Ingest)
	}
	m, err := local.Start(ctx, local.Config{Mesh: cfg, Patience: patience, Look: lookEach})
	if err != nil {
		return nil, err
	}
	return &running{Mesh: m, partitions: p.partitions, http: &http.Client{
		Timeout: requestWithin, Transport: &http.Transport{MaxIdleConnsPerHost: mostOpen, DisableCompression: true},
	}}, nil
}

func (m *running) close() error {
	m.http.CloseIdleConnections()
	return m.Close()
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
	return m.Covered(ctx, []string{log.LaneLive, log.LaneBulk}, lastStage)
}

// quietFor is how long no stage may have written for the mesh to be at rest.
const quietFor = 2 * time.Second

// rest waits until no stage writes any more: then everything that was to be sent is.
func (m *running) rest(ctx context.Context) error { return m.Rest(ctx, quietFor) }
