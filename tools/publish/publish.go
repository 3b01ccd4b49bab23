// Package publish sends events to a mesh's ingest over its Segment HTTP API: in order, in batches, with
// patience when the mesh says that it is busy or does not answer. A batch sent twice has one effect.
package publish

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

// The bounds of one request; those of the Segment API are 2,500 events and 500 KiB.
const (
	// MaxItems in a batch.
	MaxItems = 500
	// MaxBytes of a batch's events.
	MaxBytes = 400 << 10
)

// ErrKey says that ingest does not know the write key.
var ErrKey = errors.New("ingest does not know the write key")

// Client publishes to one ingest. It is safe for concurrent use.
type Client struct {
	// URL of ingest, such as http://127.0.0.1:8080.
	URL string
	// WriteKey says whose events they are.
	WriteKey string
	// Timeout of one request; default 10 s.
	Timeout time.Duration
	// Patience is how long a busy or absent ingest is waited for; 0: not at all.
	Patience time.Duration
	// Waiting is told before each wait for how long, and why; nil: no one is.
	Waiting func(wait time.Duration, why error)
}

// Answer is what ingest says to a batch.
type Answer struct {
	// Refused lists what it would not take.
	Refused []Refused `json:"refused"`
	// Remarks say what of accepted events was taken otherwise than it was published, or had no effect.
	Remarks []Remark `json:"remarks"`
	// Clock is "replay" where time is driven by the events: those of the newest instant are applied when the clock is
	// advanced.
	Clock string `json:"clock"`
}

// Remark is about one field of an accepted event.
type Remark struct {
	// Index of the event among those published.
	Index int `json:"index"`
	// Field and Why as ingest says them.
	Field string `json:"field"`
	Why   string `json:"why"`
}

// Refused is an event that ingest would not take; it is in the dead letters.
type Refused struct {
	// Index of the event among those published.
	Index int `json:"index"`
	// Field and Why as ingest says them.
	Field string `json:"field"`
	Why   string `json:"why"`
	// DeadLetter is where it is kept.
	DeadLetter string `json:"dead_letter"`
}

// busyError says that ingest takes nothing now.
type busyError struct {
	after time.Duration
	err   error
}

func (e *busyError) Error() string { return e.err.Error() }
func (e *busyError) Unwrap() error { return e.err }

// Send publishes messages in order, in as many batches as they need, and returns those refused. After an
// error nothing is known of some of them; sending all again with the same ids is harmless.
func (c *Client) Send(ctx context.Context, messages []json.RawMessage) ([]Refused, error) {
	var refused []Refused
	for from := 0; from < len(messages); {
		to, size := from, 0
		for to < len(messages) && to-from < MaxItems && (to == from || size+len(messages[to]) < MaxBytes) {
			size += len(messages[to]) + 1
			to++
		}
		got, err := c.Batch(ctx, messages[from:to])
		if err != nil {
			return refused, fmt.Errorf("publish events %d to %d: %w", from+1, to, err)
		}
		for _, r := range got.Refused {
			r.Index += from
			refused = append(refused, r)
		}
		from = to
	}
	return refused, nil
}

// Batch publishes messages that fit one request.
func (c *Client) Batch(ctx context.Context, messages []json.RawMessage) (Answer, error) {
	body, err := json.Marshal(map[string]any{"batch": messages})
	if err != nil {
		return Answer{}, fmt.Errorf("encode batch: %w", err)
	}
	deadline := time.Now().Add(c.Patience)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		got, err := c.post(ctx, body)
		if err == nil {
			return got, nil
		}
		busy, ok := errors.AsType[*busyError](err)
		if !ok || !time.Now().Before(deadline) {
			return Answer{}, err
		}
		pause := max(wait, busy.after)
		if c.Waiting != nil {
			c.Waiting(pause, err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return Answer{}, ctx.Err()
		case <-timer.C:
		}
	}
}

func (c *Client) post(ctx context.Context, body []byte) (Answer, error) {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.URL, "/")+"/v1/batch", bytes.NewReader(body))
	if err != nil {
		return Answer{}, fmt.Errorf("%q is no URL of an ingest: %w", c.URL, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(c.WriteKey, "")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return Answer{}, &busyError{err: fmt.Errorf("ingest at %s does not answer: is it running? (%w)", c.URL, innermost(err))}
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	data, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return Answer{}, &busyError{err: fmt.Errorf("read the answer of ingest: %w", err)}
	}
	var got struct {
		Answer
		Error string `json:"error"`
	}
	_ = json.Unmarshal(data, &got) // an answer that is no JSON has only its status
	switch {
	case res.StatusCode < http.StatusMultipleChoices:
		return got.Answer, nil
	case res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= http.StatusInternalServerError:
		after, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		return Answer{}, &busyError{time.Duration(after) * time.Second, fmt.Errorf("ingest answers %s: %s", res.Status, got.Error)}
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		return Answer{}, ErrKey
	}
	return Answer{}, fmt.Errorf("ingest answers %s: %s", res.Status, got.Error)
}

// innermost is the cause at the bottom of an error of the network, such as connection refused.
func innermost(err error) error {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err
}
