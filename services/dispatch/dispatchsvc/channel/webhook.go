package channel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/delivery"
	"refrain.dev/pkg/telemetry"
)

const (
	maxAnswer     = 64 << 10
	maxRetryAfter = time.Hour
)

// webhook posts signed JSON as the Standard Webhooks specification says. Receivers recognise a repeat by
// webhook-id, which is the proposal.
type webhook struct {
	url    string
	signer *standardwebhooks.Webhook
	old    oldSecret
	client *http.Client
}

// oldSecret is what receivers may still verify with while they take a new secret over.
type oldSecret struct {
	signer *standardwebhooks.Webhook // nil: there is none
	until  time.Time                 // zero: as long as it is set
}

func newOldSecret(config map[string]string, o Options) (oldSecret, error) {
	var old oldSecret
	if text := config["old_secret_until"]; text != "" {
		until, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return old, errors.New("old_secret_until: want a time such as 2026-07-01T00:00:00Z")
		}
		if old.until = until; !time.Now().Before(until) {
			return old, nil // it may be gone by now
		}
	}
	secret, err := o.secret(config, "old_secret")
	if err != nil || secret == "" {
		return old, err
	}
	old.signer, err = newSigner(secret)
	return old, err
}

func newWebhook(config map[string]string, o Options, g guard) (*webhook, error) {
	secret, err := o.secret(config, "secret")
	if err != nil {
		return nil, err
	}
	old, err := newOldSecret(config, o)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(config["url"])
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, errors.New("url: want http:// or https:// with a host")
	}
	signer, err := newSigner(secret)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DialContext:            g.dialer().DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: maxAnswer,
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        2 * time.Second, // a connection that the receiver closes meanwhile would be an UNKNOWN
		ForceAttemptHTTP2:      true,
	}
	return &webhook{url: u.String(), signer: signer, old: old, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// newSigner takes a secret as the specification writes it (whsec_ and base64) or any other text as it is.
func newSigner(secret string) (*standardwebhooks.Webhook, error) {
	if secret == "" {
		return nil, errors.New("secret_env: no secret to sign with")
	}
	signer, err := standardwebhooks.NewWebhook(secret)
	if err == nil {
		return signer, nil
	}
	signer, err = standardwebhooks.NewWebhookRaw([]byte(secret))
	if err != nil {
		return nil, fmt.Errorf("use secret: %w", err)
	}
	return signer, nil
}

// Close implements Adapter.
func (w *webhook) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

// Send implements Adapter.
func (w *webhook) Send(ctx context.Context, m Message) delivery.Result {
	var wrote atomic.Bool
	req, err := w.request(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// Before this no receiver can have a whole request: our headers are short and buffered.
		WroteHeaders: func() { wrote.Store(true) },
		WroteRequest: func(i httptrace.WroteRequestInfo) { wrote.Store(wrote.Load() || i.Err == nil) },
	}), m)
	if err != nil {
		return unsent(reasonv1.Code_CODE_RENDER_FAILED, "the payload cannot be encoded")
	}
	resp, err := w.client.Do(req)
	if err != nil {
		if wrote.Load() {
			return unknown()
		}
		if errors.Is(err, errForbidden) {
			return unsent(reasonv1.Code_CODE_PROVIDER_REJECTED, "the address is not allowed")
		}
		return unavailable("no connection")
	}
	defer func() { _ = resp.Body.Close() }()
	return answered(resp)
}

func (w *webhook) request(ctx context.Context, m Message) (*http.Request, error) {
	now := time.Now()
	body, err := encode(struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      Payload   `json:"data"`
	}{"treatment.dispatched", m.At.UTC(), payloadOf(m)})
	if err != nil {
		return nil, err
	}
	signature, err := w.sign(m.Proposal, now, body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	// With a way to rewind the body the transport would repeat a request on a broken connection by itself.
	req.GetBody = nil
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Refrain")
	req.Header.Set(standardwebhooks.HeaderWebhookID, m.Proposal)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	if parent := telemetry.Traceparent(ctx); parent != "" {
		req.Header.Set("traceparent", parent)
	}
	return req, nil
}

// sign signs with the secret and, until it ends, with the old one: a receiver takes any of the signatures.
func (w *webhook) sign(id string, now time.Time, body []byte) (string, error) {
	signature, err := w.signer.Sign(id, now, body)
	if err != nil {
		return "", fmt.Errorf("sign payload: %w", err)
	}
	if w.old.signer == nil || !w.old.until.IsZero() && !now.Before(w.old.until) {
		return signature, nil
	}
	second, err := w.old.signer.Sign(id, now, body)
	if err != nil {
		return "", fmt.Errorf("sign payload with the old secret: %w", err)
	}
	return signature + " " + second, nil
}

// answered says what a status proves.
func answered(resp *http.Response) delivery.Result {
	status := "HTTP " + strconv.Itoa(resp.StatusCode)
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return accepted(answerID(resp.Body))
	case code == http.StatusTooManyRequests:
		r := later(status)
		r.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
		return r
	case slices.Contains(refusals(), code):
		return rejected(status)
	default:
		r := rejected(status)
		r.Status = dispatchv1.Status_STATUS_UNKNOWN
		return r
	}
}

// refusals are the statuses that say: not accepted, and never will be. Redirects are among them because
// they are not followed; 303 is not, it may follow an acceptance. A conflict (409) may be a repeat that
// was recognised, a timeout (408) may come after the work was done.
func refusals() []int {
	return []int{301, 302, 307, 308, 400, 401, 403, 404, 405, 406, 410, 411, 413, 414, 415, 422}
}

// answerID is the id that the receiver gave it, if its answer is JSON with one.
func answerID(body io.Reader) string {
	var answer struct {
		ID string `json:"id"`
	}
	if json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(&answer) != nil || len(answer.ID) > 200 {
		return ""
	}
	return answer.ID
}

func retryAfter(header string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.Atoi(header); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
