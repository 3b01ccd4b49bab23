package channel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/embed/embedtest"
)

// relay is a real SMTP server that refuses where it is told to.
type relay struct {
	refuse map[string]error

	mu    sync.Mutex
	mails []string
	to    []string
}

func (r *relay) NewSession(*smtp.Conn) (smtp.Session, error) {
	return &session{relay: r}, r.refuse["HELO"]
}

type session struct {
	relay *relay
	to    string
}

func (s *session) Reset()                               {}
func (s *session) Logout() error                        { return nil }
func (s *session) Mail(string, *smtp.MailOptions) error { return s.relay.refuse["MAIL"] }
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return s.relay.refuse["RCPT"]
}

func (s *session) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := s.relay.refuse["DATA"]; err != nil {
		return err
	}
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	s.relay.mails, s.relay.to = append(s.relay.mails, string(text)), append(s.relay.to, s.to)
	return nil
}

func startRelay(t *testing.T, r *relay) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := smtp.NewServer(r)
	server.Domain = "localhost"
	server.ErrorLog = quiet{}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		_ = server.Close()
		_ = l.Close() // a server that has not begun to serve does not know it
		wg.Wait()
	})
	return l.Addr().String()
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

func mailer(t *testing.T, address string) Adapter {
	t.Helper()
	a, err := Build(&definitionv1.Channel{Adapter: "smtp", Config: map[string]string{
		"address": address, "from": "Der Shop <shop@shop.example>",
	}}, local(t))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// checkMail compares a received mail with message("p1").
func checkMail(t *testing.T, m *mail.Message) {
	t.Helper()
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil || subject != "Grüße, Ada" {
		t.Errorf("Subject = %q %v", subject, err)
	}
	for header, want := range map[string]string{
		"List-Unsubscribe": "<http://127.0.0.1:8080/u/tok>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
		"List-Id": "<news.shop.example>", "Message-Id": "<p1@", "To": "ada@shop.example", "From": "shop@shop.example",
		"Content-Transfer-Encoding": "quoted-printable", "Date": "2 Mar 2026 09:00:00 +0000", "Content-Type": "utf-8",
	} {
		if got := m.Header.Get(header); !strings.Contains(got, want) {
			t.Errorf("%s = %q, want %q in it", header, got, want)
		}
	}
	raw, err := io.ReadAll(m.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if len(line) > 80 {
			t.Errorf("a line of %d octets", len(line))
		}
	}
	body, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(string(raw))))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.ReplaceAll(string(body), "\r\n", "\n"); strings.TrimSpace(got) != strings.TrimSpace(message("p1").Body) {
		t.Errorf("body = %q, want %q", got, message("p1").Body)
	}
}

func TestMailIsReceivedAsItWasSent(t *testing.T) {
	r := &relay{}
	isAccepted().check(t, send(t, mailer(t, startRelay(t, r)), message("p1")))
	if len(r.mails) != 1 || r.to[0] != "ada@shop.example" {
		t.Fatalf("mails = %d to %v, want one", len(r.mails), r.to)
	}
	m, err := mail.ReadMessage(strings.NewReader(r.mails[0]))
	if err != nil {
		t.Fatal(err)
	}
	checkMail(t, m)
}

func TestMailRefusals(t *testing.T) {
	for _, at := range []string{"MAIL", "RCPT", "DATA"} {
		for code, want := range map[int]outcome{450: isLater(), 421: isLater(), 550: isRejected(), 554: isRejected()} {
			address := startRelay(t, &relay{refuse: map[string]error{at: &smtp.SMTPError{Code: code, Message: "no, ada@shop.example"}}})
			r := send(t, mailer(t, address), message("p"))
			t.Run(fmt.Sprint(at, code), func(t *testing.T) {
				want.check(t, r)
				if strings.Contains(fmt.Sprint(r.Reasons), "ada@") {
					t.Errorf("the reasons hold an address: %v", r.Reasons)
				}
			})
		}
	}
	r := send(t, mailer(t, startRelay(t, &relay{refuse: map[string]error{"HELO": &smtp.SMTPError{Code: 554}}})), message("p"))
	isLater().check(t, r)
}

// talk answers the lines of an SMTP conversation until a step, at which it does something else.
func talk(until string, then func(net.Conn, *bufio.Reader)) func(net.Conn) {
	return func(c net.Conn) {
		lines := bufio.NewReader(c)
		_, _ = io.WriteString(c, "220 hi\r\n")
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			verb := strings.ToUpper(strings.Fields(line + " x")[0])
			if verb == until {
				then(c, lines)
				return
			}
			if verb == "EHLO" {
				_, _ = io.WriteString(c, "250 hi\r\n")
			} else {
				_, _ = io.WriteString(c, "250 ok\r\n")
			}
		}
	}
}

func dot(c net.Conn, lines *bufio.Reader) {
	_, _ = io.WriteString(c, "354 go on\r\n")
	for {
		line, err := lines.ReadString('\n')
		if err != nil || line == ".\r\n" {
			return
		}
	}
}

