package channel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/delivery"
)

// smtpAdapter has one SMTP conversation per message with a relay, which signs (DKIM) and queues. What
// fails before the final dot of DATA was not sent; what is lost after it is UNKNOWN.
type smtpAdapter struct {
	address, host      string
	from               *netmail.Address
	domain             string
	security           string
	username, password string
	dialer             *net.Dialer
}

func newSMTP(config map[string]string, o Options, g guard) (*smtpAdapter, error) {
	secret, err := o.secret(config, "secret")
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(config["address"])
	if err != nil {
		return nil, errors.New("address: want host:port of the relay")
	}
	from, err := mailbox(config["from"])
	if err != nil {
		return nil, errors.New("from: want an address")
	}
	a := &smtpAdapter{
		address: config["address"], host: host, from: from,
		domain: domainOf(from.Address), security: config["tls"], username: config["username"], password: secret,
		dialer: g.dialer(),
	}
	if a.security == "" {
		a.security = "starttls"
		if loopback(host) {
			a.security = "none"
		}
	}
	switch a.security {
	case "none", "starttls", "implicit":
	default:
		return nil, errors.New("tls: want none, starttls or implicit")
	}
	if a.username != "" && a.security == "none" && !loopback(host) {
		return nil, errors.New("tls: a password is not sent in clear")
	}
	return a, nil
}

// Close implements Adapter. Conversations are not kept.
func (a *smtpAdapter) Close() error { return nil }

// Send implements Adapter.
func (a *smtpAdapter) Send(ctx context.Context, m Message) delivery.Result {
	recipient, err := mailbox(m.Address)
	if err != nil {
		return unsent(reasonv1.Code_CODE_INVALID_ENDPOINT)
	}
	text, err := mailOf(m, envelope{from: a.from, to: recipient, host: a.domain})
	if err != nil {
		if errors.Is(err, errHeader) {
			return unsent(reasonv1.Code_CODE_RENDER_FAILED, "a header must be one line")
		}
		return unsent(reasonv1.Code_CODE_INVALID_ENDPOINT)
	}
	client, err := a.connect(ctx)
	if err != nil {
		return unavailable(smtpEvidence("connect", err))
	}
	defer func() { _ = client.Close() }()
	unwatch := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer unwatch()
	return a.converse(client, recipient, text)
}

func (a *smtpAdapter) connect(ctx context.Context) (*smtp.Client, error) {
	conn, err := a.dialer.DialContext(ctx, "tcp", a.address)
	if err != nil {
		return nil, fmt.Errorf("dial relay: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	client, err := a.greet(conn)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	if limit, ok := ctx.Deadline(); ok {
		client.CommandTimeout = time.Until(limit)
		client.SubmissionTimeout = time.Until(limit)
	}
	return client, nil
}

func (a *smtpAdapter) greet(conn net.Conn) (*smtp.Client, error) {
	config := &tls.Config{ServerName: a.host, MinVersion: tls.VersionTLS12}
	var client *smtp.Client
	switch a.security {
	case "implicit":
		client = smtp.NewClient(tls.Client(conn, config))
	case "starttls":
		c, err := smtp.NewClientStartTLS(conn, config)
		if err != nil {
			return nil, fmt.Errorf("start tls: %w", err)
		}
		client = c
	default:
		client = smtp.NewClient(conn)
	}
	if a.security != "starttls" { // which has greeted already
		if err := client.Hello(helloName(a.domain)); err != nil {
			return nil, fmt.Errorf("greet relay: %w", err)
		}
	}
	if a.username != "" {
		if err := client.Auth(sasl.NewPlainClient("", a.username, a.password)); err != nil {
			return nil, fmt.Errorf("log in: %w", err)
		}
	}
	return client, nil
}

func (a *smtpAdapter) converse(c *smtp.Client, recipient *netmail.Address, text []byte) delivery.Result {
	var options *smtp.MailOptions
	if !ascii(a.from.Address) || !ascii(recipient.Address) {
		if offered, _ := c.Extension("SMTPUTF8"); !offered {
			r := unsent(reasonv1.Code_CODE_INVALID_ENDPOINT, "the address needs SMTPUTF8, which the relay does not offer")
			r.Reasons[0].Remedy = "use a relay that offers SMTPUTF8, or another address"
			return r
		}
		options = &smtp.MailOptions{UTF8: true}
	}
	if err := c.Mail(path(a.from), options); err != nil {
		return beforeDot("MAIL", err)
	}
	if err := c.Rcpt(path(recipient), nil); err != nil {
		return beforeDot("RCPT", err)
	}
	data, err := c.Data()
	if err != nil {
		return beforeDot("DATA", err)
	}
	if _, err := data.Write(text); err != nil {
		return beforeDot("DATA", err)
	}
	answer, err := data.CloseWithResponse()
	if err != nil {
		return afterDot(err)
	}
	_ = c.Quit()
	return accepted(firstLine(answer.StatusText))
}

// beforeDot: whatever went wrong, the relay does not have the message.
func beforeDot(command string, err error) delivery.Result {
	e, ok := errors.AsType[*smtp.SMTPError](err)
	switch {
	case !ok:
		return unavailable(smtpEvidence(command, err))
	case e.Code >= 500 && e.Code < 600:
		return rejected(smtpEvidence(command, err))
	default:
		return later(smtpEvidence(command, err))
	}
}

// afterDot: only the relay's own answer proves that it did not take the message.
func afterDot(err error) delivery.Result {
	if e, ok := errors.AsType[*smtp.SMTPError](err); ok && e.Code >= 400 && e.Code < 600 {
		return beforeDot("the final dot", err)
	}
	return delivery.Result{Status: dispatchv1.Status_STATUS_UNKNOWN, Reasons: []*reasonv1.Reason{{
		Code: reasonv1.Code_CODE_PROVIDER_REJECTED, Evidence: []string{"the answer to the final dot was lost"},
	}}}
}

// smtpEvidence is an answer's code, never its text, which may name the recipient.
func smtpEvidence(command string, err error) string {
	if e, ok := errors.AsType[*smtp.SMTPError](err); ok {
		return "SMTP " + strconv.Itoa(e.Code) + " to " + command
	}
	return "no answer to " + command
}

// firstLine is the relay's queue id, as it says it.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line[:min(len(line), 200)]
}
