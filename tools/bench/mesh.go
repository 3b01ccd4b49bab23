package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"refrain.dev/pkg/log"
	"refrain.dev/services/mesh/meshsvc"
	"refrain.dev/tools/internal/local"
	"refrain.dev/tools/publish"
)

const (
	// patience bounds every wait for the mesh.
	patience = time.Minute
	// quietFor is how long no stage may have written for the mesh to be at rest.
	quietFor = 100 * time.Millisecond
	lookEach = time.Millisecond
)

// running is a mesh of five services in this process, and a client of it.
type running struct {
	*local.Mesh

	client *publish.Client
}

// startMesh runs a mesh on the wall clock with the workspace of the benchmark and states in memory.
func startMesh(ctx context.Context, dir string) (*running, error) {
	files, err := workspace()
	if err != nil {
		return nil, fmt.Errorf("open the workspace: %w", err)
	}
	cfg := meshsvc.Default()
	cfg.Dir, cfg.Workspace = filepath.Join(dir, "mesh"), filepath.Join(dir, "workspace")
	if err := os.CopyFS(cfg.Workspace, files); err != nil {
		return nil, fmt.Errorf("write the workspace: %w", err)
	}
	cfg.Redis, cfg.Partitions = meshsvc.RedisMemory, benchPartitions
	m, err := local.Start(ctx, local.Config{Mesh: cfg, Patience: patience, Look: lookEach})
	if err != nil {
		return nil, err
	}
	return &running{Mesh: m, client: &publish.Client{URL: m.URL, WriteKey: "bench", Patience: patience}}, nil
}

// covered waits until what is stored in the live lane now has passed the stages.
func (r *running) covered(ctx context.Context, stages ...string) error {
	return r.Covered(ctx, []string{log.LaneLive}, stages...)
}

// rest waits until no stage has written for a while.
func (r *running) rest(ctx context.Context) error { return r.Rest(ctx, quietFor) }

// mails is how many the file channel was given.
func (r *running) mails() (int, error) {
	data, err := os.ReadFile(filepath.Join(r.Dir, "channels", "email.jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read what the channel was given: %w", err)
	}
	n := 0
	for _, b := range data {
		if b == '\n' {
			n++
		}
	}
	return n, nil
}

// meshSuite compares the whole mesh, and a query to it, with a broker and an echo.
func meshSuite(ctx context.Context, dir string) (*suite, error) {
	m, err := startMesh(ctx, dir)
	if err != nil {
		return nil, err
	}
	s := &suite{close: m.Close}
	for _, build := range []func(context.Context, *running, string) (*suite, error){queries, pipeline} {
		part, err := build(ctx, m, dir)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		before := s.close
		s.figures, s.close = append(s.figures, part.figures...), func() error { return errors.Join(part.close(), before()) }
	}
	return s, nil
}
