package faultproxy_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"refrain.dev/pkg/embed/faultproxy"
)

// within bounds what must happen; nothing is measured against it.
const within = 20 * time.Second

// quiet is how long nothing must be heard.
const quiet = 50 * time.Millisecond

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo listens on a network and sends every line back, until the test's end.
func echo(t *testing.T, network, address string) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close() //nolint:errcheck // the test's end
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return l.Addr().String()
}

func proxy(t *testing.T, target string) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.Listen(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(p.Close(), p.Close()); err != nil {
			t.Error(err)
		}
	})
	return p
}

type client struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, p *faultproxy.Proxy) client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", p.Addr(), within)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return client{t, conn, bufio.NewReader(conn)}
}

func (c client) send(line string) {
	c.t.Helper()
	if _, err := c.Write([]byte(line + "\n")); err != nil {
		c.t.Fatal(err)
	}
}

func (c client) hears(want string) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(within))
	if got, err := c.in.ReadString('\n'); err != nil || got != want+"\n" {
		c.t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

// hearsNothing must not be used after a part of a line arrived.
func (c client) hearsNothing() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(quiet))
	if b, err := c.in.Peek(1); len(b) > 0 || !isTimeout(err) {
		c.t.Fatalf("got %q, %v; want nothing", b, err)
	}
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

func (c client) isReset() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(within))
	if _, err := c.in.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatalf("got %v, want a reset", err)
	}
}

// isReset checks that a new connection is reset, at once or a little later.
func isReset(t *testing.T, p *faultproxy.Proxy) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", p.Addr(), within)
	if errors.Is(err, syscall.ECONNRESET) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	client{t, conn, bufio.NewReader(conn)}.isReset()
}

func TestForwardsBothWaysAndEnds(t *testing.T) {
	for _, target := range []string{echo(t, "tcp", "127.0.0.1:0"), echo(t, "unix", filepath.Join(t.TempDir(), "s"))} {
		p := proxy(t, target)
		c := dial(t, p)
		c.send("one")
		c.hears("one")
		large := strings.Repeat("x", 10<<20)
		go func() {
			if _, err := io.WriteString(c, large+"\n"); err != nil {
				t.Error(err)
			}
		}()
		c.hears(large)
		tcp, ok := c.Conn.(*net.TCPConn)
		if !ok || tcp.CloseWrite() != nil {
			t.Fatal("close one side")
		}
		if _, err := c.in.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want an orderly end", err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestCutResetsOldAndNew(t *testing.T) {
	p := proxy(t, echo(t, "tcp", "127.0.0.1:0"))
	old := dial(t, p)
	old.send("one")
	old.hears("one")
	p.Cut()
	old.isReset()
	isReset(t, p)
	p.Restore()
	c := dial(t, p)
	c.send("two")
	c.hears("two")
}

func TestBlackholeHoldsAndDeliversLater(t *testing.T) {
	p := proxy(t, echo(t, "tcp", "127.0.0.1:0"))
	c := dial(t, p)
	c.send("zero")
	c.hears("zero")
	p.Blackhole(faultproxy.Both)
	c.send("one")
	fresh := dial(t, p)
	fresh.send("fresh")
	c.hearsNothing()
	fresh.hearsNothing()
	p.Restore()
	c.hears("one")
	fresh.hears("fresh")
}

// With only the way back closed the target does what it is asked, and nobody hears of it.
func TestBlackholeOneWay(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a test
	p := proxy(t, l.Addr().String())
	c := dial(t, p)
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server := client{t, conn, bufio.NewReader(conn)}
	for _, way := range []faultproxy.Direction{faultproxy.Back, faultproxy.Forth} {
		p.Blackhole(way)
		hears, deaf := server, c
		if way == faultproxy.Forth {
			hears, deaf = c, server
		}
		deaf.send("to the one that hears")
		hears.hears("to the one that hears")
		hears.send("to the deaf one")
		deaf.hearsNothing()
		p.Restore()
		deaf.hears("to the deaf one")
	}
}

func TestDelayKeepsOrder(t *testing.T) {
	p := proxy(t, echo(t, "tcp", "127.0.0.1:0"))
	c := dial(t, p)
	const delay = 30 * time.Millisecond
	p.Delay(delay)
	before := time.Now()
	for _, line := range []string{"one", "two", "three"} {
		c.send(line)
	}
	for _, line := range []string{"one", "two", "three"} {
		c.hears(line)
	}
	if took := time.Since(before); took < 2*delay {
		t.Errorf("there and back took %s, want at least %s", took, 2*delay)
	}
	p.Delay(time.Hour)
	c.send("four")
	c.hearsNothing()
	p.Restore()
	c.hears("four")
}

func TestRetarget(t *testing.T) {
	p := proxy(t, "")
	isReset(t, p)
	p.Retarget(echo(t, "tcp", "127.0.0.1:0"))
	c := dial(t, p)
	c.send("one")
	c.hears("one")
	p.Retarget("127.0.0.1:1")
	c.send("two")
	c.hears("two")
	isReset(t, p)
}

func TestCloseEndsWhatIsHeldUp(t *testing.T) {
	p := proxy(t, echo(t, "tcp", "127.0.0.1:0"))
	c := dial(t, p)
	c.send("one")
	c.hears("one")
	p.Blackhole(faultproxy.Both)
	c.send("two")
	waits := dial(t, p)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	c.isReset()
	waits.isReset()
	if _, err := net.DialTimeout("tcp", p.Addr(), within); err == nil {
		t.Error("the port is still open")
	}
}
