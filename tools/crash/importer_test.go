package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// importer publishes over HTTP to any of several replicas and goes on to the next when one fails, with the
// same ids. What it returns without an error was acknowledged.
type importer struct {
	// urls are the host:ports of the replicas; empty where one does not listen now.
	urls    func() []string
	next    int
	retries int
}

// errGone says that no replica could be asked.
var errGone = errors.New("no ingest listens")

// send publishes until it is acknowledged and returns the indexes of what was refused.
func (i *importer) send(ctx context.Context, messages []json.RawMessage) (refused map[int]string, err error) {
	body, err := json.Marshal(map[string]any{"batch": messages, "writeKey": "crash"})
	if err != nil {
		return nil, err
	}
	for {
		refused, err := i.try(ctx, body)
		if err == nil {
			return refused, nil
		}
		i.retries++
		i.next++
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("publish: %w", errors.Join(ctx.Err(), err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (i *importer) try(ctx context.Context, body []byte) (map[int]string, error) {
	urls := i.urls()
	addr := urls[i.next%len(urls)]
	if addr == "" {
		return nil, errGone
	}
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/v1/batch", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ingest answers %s: %s", res.Status, data)
	}
	var answer struct {
		Refused []struct {
			Index      int
			Field, Why string
		}
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, fmt.Errorf("read answer %q: %w", data, err)
	}
	refused := map[int]string{}
	for _, r := range answer.Refused {
		refused[r.Index] = r.Field + " " + r.Why
	}
	return refused, nil
}
