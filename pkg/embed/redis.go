package embed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"refrain.dev/pkg/fault"
)

// ErrNoRedis says that neither redis-server nor valkey-server is on the PATH.
var ErrNoRedis = errors.New("neither redis-server nor valkey-server is on the PATH")

const (
	// socketPathMax keeps clear of the limit of a unix socket's path, 108 bytes on Linux, 104 elsewhere.
	socketPathMax = 100
	// redisStopWithin is how long the server may take to end before it is killed.
	redisStopWithin = 5 * time.Second
	// redisPoll is how often a starting server is asked.
	redisPoll = 10 * time.Millisecond
)

// RedisConfig says where the server keeps its files.
type RedisConfig struct {
	// Dir is the server's own directory, made if it is not there. What an earlier server left in it is
	// loaded.
	Dir string
}

// RedisServer is a Redis or Valkey server that runs as a child of this process and ends with it. It
// listens on a unix socket only, which nobody else may open.
type RedisServer struct {
	socket  string
	tempDir string
	command *exec.Cmd
	ended   chan struct{}
	exited  chan error
}

// StartRedis starts the server that it finds on the PATH and returns when it answers; ctx bounds the
// start only, which with much to load takes as long as loading does. It returns ErrNoRedis, wrapped,
// if there is no server. The log is written once a second and nothing is ever evicted.
func StartRedis(ctx context.Context, cfg RedisConfig) (*RedisServer, error) {
	binary, err := findRedis()
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("resolve directory %s: %w", cfg.Dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of redis: %w", err)
	}
	s := &RedisServer{ended: make(chan struct{}), exited: make(chan error, 1)}
	if err := s.chooseSocket(dir); err != nil {
		return nil, err
	}
	if err := s.start(binary, dir); err != nil {
		return nil, errors.Join(err, s.clean())
	}
	if err := s.await(ctx, filepath.Join(dir, "redis.log")); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func findRedis() (string, error) {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fault.As(fault.NotFound, ErrNoRedis)
}

// chooseSocket puts the socket into dir, or into a directory of its own if that path is too long.
func (s *RedisServer) chooseSocket(dir string) error {
	s.socket = filepath.Join(dir, "redis.sock")
	if len(s.socket) <= socketPathMax {
		return nil
	}
	temp, err := os.MkdirTemp("", "refrain")
	if err != nil {
		return fmt.Errorf("make directory of the socket: %w", err)
	}
	s.tempDir, s.socket = temp, filepath.Join(temp, "redis.sock")
	if len(s.socket) > socketPathMax {
		return errors.Join(fault.New(fault.Invalid, "no path is short enough for a socket: %s", s.socket), s.clean())
	}
	return nil
}

func (s *RedisServer) start(binary, dir string) error {
	s.command = exec.Command(binary, //nolint:gosec // found on the PATH; it outlives the context of the start
		"--port", "0", "--unixsocket", s.socket, "--unixsocketperm", "700", "--dir", dir,
		"--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
		"--maxmemory-policy", "noeviction", "--daemonize", "no", "--logfile", filepath.Join(dir, "redis.log"))
	s.command.Dir = dir
	s.command.SysProcAttr = childAttributes()
	started := make(chan error)
	go s.supervise(started)
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", binary, err)
	}
	return nil
}

// supervise starts the child and waits for it, on a thread that nothing else uses: Linux sends the
// parent-death signal when the thread that started the child ends.
func (s *RedisServer) supervise(started chan<- error) {
	runtime.LockOSThread()
	err := s.command.Start()
	started <- err
	if err != nil {
		return
	}
	if err = s.command.Wait(); err != nil {
		err = fmt.Errorf("redis exited: %w", err)
	}
	close(s.ended)
	s.exited <- err
	close(s.exited)
}

// await asks the server until it answers that it is loaded.
func (s *RedisServer) await(ctx context.Context, logFile string) error {
	tick := time.NewTicker(redisPoll)
	defer tick.Stop()
	for {
		if ping(s.socket) {
			return nil
		}
		select {
		case <-s.ended:
			return fault.New(fault.Unavailable, "start redis: it ended at once; see %s", logFile)
		case <-ctx.Done():
			return fmt.Errorf("start redis: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// ping says whether the server answers, which it does only when it has loaded its files.
func ping(socket string) bool {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close() //nolint:errcheck // nothing was written that could be lost
	if conn.SetDeadline(time.Now().Add(time.Second)) != nil {
		return false
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	answer := make([]byte, 16)
	n, err := conn.Read(answer)
	return err == nil && strings.HasPrefix(string(answer[:n]), "+PONG")
}

// Addr is the path of the socket, as state.RedisOptions takes it.
func (s *RedisServer) Addr() string { return s.socket }

// Exited delivers how the server ended, once, also when it was stopped; then it is closed.
func (s *RedisServer) Exited() <-chan error { return s.exited }

// Stop asks the server to write what it has and end, kills it if it does not within five seconds, and
// returns when it is gone. Idempotent.
func (s *RedisServer) Stop() error {
	if err := s.command.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop redis: %w", err)
	}
	timeout := time.NewTimer(redisStopWithin)
	defer timeout.Stop()
	select {
	case <-s.ended:
		return s.clean()
	case <-timeout.C:
	}
	if err := s.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill redis: %w", err)
	}
	<-s.ended
	return errors.Join(fault.New(fault.Unavailable, "redis did not end within %s and was killed", redisStopWithin), s.clean())
}

// clean removes the directory that was made for the socket only.
func (s *RedisServer) clean() error {
	if s.tempDir == "" {
		return nil
	}
	return os.RemoveAll(s.tempDir)
}
