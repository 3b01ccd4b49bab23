package channel

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
)

func natsServer(t *testing.T) (*server.Server, *nats.Conn) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	conn, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return s, conn
}

func natsChannel(t *testing.T, o Options, config map[string]string) Adapter {
	t.Helper()
	a, err := Build(&definitionv1.Channel{Adapter: "nats", Config: config}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func TestNATSSubject(t *testing.T) {
	s, conn := natsServer(t)
	sub, err := conn.SubscribeSync("out.push")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	own := natsChannel(t, local(t), map[string]string{"url": s.ClientURL(), "subject": "out.push"})
	shared := natsChannel(t, Options{NATS: conn}, map[string]string{"subject": "out.push"})
	for name, a := range map[string]Adapter{"own": own, "shared": shared} {
		isAccepted().check(t, send(t, a, message(name)))
		msg, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var p Payload
		if err := json.Unmarshal(msg.Data, &p); err != nil || p.Proposal != name || msg.Header.Get("Nats-Msg-Id") != name {
			t.Errorf("message = %+v %v %v", p, msg.Header, err)
		}
	}
	_ = shared.Close()
	if conn.IsClosed() {
		t.Error("the shared connection was closed")
	}
	down := conn.StatusChanged(nats.RECONNECTING)
	s.Shutdown()
	s.WaitForShutdown()
	<-down
	isLater().check(t, send(t, shared, message("down")))
}

func TestNATSStream(t *testing.T) {
	s, conn := natsServer(t)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	a := natsChannel(t, local(t), map[string]string{"url": s.ClientURL(), "subject": "push.all", "stream": "true"})
	isLater().check(t, send(t, a, message("p0")))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "PUSH", Subjects: []string{"push.>"}}); err != nil {
		t.Fatal(err)
	}
	r := send(t, a, message("p1"))
	isAccepted().check(t, r)
	if !strings.HasPrefix(r.ProviderID, "PUSH/") {
		t.Errorf("provider id = %q, want PUSH/…", r.ProviderID)
	}
}

// What takes the subject need not be a stream, and a stream may say anything: only what proves that the message was
// not stored is tried again.
func TestNATSWithALyingStream(t *testing.T) {
	s, conn := natsServer(t)
	api := func(code int, text string) string {
		return fmt.Sprintf(`{"error":{"code":503,"err_code":%d,"description":%q}}`, code, text)
	}
	tests := map[string]struct {
		answer string // empty: none
		want   outcome
	}{
		"no answer":                   {"", isUnknown()},
		"garbage":                     {"\x00 what?", isUnknown()},
		"an empty answer":             {"{}", isUnknown()},
		"a leader that has changed":   {api(10008, "JetStream system temporarily unavailable"), isUnknown()},
		"a duplicate in process":      {api(10158, "duplicate message id is in process"), isUnknown()},
		"an error that nobody knows":  {api(19999, "perhaps"), isUnknown()},
		"a disk that failed":          {api(10077, "write /data: input/output error"), isUnknown()},
		"a stream that is full":       {api(10077, "maximum messages exceeded"), isLater()},
		"no storage":                  {api(10047, "insufficient storage resources available"), isLater()},
		"a stream that is sealed":     {api(10109, "invalid operation on sealed stream"), isLater()},
		"a message that is too large": {api(10054, "message size exceeds maximum allowed"), isRejected()},
		"a duplicate that was known":  {`{"stream":"PUSH","seq":7,"duplicate":true}`, isAccepted()},
	}
	n := 0
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n++
			subject := fmt.Sprintf("lies.%d", n)
			var asked atomic.Int32
			sub, err := conn.Subscribe(subject, func(m *nats.Msg) {
				asked.Add(1)
				if tt.answer != "" {
					_ = m.Respond([]byte(tt.answer))
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = sub.Unsubscribe() }()
			if err := conn.Flush(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			a := natsChannel(t, local(t), map[string]string{"url": s.ClientURL(), "subject": subject, "stream": "true"})
			tt.want.check(t, a.Send(ctx, message("p")))
			if asked.Load() != 1 {
				t.Errorf("published %d times, want once", asked.Load())
			}
		})
	}
}

// The server is gone between the publish and its answer.
func TestNATSServerThatStopsInBetween(t *testing.T) {
	address := misbehave(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "INFO {\"server_id\":\"x\",\"version\":\"2.11.0\",\"max_payload\":1048576,\"headers\":true}\r\n")
		lines := bufio.NewReader(c)
		pinged := false
		for {
			line, err := lines.ReadString('\n')
			switch {
			case err != nil, strings.HasPrefix(line, "HPUB"):
				return
			case strings.HasPrefix(line, "PING") && !pinged:
				pinged = true
				_, _ = io.WriteString(c, "PONG\r\n")
			}
		}
	})
	a := natsChannel(t, local(t), map[string]string{"url": "nats://" + address, "subject": "x"})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	isUnknown().check(t, a.Send(ctx, message("p")))
}

func TestNATSNobodyThere(t *testing.T) {
	isLater().check(t, send(t, natsChannel(t, local(t), map[string]string{"url": "nats://127.0.0.1:1", "subject": "x"}), message("p")))
	for name, config := range map[string]map[string]string{
		"no server": {"subject": "x"}, "no subject": {"url": "nats://127.0.0.1"}, "wildcard": {"url": "nats://127.0.0.1", "subject": "x.>"},
	} {
		if _, err := Build(&definitionv1.Channel{Adapter: "nats", Config: config}, local(t)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
