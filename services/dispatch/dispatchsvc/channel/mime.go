package channel

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	netmail "net/mail"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message/mail"
)

// errHeader says that something meant for one header line is not one line.
var errHeader = errors.New("a header must be one line")

// envelope is from whom a mail is, to whom, and under whose name its id is unique.
type envelope struct {
	from, to *netmail.Address
	host     string
}

// mailOf writes a message as a MIME text.
func mailOf(m Message, e envelope) ([]byte, error) {
	if err := oneLine(m.Subject, m.Address, m.UnsubscribeURL, m.ListID, e.from.Name, e.from.Address, e.host); err != nil {
		return nil, err
	}
	var h mail.Header
	h.SetAddressList("From", []*mail.Address{{Name: e.from.Name, Address: e.from.Address}})
	h.SetAddressList("To", []*mail.Address{{Address: e.to.Address}})
	setSubject(&h, m.Subject)
	h.SetDate(m.At)
	h.SetMessageID(m.Proposal + "@" + e.host)
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

// setSubject encodes a subject where it has to be: also one that looks as if it were encoded, which would be
// shown as something else.
func setSubject(h *mail.Header, subject string) {
	if !strings.Contains(subject, "=?") {
		h.SetSubject(subject)
		return
	}
	const most = 45 // bytes, so that a word has at most 75 characters
	var words []string
	for rest := subject; rest != ""; {
		end := min(most, len(rest))
		for end < len(rest) && !utf8.RuneStart(rest[end]) {
			end--
		}
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(rest[:end]))+"?=")
		rest = rest[end:]
	}
	h.Set("Subject", strings.Join(words, " "))
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
