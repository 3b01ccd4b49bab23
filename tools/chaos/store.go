//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"refrain.dev/pkg/embed"
	"refrain.dev/pkg/embed/child"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/state"
	"refrain.dev/tools/internal/fleet"
)

// store is a Redis with AOF that is killed, emptied and set back. Services reach it through proxies of their
// own, so it stays at one place. Its methods must not be called at the same time.
type store struct {
	binary, dir, socket string
	sockets             string // the directory of the socket, whose path must be short
	process             *child.Process
}

func newStore(dir string) (*store, error) {
	s := &store{dir: dir}
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil && s.binary == "" {
			s.binary = path
		}
	}
	if s.binary == "" {
		return nil, fault.As(fault.NotFound, embed.ErrNoRedis)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of redis: %w", err)
	}
	sockets, err := os.MkdirTemp("", "chaos")
	if err != nil {
		return nil, fmt.Errorf("make directory of the socket: %w", err)
	}
	s.sockets, s.socket = sockets, filepath.Join(sockets, "redis.sock")
	return s, nil
}

// start starts the server on what is in its directory and returns when it has loaded that.
func (s *store) start(ctx context.Context) error {
	out, err := os.OpenFile(filepath.Join(s.dir, "redis.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("keep the log of redis: %w", err)
	}
	defer out.Close() //nolint:errcheck // the process has its own handle
	s.process, err = child.Start(child.Config{Path: s.binary, Dir: s.dir, Output: out, Args: []string{
		"--port", "0", "--unixsocket", s.socket, "--unixsocketperm", "700", "--dir", s.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
	}})
	if err != nil {
		return fmt.Errorf("start redis: %w", err)
	}
	client := s.client()
	defer client.Close() //nolint:errcheck // it only asked
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	err = fleet.Await(ctx, "redis to answer", func() bool { return !s.process.Running() || client.Ping(ctx).Err() == nil })
	if err == nil && !s.process.Running() {
		err = fault.New(fault.Unavailable, "redis ended at once; see %s", out.Name())
	}
	return err
}

// client is a connection to it, also to the next server at the same place; the caller closes it.
func (s *store) client() redis.UniversalClient {
	return redis.NewUniversalClient(state.RedisOptions(s.socket))
}

// kill is kill -9.
func (s *store) kill() error {
	var err error
	if s.process != nil {
		err = s.process.Kill()
	}
	if err := os.Remove(s.socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the socket: %w", err)
	}
	return err
}

// forget removes what a dead server has written.
func (s *store) forget() error { return os.RemoveAll(s.data()) }

func (s *store) data() string { return filepath.Join(s.dir, "appendonlydir") }

// copyTries is how often a copy is tried that the server rewrites meanwhile.
const copyTries = 50

// keep copies what the running server has written so far to a place beside it.
func (s *store) keep(ctx context.Context) (string, error) {
	to := filepath.Join(s.dir, "kept")
	for range copyTries {
		if err := os.RemoveAll(to); err != nil {
			return "", fmt.Errorf("remove the old copy: %w", err)
		}
		before, errBefore := s.manifest()
		err := os.CopyFS(to, os.DirFS(s.data()))
		after, errAfter := s.manifest()
		if errors.Join(errBefore, err, errAfter) == nil && bytes.Equal(before, after) {
			return to, nil
		}
		fleet.Pause(ctx, 20*time.Millisecond)
		if ctx.Err() != nil {
			break
		}
	}
	return "", fault.New(fault.Unavailable, "copy %s: it did not stand still", s.data())
}

// manifest is the list of files that Redis keeps; while it does not change, files only grow.
func (s *store) manifest() ([]byte, error) {
	entries, err := os.ReadDir(s.data())
	if err != nil {
		return nil, fmt.Errorf("read the files of redis: %w", err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".manifest") {
			return os.ReadFile(filepath.Join(s.data(), e.Name()))
		}
	}
	return nil, fault.New(fault.NotFound, "read the files of redis: no manifest")
}

// setBack puts a copy in the place of what a dead server has written.
func (s *store) setBack(kept string) error {
	if err := s.forget(); err != nil {
		return err
	}
	if err := os.Rename(kept, s.data()); err != nil {
		return fmt.Errorf("set redis back: %w", err)
	}
	return nil
}

// close removes the socket's directory; the server must be dead.
func (s *store) close() error { return os.RemoveAll(s.sockets) }
