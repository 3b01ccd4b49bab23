package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
	"refrain.dev/services/mesh/meshsvc"
	"refrain.dev/tools/publish"
)

const (
	// patience bounds every wait for the mesh.
	patience = time.Minute
	// quietFor is how long no stage may have written for the mesh to be at rest.
	quietFor = 100 * time.Millisecond
	lookEach = time.Millisecond
)

// running is a mesh of five services in this process.
type running struct {
	*meshsvc.Mesh

	dir    string
	client *publish.Client
	cancel context.CancelFunc
	ended  chan error
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
	cfg.Redis, cfg.LogLevel, cfg.Partitions = meshsvc.RedisMemory, "error", benchPartitions
	cfg.NATSPort, cfg.GRPC, cfg.Admin, cfg.Ingest.HTTP = -1, "127.0.0.1:0", "", "127.0.0.1:0"
	m, err := meshsvc.New(ctx, cfg, meshsvc.Env{Log: os.Stderr, Getenv: func(string) string { return "" }})
	if err != nil {
		return nil, err
	}
	r := &running{Mesh: m, dir: cfg.Dir, ended: make(chan error, 1)}
	var runCtx context.Context
	runCtx, r.cancel = context.WithCancel(ctx)
	go func() { r.ended <- m.Run(runCtx) }()
	if err := until(ctx, func() (bool, error) { return len(m.Ready()) == 0, nil }); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for the mesh: %w", err), r.close())
	}
	r.client = &publish.Client{URL: "http://" + m.Addr("ingest-http").String(), WriteKey: "bench", Patience: patience}
	return r, nil
}

func (r *running) close() error {
	r.cancel()
	if err := <-r.ended; err != nil {
		return fmt.Errorf("stop the mesh: %w", err)
	}
	return nil
}

// covered waits until what is stored in the live lane now has passed the stages.
func (r *running) covered(ctx context.Context, stages ...string) error {
	for p := range benchPartitions {
		last, err := r.Site().Last(ctx, log.Subject(log.Lane(log.LaneLive), p))
		if errors.Is(err, log.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the end of the lane: %w", err)
		}
		err = until(ctx, func() (bool, error) {
			v, err := r.Store().Read(ctx, p, state.Query{Metas: stages})
			if err != nil {
				return false, err
			}
			behind := slices.ContainsFunc(stages, func(s string) bool { return v.Metas[s].Origins[log.LaneLive] < last.Sequence })
			return !behind, nil
		})
		if err != nil {
			return fmt.Errorf("wait for partition %d: %w", p, err)
		}
	}
	return nil
}

// rest waits until no stage has written for a while.
func (r *running) rest(ctx context.Context) error {
	var names []string
	for _, s := range log.Stages() {
		names = append(names, s.Name)
	}
	before, since := uint64(0), time.Now()
	return until(ctx, func() (bool, error) {
		now := uint64(0) // positions only grow, so their sum tells whether one did
		for p := range benchPartitions {
			v, err := r.Store().Read(ctx, p, state.Query{Metas: names})
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

// mails is how many the file channel was given.
func (r *running) mails() (int, error) {
	data, err := os.ReadFile(filepath.Join(r.dir, "channels", "email.jsonl"))
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

// meshSuite compares the whole mesh, and a query to it, with a broker and an echo.
func meshSuite(ctx context.Context, dir string) (*suite, error) {
	m, err := startMesh(ctx, dir)
	if err != nil {
		return nil, err
	}
	s := &suite{close: m.close}
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
