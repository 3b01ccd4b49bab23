package channel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	netmail "net/mail"
	"strings"

	"github.com/emersion/go-message/mail"
)

// errHeader says that something meant for one header line is not one line.
var errHeader = errors.New("a header must be one line")

// mailOf writes a message as a MIME text. from and to must be plain addresses.
func mailOf(m Message, from, host string) ([]byte, error) {
	if err := oneLine(m.Subject, m.Address, m.UnsubscribeURL, m.ListID, from, host); err != nil {
		return nil, err
	}
	sender, err := netmail.ParseAddress(from)
	if err != nil {
		return nil, fmt.Errorf("parse from: %w", err)
	}
	recipient, err := netmail.ParseAddress(m.Address)
	if err != nil {
		return nil, fmt.Errorf("parse recipient: %w", err)
	}
	var h mail.Header
	h.SetAddressList("From", []*mail.Address{{Name: sender.Name, Address: sender.Address}})
	h.SetAddressList("To", []*mail.Address{{Address: recipient.Address}})
	h.SetSubject(m.Subject)
	h.SetDate(m.At)
	h.SetMessageID(m.Proposal + "@" + host)
	if m.UnsubscribeURL != "" {
		h.Set("List-Unsubscribe", "<"+m.UnsubscribeURL+">")
		h.Set("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
	}
	if m.ListID != "" {
		h.Set("List-Id", "<"+strings.Trim(m.ListID, "<>")+">")
	}
	h.Set("MIME-Version", "1.0")
	h.SetContentType("text/plain", map[string]string{"charset": "utf-8"})
	h.Set("Content-Transfer-Encoding", "quoted-printable")
	return encodeMail(h, m.Body)
}

func encodeMail(h mail.Header, body string) ([]byte, error) {
	var out bytes.Buffer
	w, err := mail.CreateSingleInlineWriter(&out, h)
	if err != nil {
		return nil, fmt.Errorf("write mail header: %w", err)
	}
	if _, err := io.WriteString(w, body); err != nil {
		return nil, fmt.Errorf("write mail body: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("write mail: %w", err)
	}
	return out.Bytes(), nil
}

func oneLine(values ...string) error {
	for _, v := range values {
		if strings.ContainsAny(v, "\r\n\x00") {
			return errHeader
		}
	}
	return nil
}
