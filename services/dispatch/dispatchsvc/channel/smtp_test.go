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
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/embed/embedtest"
)

// relay is a real SMTP server that refuses where it is told to.
type relay struct {
	refuse map[string]error
	utf8   bool // offers SMTPUTF8

	mu    sync.Mutex
	mails []string
	from  []string
	to    []string
	asked []bool // for SMTPUTF8
}

func (r *relay) NewSession(*smtp.Conn) (smtp.Session, error) {
	return &session{relay: r}, r.refuse["HELO"]
}

type session struct {
	relay    *relay
	from, to string
	utf8     bool
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, o *smtp.MailOptions) error {
	s.from, s.utf8 = from, o.UTF8
	return s.relay.refuse["MAIL"]
}

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
	s.relay.from, s.relay.asked = append(s.relay.from, s.from), append(s.relay.asked, s.utf8)
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
	server.EnableSMTPUTF8 = r.utf8
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

// A domain is sent in the form that every relay knows. What stands before it is sent as it is written: beyond ASCII
// only by a relay that offers it, else it is a reason.
func TestAddressesBeyondASCII(t *testing.T) {
	for _, c := range []struct {
		address, rcpt string
		needs         bool
	}{
		{"ada@büro.example", "ada@xn--bro-hoa.example", false},
		{"Ada@Büro.Example", "Ada@xn--bro-hoa.example", false},
		{"jürgen@büro.example", "jürgen@xn--bro-hoa.example", true},
		{"用户@例子.example", "用户@xn--fsqu00a.example", true},
		{`"a b"@shop.example`, `a b@shop.example`, false}, // as the relay reads it
	} {
		for _, offered := range []bool{true, false} {
			r := &relay{utf8: offered}
			m := message("p1")
			m.Address = c.address
			got := send(t, mailer(t, startRelay(t, r)), m)
			if c.needs && !offered {
				if got.Status != dispatchv1.Status_STATUS_UNSENT || got.Transient || got.Reasons[0].GetCode() != reasonv1.Code_CODE_INVALID_ENDPOINT ||
					!strings.Contains(got.Reasons[0].GetEvidence()[0], "SMTPUTF8") {
					t.Errorf("%s without SMTPUTF8: %+v", c.address, got)
				}
				continue
			}
			isAccepted().check(t, got)
			if len(r.to) != 1 || r.to[0] != c.rcpt || r.asked[0] != c.needs {
				t.Errorf("%s: sent to %q, SMTPUTF8 %v; want %q, %v", c.address, r.to, r.asked, c.rcpt, c.needs)
			}
		}
	}
}

// A subject is shown as it is written, also if it looks as if it were encoded.
func TestASubjectThatLooksEncodedIsEncoded(t *testing.T) {
	for _, subject := range []string{
		"=?utf-8?q?50=25_off?=", "Is =?iso-8859-1?b?YQ==?= shown?", strings.Repeat("Grüße =? ", 30), "plain", "Grüße",
	} {
		r := &relay{}
		m := message("p1")
		m.Subject = subject
		isAccepted().check(t, send(t, mailer(t, startRelay(t, r)), m))
		parsed, err := mail.ReadMessage(strings.NewReader(r.mails[0]))
		if err != nil {
			t.Fatal(err)
		}
		raw := parsed.Header.Get("Subject")
		if got, err := new(mime.WordDecoder).DecodeHeader(raw); err != nil || got != strings.TrimSpace(subject) && got != subject {
			t.Errorf("%q is shown as %q, %v", subject, got, err)
		}
		for word := range strings.FieldsSeq(raw) {
			if len(word) > 75 {
				t.Errorf("a word of %d characters", len(word))
			}
		}
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
