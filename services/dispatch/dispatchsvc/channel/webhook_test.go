package channel

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/delivery"
)

func hook(t *testing.T, url string) Adapter {
	t.Helper()
	a, err := Build(&definitionv1.Channel{Adapter: "webhook", Config: map[string]string{"url": url, "secret_env": "HOOK_SECRET"}}, local(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func send(t *testing.T, a Adapter, m Message) delivery.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	return a.Send(ctx, m)
}

func TestWebhookIsSignedAsTheOfficialLibraryVerifies(t *testing.T) {
	var got Payload
	var verified error
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		verifier, _ := standardwebhooks.NewWebhook(secret)
		verified = verifier.Verify(body, r.Header)
		if r.Header.Get("webhook-id") != "p1" || r.Header.Get("Idempotency-Key") != "" {
			verified = errors.Join(verified, errors.New("wrong headers"))
		}
		var envelope struct{ Data Payload }
		_ = json.Unmarshal(body, &envelope)
		got = envelope.Data
		_, _ = io.WriteString(w, `{"id":"prov-7"}`)
	}))
	defer server.Close()
	r := send(t, hook(t, server.URL), message("p1"))
	isAccepted().check(t, r)
	if r.ProviderID != "prov-7" {
		t.Errorf("provider id = %q, want prov-7", r.ProviderID)
	}
	if verified != nil {
		t.Errorf("the official library refuses the signature: %v", verified)
	}
	if got.Proposal != "p1" || got.Context["total"] != 12.5 || got.Token != "tok" {
		t.Errorf("payload = %+v", got)
	}
}

// While a secret is rotated a receiver with either verifies; after its end the old one is not used any more.
func TestWebhookIsSignedWithTheOldSecretUntilItEnds(t *testing.T) {
	const old = "whsec_b2xkIHNlY3JldCBvZiB0aGUgd2ViaG9vaw=="
	opts := local(t)
	known := opts.Secret
	opts.Secret = func(name string) (string, bool) {
		if name == "OLD_SECRET" {
			return old, true
		}
		return known(name)
	}
	for _, c := range []struct {
		config map[string]string
		both   bool
	}{
		{map[string]string{}, false},
		{map[string]string{"old_secret_env": "OLD_SECRET"}, true},
		{map[string]string{"old_secret": old}, true},
		{map[string]string{"old_secret_env": "OLD_SECRET", "old_secret_until": time.Now().Add(time.Hour).Format(time.RFC3339)}, true},
		{map[string]string{"old_secret_env": "OLD_SECRET", "old_secret_until": "2020-01-01T00:00:00Z"}, false},
		{map[string]string{"old_secret_env": "GONE", "old_secret_until": "2020-01-01T00:00:00Z"}, false},
	} {
		var withNew, withOld error
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			for given, err := range map[string]*error{secret: &withNew, old: &withOld} {
				verifier, _ := standardwebhooks.NewWebhook(given)
				*err = verifier.Verify(body, r.Header)
			}
		}))
		config := map[string]string{"url": server.URL, "secret_env": "HOOK_SECRET"}
		maps.Copy(config, c.config)
		a, err := Build(&definitionv1.Channel{Adapter: "webhook", Config: config}, opts)
		if err != nil {
			t.Fatal(err)
		}
		isAccepted().check(t, send(t, a, message("p1")))
		if withNew != nil || (withOld == nil) != c.both {
			t.Errorf("%v: with the secret %v, with the old one %v, want it to verify: %v", c.config, withNew, withOld, c.both)
		}
		_ = a.Close()
		server.Close()
	}
	for _, wrong := range []map[string]string{
		{"old_secret_env": "GONE"}, {"old_secret_env": "OLD_SECRET", "old_secret_until": "tomorrow"},
	} {
		config := map[string]string{"url": "http://127.0.0.1:1", "secret_env": "HOOK_SECRET"}
		maps.Copy(config, wrong)
		if _, err := Build(&definitionv1.Channel{Adapter: "webhook", Config: config}, opts); err == nil {
			t.Errorf("%v was accepted", wrong)
		}
	}
}

func TestWebhookStatuses(t *testing.T) {
	for status, want := range map[int]outcome{
		200: isAccepted(), 202: isAccepted(), 204: isAccepted(),
		301: isRejected(), 302: isRejected(), 303: isUnknown(), 307: isRejected(), 308: isRejected(),
		400: isRejected(), 401: isRejected(), 403: isRejected(), 404: isRejected(), 408: isUnknown(), 409: isUnknown(),
		413: isRejected(), 422: isRejected(), 429: isLater(),
		500: isUnknown(), 502: isUnknown(), 503: isUnknown(), 504: isUnknown(),
	} {
		var calls atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			w.Header().Set("Retry-After", "90")
			w.Header().Set("Location", "/again")
			w.WriteHeader(status)
		}))
		r := send(t, hook(t, server.URL), message("p"))
		server.Close()
		if got := (outcome{r.Status, r.Transient}); got != want {
			t.Errorf("%d: %v, want %v", status, got, want)
		}
		if status == 429 && r.RetryAfter != 90*time.Second {
			t.Errorf("Retry-After = %v, want 90 s", r.RetryAfter)
		}
		if calls.Load() != 1 {
			t.Errorf("%d: %d calls, want 1", status, calls.Load())
		}
	}
}