func TestMailWithAMisbehavingRelay(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := gone.Addr().String()
	_ = gone.Close()
	tests := map[string]struct {
		address string
		want    outcome
	}{
		"nobody listens":       {nobody, isLater()},
		"garbage greeting":     {misbehave(t, func(c net.Conn) { _, _ = io.WriteString(c, "what?\r\n") }), isLater()},
		"reset at MAIL":        {misbehave(t, talk("MAIL", func(c net.Conn, _ *bufio.Reader) { reset(c) })), isLater()},
		"reset at RCPT":        {misbehave(t, talk("RCPT", func(c net.Conn, _ *bufio.Reader) { reset(c) })), isLater()},
		"closed before data":   {misbehave(t, talk("DATA", func(net.Conn, *bufio.Reader) {})), isLater()},
		"silent before data":   {misbehave(t, talk("DATA", func(c net.Conn, _ *bufio.Reader) { _, _ = io.Copy(io.Discard, c) })), isLater()},
		"closed after the dot": {misbehave(t, talk("DATA", dot)), isUnknown()},
		"reset after the dot":  {misbehave(t, talk("DATA", func(c net.Conn, l *bufio.Reader) { dot(c, l); reset(c) })), isUnknown()},
		"silent after the dot": {misbehave(t, talk("DATA", func(c net.Conn, l *bufio.Reader) {
			dot(c, l)
			_, _ = io.Copy(io.Discard, c)
		})), isUnknown()},
		"garbage after the dot": {misbehave(t, talk("DATA", func(c net.Conn, l *bufio.Reader) {
			dot(c, l)
			_, _ = io.WriteString(c, "\x01\x02\r\n")
		})), isUnknown()},
		"an odd code after the dot": {misbehave(t, talk("DATA", func(c net.Conn, l *bufio.Reader) {
			dot(c, l)
			_, _ = io.WriteString(c, "251 perhaps\r\n")
		})), isUnknown()},
		"refused after the dot": {misbehave(t, talk("DATA", func(c net.Conn, l *bufio.Reader) {
			dot(c, l)
			_, _ = io.WriteString(c, "554 5.7.1 spam\r\n")
		})), isRejected()},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			tt.want.check(t, mailer(t, tt.address).Send(ctx, message("p")))
		})
	}
}

func TestHeadersCannotBeInjected(t *testing.T) {
	r := &relay{}
	a := mailer(t, startRelay(t, r))
	for name, change := range map[string]func(*Message){
		"subject":     func(m *Message) { m.Subject = "Hi\r\nBcc: all@shop.example" },
		"bare LF":     func(m *Message) { m.Subject = "Hi\nBcc: all@shop.example" },
		"address":     func(m *Message) { m.Address = "ada@shop.example>\r\nRCPT TO:<eve@shop.example" },
		"two":         func(m *Message) { m.Address = "ada@shop.example, eve@shop.example" },
		"no address":  func(m *Message) { m.Address = "" },
		"list":        func(m *Message) { m.ListID = "x\r\nBcc: y" },
		"unsubscribe": func(m *Message) { m.UnsubscribeURL = "http://x\r\n" },
	} {
		m := message("p")
		change(&m)
		t.Run(name, func(t *testing.T) { isUnsent().check(t, send(t, a, m)) })
	}
	if len(r.mails) != 0 {
		t.Errorf("%d mails were sent, want none", len(r.mails))
	}
}

func TestMailSettings(t *testing.T) {
	for name, config := range map[string]map[string]string{
		"no address":        {"from": "a@b.example"},
		"no from":           {"address": "localhost:25"},
		"unknown security":  {"address": "localhost:25", "from": "a@b.example", "tls": "perhaps"},
		"password in clear": {"address": "relay.example:25", "from": "a@b.example", "tls": "none", "username": "u", "secret": "s"},
	} {
		if _, err := Build(&definitionv1.Channel{Adapter: "smtp", Config: config}, local(t)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

const aiosmtpd = `
import sys, os
from aiosmtpd.controller import Controller
class Handler:
    async def handle_DATA(self, server, session, envelope):
        with open(sys.argv[1] + ".tmp", "wb") as f:
            f.write(envelope.content)
        os.rename(sys.argv[1] + ".tmp", sys.argv[1])
        return "250 queued as 42"
c = Controller(Handler(), hostname="127.0.0.1", port=0)
try:
    c.start()
except Exception:
    pass
print(c.server.sockets[0].getsockname()[1], flush=True)
sys.stdin.read()
`

// The same conversation with a server that shares no code with the client.
func TestMailThroughAnIndependentServer(t *testing.T) {
	python := embedtest.Python(t)
	path := filepath.Join(t.TempDir(), "mail")
	cmd := exec.CommandContext(t.Context(), python, "-c", aiosmtpd, path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close(); _ = cmd.Wait() }()
	var port int
	if _, err := fmt.Fscan(stdout, &port); err != nil {
		t.Fatalf("the server did not start: %v", err)
	}
	r := send(t, mailer(t, fmt.Sprintf("127.0.0.1:%d", port)), message("p1"))
	isAccepted().check(t, r)
	if r.ProviderID != "queued as 42" {
		t.Errorf("provider id = %q", r.ProviderID)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(errors.Join(err, errors.New("the server has no mail")))
	}
	defer func() { _ = f.Close() }()
	m, err := mail.ReadMessage(f)
	if err != nil {
		t.Fatal(err)
	}
	checkMail(t, m)
}
