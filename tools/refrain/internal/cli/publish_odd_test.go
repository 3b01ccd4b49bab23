package cli_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// report is what publish says with -o json.
type report struct {
	Events, Accepted int
	Refused          []struct {
		Line, Event int
		Why         string
	}
	Remarks []struct {
		Field, Why string
		First      []int
	}
}

func published(t *testing.T, s *ingest, code int, text string) report {
	t.Helper()
	b := door(t, s)
	b.stdin = text
	r := b.run(t, "publish", "-", "-o", "json")
	var got report
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != code {
		t.Fatalf("got code %d, want %d: %v %q %q", r.code, code, err, r.out, r.errout)
	}
	return got
}

// A null is no event. It is refused where it stands, and the rest is published.
func TestPublishRefusesNull(t *testing.T) {
	const good = `{"type":"track","userId":"a","event":"x","messageId":"m1"}`
	for _, text := range []string{"null", good + "\nnull\n", "[" + good + ", null]"} {
		got := published(t, &ingest{}, 1, text)
		if len(got.Refused) != 1 || got.Refused[0].Line+got.Refused[0].Event != got.Events || got.Refused[0].Why != "it is null: want a JSON object" || got.Accepted != got.Events-1 {
			t.Errorf("%s: got %+v", text, got)
		}
	}
}

// Files that were put together have byte order marks in their middle.
func TestPublishSkipsEveryByteOrderMark(t *testing.T) {
	const line = "\uFEFF" + `{"type":"track","userId":"a","event":"x"}` + "\n"
	if got := published(t, &ingest{}, 0, line+line+"\uFEFF\n"+line); got.Accepted != 3 || len(got.Refused) > 0 {
		t.Errorf("got %+v", got)
	}
}

// No identifier of an event is lost, whatever its kind and however many there are.
func TestPublishSendsEveryIdentifier(t *testing.T) {
	s := &ingest{}
	published(t, s, 0, `{"type":"order","id":"e1","identifiers":[{"kind":"user_id","value":"ann"},{"kind":"user_id","value":"anna"},{"kind":"email","value":"a@b.example"}],"account":{"kind":"account_id","value":"acme"},"context":{"externalIds":[{"type":"phone","id":"+4930123456"}]}}`)
	want := []map[string]any{{
		"type": "track", "event": "order", "messageId": "e1", "userId": "ann",
		"context": map[string]any{"groupId": "acme", "externalIds": []any{
			map[string]any{"type": "phone", "id": "+4930123456"}, map[string]any{"type": "user_id", "id": "anna"}, map[string]any{"type": "email", "id": "a@b.example"},
		}},
	}}
	if diff := cmp.Diff(want, s.events); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s = &ingest{}
	published(t, s, 0, `{"type":"group","id":"e2","identifiers":[{"kind":"user_id","value":"ann"}],"account":{"kind":"account_id","value":"acme"}}`)
	if s.events[0]["groupId"] != "acme" {
		t.Errorf("the group is lost: %v", s.events)
	}
}

// A member that has no place in what is sent is remarked on. Remarks go from the first line to the last.
func TestPublishRemarksInOrder(t *testing.T) {
	got := published(t, &ingest{}, 0, `{"type":"track","userId":"a","event":"odd","messageId":"m1"}
{"type":"order","id":"m2","sent_at":"x","identifiers":[{"kind":"user_id","value":"ann"}]}
{"type":"track","userId":"a","event":"odd","messageId":"m1"}
`)
	var fields []string
	for _, r := range got.Remarks {
		fields = append(fields, r.Field)
	}
	if diff := cmp.Diff([]string{"context.timezone", "sent_at", "messageId"}, fields); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
