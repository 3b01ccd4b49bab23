package embed_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"refrain.dev/pkg/embed"
	"refrain.dev/pkg/embed/embedtest"
)

// say sends one inline command and returns the first line of the answer.
func say(t *testing.T, addr, command string) string {
	t.Helper()
	conn, err := net.Dial("unix", addr)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
		t.Fatalf("write: %v", err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return strings.TrimSpace(line)
}

func TestRedisKeepsWhatItHasOverARestart(t *testing.T) {
	dir := t.TempDir()
	first := embedtest.RedisAt(t, dir)
	if got := say(t, first.Addr(), "SET kept yes"); got != "+OK" {
		t.Fatalf("SET = %q, want +OK", got)
	}
	if err := first.Stop(); err != nil {
		t.Fatalf("Stop: %v", err)
	}
	if err, ok := <-first.Exited(); err != nil || !ok {
		t.Errorf("Exited = %v, %v; want a clean exit", err, ok)
	}
	if err := first.Stop(); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	second := embedtest.RedisAt(t, dir)
	if got := say(t, second.Addr(), "EXISTS kept"); got != ":1" {
		t.Errorf("EXISTS after the restart = %q, want :1", got)
	}
}

func TestRedisSocketIsOursOnly(t *testing.T) {
	info, err := os.Stat(embedtest.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("socket has mode %o, want 700", got)
	}
}

func TestRedisInADeepDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 25))
	server := embedtest.RedisAt(t, dir)
	if len(server.Addr()) > 100 {
		t.Errorf("socket path has %d bytes, want at most 100", len(server.Addr()))
	}
	if got := say(t, server.Addr(), "PING"); got != "+PONG" {
		t.Errorf("PING = %q, want +PONG", got)
	}
	if err := server.Stop(); err != nil {
		t.Fatalf("Stop: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(server.Addr())); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's own directory is still there: %v", err)
	}
}

func TestRedisThatEndsIsNoticed(t *testing.T) {
	server := embedtest.RedisAt(t, t.TempDir())
	conn, err := net.Dial("unix", server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("SHUTDOWN NOSAVE\r\n")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-server.Exited():
	case <-time.After(10 * time.Second):
		t.Fatal("Exited delivered nothing")
	}
}

func TestStartRedisWithoutOne(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := embed.StartRedis(t.Context(), embed.RedisConfig{Dir: t.TempDir()})
	if !errors.Is(err, embed.ErrNoRedis) {
		t.Errorf("StartRedis = %v, want ErrNoRedis", err)
	}
}

func TestStartRedisThatFails(t *testing.T) {
	embedtest.Require(t, "redis")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "appendonlydir"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := embed.StartRedis(ctx, embed.RedisConfig{Dir: dir})
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("StartRedis = %v, want that it ended at once", err)
	}
}
