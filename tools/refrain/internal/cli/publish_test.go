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
	"time"

	"github.com/google/go-cmp/cmp"
)

// ingest is a door that keeps what it takes and refuses events of the type "bad".
type ingest struct {
	events []map[string]any
	busy   int
	key    string
	clock  string
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
	var refused, remarks []map[string]any
	for i, e := range body.Batch {
		if e["event"] == "bad" {
			refused = append(refused, map[string]any{"index": i, "field": "event", "why": "is bad", "dead_letter": "x1"})
			continue
		}
		if e["event"] == "odd" {
			remarks = append(remarks, map[string]any{"index": i, "field": "context.timezone", "why": "is no zone, such as Europe/Berlin; it was set aside"})
		}
		s.events = append(s.events, e)
	}
	if err := json.NewEncoder(w).Encode(map[string]any{"success": true, "refused": refused, "remarks": remarks, "clock": s.clock}); err != nil {
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
	b.run(t, "publish", "-", "--patience", "0s").want(t, 2, "0 events accepted, 0 refused, of 1 line", "refrain: ingest answers 503 Service Unavailable")
}

// What Excel and others put before UTF-8 is skipped, and an array is as good as lines.
func TestPublishTakesByteOrderMarkAndArray(t *testing.T) {
	for name, text := range map[string]string{
		"mark":           "\uFEFF" + `{"type":"track","userId":"a","event":"x","messageId":"m1"}` + "\r\n" + `{"type":"track","userId":"a","event":"y","messageId":"m2"}` + "\r\n",
		"array":          `[{"type":"track","userId":"a","event":"x","messageId":"m1"},{"type":"track","userId":"a","event":"y","messageId":"m2"}]`,
		"mark and array": "\uFEFF\n[\n  {\n \"type\":\"track\",\"userId\":\"a\",\"event\":\"x\",\n\"messageId\":\"m1\"},\n" + `{"type":"track","userId":"a","event":"y","messageId":"m2"}` + "\n]\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := &ingest{}
			b := door(t, s)
			b.stdin = text
			b.run(t, "publish", "-").want(t, 0, "2 events accepted, 0 refused, of 2 ", "")
			if len(s.events) != 2 || s.events[0]["event"] != "x" || s.events[1]["messageId"] != "m2" {
				t.Errorf("got %v", s.events)
			}
		})
	}
	b := door(t, &ingest{})
	b.stdin = "\xFF\xFE{\x00"
	b.run(t, "publish", "-").want(t, 2, "", "UTF-16: save them as UTF-8")
	b.stdin = "[]"
	b.run(t, "publish", "-").want(t, 0, "0 events accepted, 0 refused, of 0 events", "")
	b.stdin = `[{"type":"track","userId":"a","event":"x"}, {"type":`
	b.run(t, "publish", "-").want(t, 2, "1 event accepted, 0 refused, of 1 event", "event 2 of the array")
	b.stdin = `[{"type":"track","userId":"a","event":"x"}, 7, {"type":"track","userId":"a","event":"bad"}] x`
	r := b.run(t, "publish", "-", "-o", "json")
	r.want(t, 2, `"event": 2`, "more behind the array")
	r.want(t, 2, `"event": 3`, "")
}

// The report goes from the first line to the last, whoever refused it.
func TestPublishReportsInOrder(t *testing.T) {
	b := door(t, &ingest{})
	b.stdin = `{"type":"track","userId":"a","event":"bad"}
no JSON
{"type":"track","userId":"a","event":"bad"}
[1]
{"type":"track","userId":"a","event":"good"}
{"type":"track","userId":"a","event":"bad"}
`
	r := b.run(t, "publish", "-", "-o", "json")
	var got struct{ Refused []struct{ Line int } }
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatal(err)
	}
	lines := []int{}
	for _, x := range got.Refused {
		lines = append(lines, x.Line)
	}
	if diff := cmp.Diff([]int{1, 2, 3, 4, 6}, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What ingest says about accepted events is printed, once for all that it says it about; so are repeated ids.
func TestPublishSaysWhatHadNoEffect(t *testing.T) {
	b := door(t, &ingest{})
	b.stdin = strings.Repeat(`{"type":"track","userId":"a","event":"odd"}`+"\n", 12) + `{"type":"track","userId":"a","event":"x","messageId":"m1"}
{"type":"track","userId":"b","event":"x","messageId":"m1"}
{"type":"track","userId":"a","event":"x","messageId":"m1"}
`
	r := b.run(t, "publish", "-")
	r.want(t, 0, "15 events accepted, 0 refused, of 15 lines", "")
	r.want(t, 0, "remark on lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more: context.timezone is no zone, such as Europe/Berlin; it was set aside", "")
	r.want(t, 0, "remark on line 15: messageId is that of number 13, too: one of the two has no effect", "")
	if r = b.run(t, "publish", "-", "-o", "json"); !strings.Contains(r.out, `"events": 12`) {
		t.Errorf("got %s; want the number of events", r.out)
	}
}

// While ingest is waited for, the standard error says so: on a terminal at once, else every few seconds.
func TestPublishShowsThatItWaits(t *testing.T) {
	const event = `{"type":"track","userId":"a","event":"x"}`
	b := door(t, &ingest{busy: 1})
	b.stdin, b.terminal = event, true
	r := b.run(t, "publish", "-")
	r.want(t, 0, "1 event accepted", "0 events accepted, 0 refused so far; waiting 100ms, up to 1m0s in all: ingest answers 503")

	b = door(t, &ingest{busy: 2})
	b.stdin = event
	if r = b.run(t, "publish", "-"); r.errout != "" {
		t.Errorf("got %q for a wait that is short; want nothing", r.errout)
	}
	b = door(t, &ingest{busy: 2})
	passed := 0
	b.now = func() time.Time { passed++; return noon.Add(time.Duration(passed) * 3 * time.Second) }
	b.stdin = event
	b.run(t, "publish", "-").want(t, 0, "1 event accepted", "waiting 200ms")
}

// On the replay clock publishing ends when the newest event and all that follows from it has happened.
func TestPublishEndsWithTheClockAtTheNewestEvent(t *testing.T) {
	const event = `{"type":"track","userId":"a","event":"x"}`
	b := door(t, &ingest{clock: "replay"})
	b.dial, b.env["REFRAIN_GRPC"], b.stdin = serve(t, withClock), address, event
	b.run(t, "publish", "-").want(t, 0, "1 event accepted, 0 refused, of 1 line\nall is settled up to 2026-03-01T12:00:00Z", "")
	if r := b.run(t, "publish", "-", "--hold"); r.code != 0 || strings.Contains(r.out, "settled") {
		t.Errorf("got %+v; want that --hold leaves the clock alone", r)
	}
	b.dial = serve(t) // no clock is served
	b.run(t, "publish", "-").want(t, 2, "1 event accepted", "the events are stored, but not all that follows from them")

	b = door(t, &ingest{})
	b.stdin = event
	if r := b.run(t, "publish", "-"); r.code != 0 || strings.Contains(r.out, "settled") {
		t.Errorf("got %+v; want that the machine's clock needs nothing", r)
	}
}
