package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// publisher sends batches to ingest.
type publisher struct {
	app      *app
	writeKey string
	patience time.Duration
	result   published
	shown    time.Time
}

// batch is what one request carries.
type batch struct {
	items []json.RawMessage
	lines []int
	bytes int
}

func (b *batch) add(item json.RawMessage, line int) {
	b.items, b.lines, b.bytes = append(b.items, item), append(b.lines, line), b.bytes+len(item)
}

// answer is what ingest says about a batch.
type answer struct {
	Error   string `json:"error"`
	Refused []struct {
		Index      int    `json:"index"`
		Field      string `json:"field"`
		Why        string `json:"why"`
		DeadLetter string `json:"dead_letter"`
	} `json:"refused"`
}

// busyError says that ingest takes nothing now.
type busyError struct {
	after time.Duration
	err   error
}

func (e *busyError) Error() string { return e.err.Error() }

// send sends a batch and empties it. Being sent twice has one effect, so a busy or absent ingest, or a
// lost answer, is tried again until patience is over.
func (p *publisher) send(ctx context.Context, b *batch) error {
	if len(b.items) == 0 {
		return nil
	}
	body, err := json.Marshal(map[string]any{"batch": b.items})
	if err != nil {
		return fmt.Errorf("encode batch: %w", err)
	}
	deadline := p.app.Now().Add(p.patience)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		got, err := p.post(ctx, body)
		if err == nil {
			p.note(b, got)
			*b = batch{}
			p.progress(false)
			return nil
		}
		busy, ok := errors.AsType[*busyError](err)
		if !ok || !p.app.Now().Before(deadline) {
			return fmt.Errorf("publish lines %d to %d: %w", b.lines[0], b.lines[len(b.lines)-1], err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("publish: %w", ctx.Err())
		case <-time.After(max(wait, busy.after)):
		}
	}
}

func (p *publisher) post(ctx context.Context, body []byte) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, p.app.timeout)
	defer cancel()
	url := strings.TrimSuffix(p.app.httpURL, "/") + "/v1/batch"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, usage("--http %q is no URL", p.app.httpURL)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(p.writeKey, "")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, &busyError{err: fmt.Errorf("ingest at %s does not answer: %w (is it running? --http or REFRAIN_HTTP says where)", p.app.httpURL, err)}
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	data, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return nil, &busyError{err: fmt.Errorf("read the answer of ingest: %w", err)}
	}
	var got answer
	_ = json.Unmarshal(data, &got) // an answer that is no JSON has only its status
	switch {
	case res.StatusCode < http.StatusMultipleChoices:
		return &got, nil
	case res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= http.StatusInternalServerError:
		after, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		return nil, &busyError{time.Duration(after) * time.Second, fmt.Errorf("ingest answers %s: %s", res.Status, got.Error)}
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		return nil, fmt.Errorf("ingest does not know the write key: give it with --write-key or REFRAIN_WRITE_KEY")
	}
	return nil, fmt.Errorf("ingest answers %s: %s", res.Status, got.Error)
}

func (p *publisher) note(b *batch, got *answer) {
	p.result.Accepted += len(b.items) - len(got.Refused)
	for _, r := range got.Refused {
		line := 0
		if r.Index >= 0 && r.Index < len(b.lines) {
			line = b.lines[r.Index]
		}
		p.result.Refused = append(p.result.Refused, refused{line, r.Field, r.Why, r.DeadLetter})
	}
}

// progress says now and then how far it is, if somebody watches.
func (p *publisher) progress(last bool) {
	now := p.app.Now()
	if !p.app.Terminal || (!last && now.Sub(p.shown) < 500*time.Millisecond) {
		return
	}
	end := "\r"
	if last {
		end = "\r\033[K"
	}
	p.shown = now
	_, _ = fmt.Fprintf(p.app.Stderr, "%d events accepted, %d refused%s", p.result.Accepted, len(p.result.Refused), end)
}
