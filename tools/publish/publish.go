// Package publish sends events to a mesh's ingest over its Segment HTTP API: in order, in batches, with
// patience when the mesh says that it is busy.
package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

const (
	batchItems = 250
	batchBytes = 400 << 10 // the API takes 500 KiB
	attempts   = 60
)

// Client publishes to one ingest. The zero HTTP client is http.DefaultClient.
type Client struct {
	// URL of ingest, such as http://127.0.0.1:8080.
	URL string
	// WriteKey says whose events they are.
	WriteKey string
	// HTTP makes the requests.
	HTTP *http.Client
	// Progress is told after every batch how many events are stored; may be nil.
	Progress func(stored int)
}

// Refused is an event that ingest would not take; it is in the dead letters.
type Refused struct {
	// Index of the event among those published.
	Index int `json:"index"`
	// Field and Why as ingest says them.
	Field string `json:"field"`
	Why   string `json:"why"`
}

type answer struct {
	Refused []Refused `json:"refused"`
	Error   string    `json:"error"`
	Message string    `json:"message"`
}

// Send publishes JSON messages in order and returns those refused. An error means that from some message
// on nothing is known to be stored; sending all again with the same ids is harmless.
func (c *Client) Send(ctx context.Context, messages []json.RawMessage) ([]Refused, error) {
	var refused []Refused
	for from := 0; from < len(messages); {
		to, size := from, 0
		for to < len(messages) && to-from < batchItems && size+len(messages[to]) < batchBytes {
			size += len(messages[to]) + 1
			to++
		}
		to = max(to, from+1)
		ans, err := c.post(ctx, messages[from:to])
		if err != nil {
			return refused, fmt.Errorf("publish events %d to %d: %w", from+1, to, err)
		}
		for _, r := range ans.Refused {
			r.Index += from
			refused = append(refused, r)
		}
		from = to
		if c.Progress != nil {
			c.Progress(from)
		}
	}
	return refused, nil
}

func (c *Client) post(ctx context.Context, batch []json.RawMessage) (answer, error) {
	body, err := json.Marshal(map[string]any{"batch": batch, "writeKey": c.WriteKey})
	if err != nil {
		return answer{}, fmt.Errorf("encode batch: %w", err)
	}
	var last error
	for range attempts {
		ans, wait, err := c.try(ctx, body)
		if err == nil || wait == 0 {
			return ans, err
		}
		last = err
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return answer{}, ctx.Err()
		}
	}
	return answer{}, fmt.Errorf("gave up after %d attempts: %w", attempts, last)
}

// try posts once; a positive wait says after how long trying again makes sense.
func (c *Client) try(ctx context.Context, body []byte) (answer, time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL+"/v1/batch", bytes.NewReader(body))
	if err != nil {
		return answer{}, 0, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, 500 * time.Millisecond, fmt.Errorf("is a mesh running there? %w", err)
	}
	defer res.Body.Close() //nolint:errcheck // read to the end below
	data, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return answer{}, 500 * time.Millisecond, fmt.Errorf("read answer: %w", err)
	}
	var ans answer
	_ = json.Unmarshal(data, &ans) // what is no JSON is shown as it is
	if res.StatusCode == http.StatusOK {
		return ans, 0, nil
	}
	err = fmt.Errorf("ingest answers %s: %s", res.Status, bytes.TrimSpace(data[:min(len(data), 500)]))
	if res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= http.StatusInternalServerError {
		seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		return ans, max(time.Duration(seconds)*time.Second, 200*time.Millisecond), err
	}
	return ans, 0, err
}
