package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ingest is a door that keeps what it takes and refuses events of the type "bad".
type ingest struct {
	events []map[string]any
	busy   int
	key    string
}

func (s *ingest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.busy > 0 {
		s.busy--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if key, _, _ := r.BasicAuth(); s.key != "" && key != s.key {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var body struct {
		Batch []map[string]any `json:"batch"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.URL.Path != "/v1/batch" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	var refused []map[string]any
	for i, e := range body.Batch {
		if e["event"] == "bad" {
			refused = append(refused, map[string]any{"index": i, "field": "event", "why": "is bad", "dead_letter": "x1"})
			continue
		}
		s.events = append(s.events, e)
	}
	if err := json.NewEncoder(w).Encode(map[string]any{"success": true, "refused": refused}); err != nil {
		w.WriteHeader(http.StatusInternalServerError)
	}
}

func door(t *testing.T, s *ingest) *bench {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return &bench{env: map[string]string{"REFRAIN_HTTP": server.URL}}
}

func TestPublish(t *testing.T) {
	s := &ingest{busy: 1}
	b := door(t, s)
	b.stdin = `{"type":"track","userId":"ann","event":"order","messageId":"m1","properties":{"total":42}}

{"type":"order_placed","id":"e2","at":"2026-01-01T00:00:00Z","identifiers":[{"kind":"user_id","value":"ann"},{"kind":"email","value":"a@b.example"}],"properties":{"total":9007199254740993},"context":{"time_zone":"Asia/Tokyo"}}
{"type":"identify","identifiers":[{"kind":"anonymous_id","value":"x"}],"traits":{"a":1},"id":"e3"}
`
	b.run(t, "publish", "-").want(t, 0, "3 events accepted, 0 refused, of 3 lines", "")
	want := []map[string]any{
		{"type": "track", "userId": "ann", "event": "order", "messageId": "m1", "properties": map[string]any{"total": 42.0}},
		{
			"type": "track", "event": "order_placed", "userId": "ann", "messageId": "e2", "timestamp": "2026-01-01T00:00:00Z",
			"properties": map[string]any{"total": 9007199254740993.0},
			"context": map[string]any{
				"time_zone": "Asia/Tokyo", "timezone": "Asia/Tokyo",
				"externalIds": []any{map[string]any{"type": "email", "id": "a@b.example"}},
			},
		},
		{"type": "identify", "anonymousId": "x", "traits": map[string]any{"a": 1.0}, "messageId": "e3"},
	}
	if diff := cmp.Diff(want, s.events); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPublishRefused(t *testing.T) {
	s := &ingest{}
	b := door(t, s)
	b.stdin = `{"type":"track","userId":"a","event":"good"}
not json
{"type":"track","userId":"a","event":"bad"}
{"identifiers":[{}],"type":"x"}
[1]
` + `{"type":"track","event":"` + strings.Repeat("x", 40000) + `"}` + "\n"
	r := b.run(t, "publish", "-", "-o", "json")
	var got struct {
		Events, Accepted int
		Refused          []struct {
			Line       int
			Why        string
			DeadLetter string `json:"dead_letter"`
		}
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatal(err)
	}
	lines := map[int]bool{}
	for _, x := range got.Refused {
		lines[x.Line] = true
	}
	if r.code != 1 || got.Events != 6 || got.Accepted != 1 || len(lines) != 5 || lines[1] {
		t.Errorf("got code %d, %+v", r.code, got)
	}
}

// An event without id gets the same one whenever the file is published, and no two lines the same one.
func TestPublishIDs(t *testing.T) {
	s := &ingest{}
	b := door(t, s)
	file := filepath.Join(t.TempDir(), "events.ndjson")
	const n = 1200 // more than one batch
	text := strings.Repeat(`{"type":"track","userId":"ann","event":"visit"}`+"\n", n)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b.run(t, "publish", file).want(t, 0, fmt.Sprintf("%d events accepted", n), "")
	}
	seen := map[any]int{}
	for _, e := range s.events {
		seen[e["messageId"]]++
	}
	if len(seen) != n || len(s.events) != 2*n {
		t.Errorf("got %d ids for %d events", len(seen), len(s.events))
	}
}

func TestPublishFailures(t *testing.T) {
	b := door(t, &ingest{key: "secret"})
	b.stdin = `{"type":"track","userId":"a","event":"x"}`
	b.run(t, "publish", "-").want(t, 2, "0 events accepted", "write key")
	b.run(t, "publish", "-", "--write-key", "secret").want(t, 0, "1 event accepted", "")
	b.run(t, "publish", "nowhere.ndjson").want(t, 2, "", "cannot be read")
	b = door(t, &ingest{busy: 1000})
	b.stdin = `{"type":"track","userId":"a","event":"x"}`
	b.run(t, "publish", "-", "--patience", "0s").want(t, 2, "0 events accepted, 0 refused, of 1 line", "publish lines 1 to 1: ingest answers 503")
}