// misbehave is a server that does what it likes with each connection.
func misbehave(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func reset(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }

func readRequest(c net.Conn) {
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err == nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
}

func TestWebhookWithAMisbehavingReceiver(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	_ = closed.Close()
	var requests atomic.Int32
	tests := map[string]struct {
		address string
		want    outcome
	}{
		"nobody listens": {nobody, isLater()},
		"reset after the request": {misbehave(t, func(c net.Conn) {
			readRequest(c)
			requests.Add(1)
			reset(c)
		}), isUnknown()},
		"closed without an answer": {misbehave(t, readRequest), isUnknown()},
		"garbage for an answer": {misbehave(t, func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "\x00\x01 what?\r\n\r\n")
		}), isUnknown()},
		"half an answer": {misbehave(t, func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le")
		}), isUnknown()},
		"yes, and then half a body": {misbehave(t, func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"id\":")
		}), isAccepted()},
		"yes, and then garbage": {misbehave(t, func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n\x00what")
		}), isAccepted()},
		"a status that is none": {misbehave(t, func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 999 Perhaps\r\nContent-Length: 0\r\n\r\n")
		}), isUnknown()},
		"processing, and then nothing": {misbehave(t, func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 102 Processing\r\n\r\n")
		}), isUnknown()},
		"no, before the request is read to its end": {misbehave(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			_, _ = io.WriteString(c, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
			readRequest(c)
		}), isUnknown()},
		"no answer in time": {misbehave(t, func(c net.Conn) {
			readRequest(c)
			_, _ = io.Copy(io.Discard, c)
		}), isUnknown()},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			tt.want.check(t, hook(t, "http://"+tt.address).Send(ctx, message("p")))
		})
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("the reset request came %d times, want 1: the transport must not repeat it", n)
	}
}

// A connection that the receiver closed while it was idle must not make the transport repeat a request.
func TestWebhookIsNotRepeatedOnAReusedConnection(t *testing.T) {
	var requests atomic.Int32
	address := misbehave(t, func(c net.Conn) {
		readRequest(c)
		requests.Add(1)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
		readRequest(c)
		requests.Add(1)
		reset(c)
	})
	a := hook(t, "http://"+address)
	isAccepted().check(t, send(t, a, message("p1")))
	isUnknown().check(t, send(t, a, message("p2")))
	if n := requests.Load(); n != 2 {
		t.Errorf("requests = %d, want 2", n)
	}
}

func TestTLSErrorsAreUnsent(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler()) // its certificate is nobody's
	defer server.Close()
	server.Config.ErrorLog = nil
	isLater().check(t, send(t, hook(t, server.URL), message("p")))
}

func TestForbiddenAddresses(t *testing.T) {
	g := guard{allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}
	for address, allowed := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "10.1.2.3": true, "::ffff:10.1.2.3": true,
		"127.0.0.1": false, "::1": false, "10.2.0.1": false, "172.16.0.1": false, "192.168.1.1": false,
		"169.254.169.254": false, "fe80::1": false, "fd00::1": false, "100.64.0.1": false, "0.0.0.0": false,
		"::": false, "224.0.0.1": false, "ff02::1": false, "::ffff:127.0.0.1": false, "64:ff9b::7f00:1": false,
		"255.255.255.255": false, "198.18.0.1": false, "2002:7f00:1::": false, "192.0.2.1": false,
	} {
		if err := g.check(netip.MustParseAddr(address)); (err == nil) != allowed {
			t.Errorf("%s: %v, want allowed = %v", address, err, allowed)
		}
	}
	a, err := Build(&definitionv1.Channel{Adapter: "webhook", Config: map[string]string{"url": "http://localhost:1", "secret": "x"}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	isUnsent().check(t, send(t, a, message("p")))
}

func TestWebhookSettings(t *testing.T) {
	for name, config := range map[string]map[string]string{
		"no url":         {"secret": "x"},
		"another scheme": {"url": "ftp://x", "secret": "x"},
		"no secret":      {"url": "http://x"},
		"unset secret":   {"url": "http://x", "secret_env": "NOT_SET"},
	} {
		if _, err := Build(&definitionv1.Channel{Adapter: "webhook", Config: config}, local(t)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
