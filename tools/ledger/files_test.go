package ledger

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// What a recorder writes is read again, up to a line that was torn off.
func TestRecorder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sent.jsonl")
	r, err := OpenRecorder(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []Sent{
		{ID: "e1", Kind: "track", Identifiers: []string{"user_id:ann"}},
		{ID: "e1", Acknowledged: noon, Position: &Position{Partition: 3, Lane: "live", Sequence: 17}},
		{ID: "e2", Tenant: "other", Acknowledged: noon, OptOut: &OptOut{Channel: "email", Topic: "*"}},
	}
	for _, s := range want {
		if err := r.Sent(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, `{"id":"torn`)
	got, err := ReadSent(path)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("read %v; differs (-want +got):\n%s", err, diff)
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
}

// A provider's log is read, and so are the lines of a file channel.
func TestReadReceived(t *testing.T) {
	path := filepath.Join(t.TempDir(), "received.jsonl")
	r, err := OpenRecorder(path)
	if err != nil {
		t.Fatal(err)
	}
	first := Request{Proposal: "p1", Key: "p1", Channel: "desk", Customer: "aa", Started: noon, Refused: true}
	if err := r.Received(first); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, `{"proposal":"p2","action":"hello","channel":"email","customer":"bb","address":"b@shop.example","at":"2026-01-15T12:00:00Z","token":"x"}`+"\n")
	got, err := ReadReceived(path)
	want := []Request{first, {Proposal: "p2", Channel: "email", Customer: "bb", Address: "b@shop.example", Started: noon, Accepted: true}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("read %v; differs (-want +got):\n%s", err, diff)
	}
	for name, line := range map[string]string{"no JSON": "{", "no proposal": `{"started":"2026-01-15T12:00:00Z"}`, "no time": `{"proposal":"p"}`} {
		appendTo(t, filepath.Join(filepath.Dir(path), name), line+"\n")
		if _, err := ReadReceived(filepath.Join(filepath.Dir(path), name)); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%s: got %v, want an error that names the line", name, err)
		}
	}
	if got, err := ReadFileChannel(filepath.Join(t.TempDir(), "none")); err != nil || got == nil || len(got) != 0 {
		t.Errorf("a channel that wrote nothing: got %v, %v", got, err)
	}
}

// The rules of a workspace are read as they are written.
func TestReadDefinitions(t *testing.T) {
	got, err := ReadDefinitions(fstest.MapFS{
		"workspace.yaml": {Data: []byte("kind: Workspace\nspec: {default_zone: Europe/Berlin}\n---\nkind: Event\nmetadata: {name: x}\nspec: {properties: {a: string}}\n")},
		"sub/actions.yml": {Data: []byte(`
kind: Action
metadata: {name: offer}
spec: {purpose: marketing, counts_toward_caps: false}
---
kind: Action
metadata: {name: sorry}
spec: {purpose: service, obeys_caps: true}
`)},
		"contact.yaml": {Data: []byte(`
kind: ContactPolicy
metadata: {name: cadence}
spec:
  applies: {purpose: [marketing], channel: [email]}
  consent: required
  caps:
  - {max: 1, per: {calendar: day, zone: recipient}}
  - {max: 3, per: P7D, channel: email, blocked: defer}
  - {max: 2, per: {rolling: P1DT1H30M0.5S}, action: offer}
  gap: PT4H
  quiet: {from: "20:00", to: "08:30", unknown_zone: workspace}
---
kind: ContactPolicy
metadata: {name: all}
spec: {consent: not_required}
---
kind: Channel
metadata: {name: rep}
spec: {adapter: smtp, endpoint: rep_email}
---
kind: Channel
metadata: {name: push}
spec: {adapter: nats, endpoint: token}
---
kind: Channel
metadata: {name: mail}
spec: {adapter: smtp, endpoint: email}
---
kind: Channel
metadata: {name: web}
spec: {adapter: none}
---
kind: Identifier
metadata: {name: token}
spec: {class: endpoint, channel: push}
`)},
		"README.md": {Data: []byte("kind: [")},
	})
	want := &Definitions{
		Tenant: "default", Zone: "Europe/Berlin", Actions: map[string]Action{"offer": {Obeys: true}, "sorry": {Obeys: true}},
		Staff: map[string]bool{"rep": true}, Channels: []string{"rep", "push", "mail", "web"}, Topics: []string{},
		Policies: []Policy{
			{
				Name: "cadence", Selects: true, Purposes: []string{"marketing"}, Channels: []string{"email"}, Consent: "required", Gap: 4 * time.Hour,
				Limits: []Limit{
					{Max: 1, Calendar: "day", Zone: "recipient"}, {Max: 3, Rolling: 7 * 24 * time.Hour, Channel: "email"},
					{Max: 2, Rolling: 25*time.Hour + 30*time.Minute + 500*time.Millisecond, Action: "offer"},
				},
				Quiet: &Quiet{From: 20 * 60, To: 8*60 + 30, Workspace: true},
			},
			{Name: "all", Consent: "not_required"},
		},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("read %v; differs (-want +got):\n%s", err, diff)
	}
	for name, text := range map[string]string{
		"month":  "kind: ContactPolicy\nspec: {caps: [{max: 1, per: P1M}]}",
		"year":   "kind: ContactPolicy\nspec: {caps: [{max: 1, per: {calendar: year}}]}",
		"hour":   "kind: ContactPolicy\nspec: {quiet: {from: '8', to: '9'}}",
		"period": "kind: ContactPolicy\nspec: {gap: P}",
		"yaml":   "kind: [",
	} {
		if _, err := ReadDefinitions(fstest.MapFS{name + ".yaml": {Data: []byte(text)}}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, want an error that names the file", name, err)
		}
	}
}

// growing is a broker on which a chain goes on while it is read.
type growing struct {
	*log.Memory

	grow func()
}

func (g *growing) Last(ctx context.Context, subject string) (log.Message, error) {
	if g.grow != nil && subject == "box.profile.0" {
		g.grow()
		g.grow = nil
	}
	return g.Memory.Last(ctx, subject)
}

// A history that is loaded is the one that was made, also while the log goes on.
func TestLoad(t *testing.T) {
	ctx := t.Context()
	w := goodWorld(t)
	want := w.history()
	broker, gen, err := log.ProvisionMemory(ctx, log.Generation{Number: 1, Partitions: worldPartitions, Streams: 1, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	store := state.NewMemory()
	report := func() *Report {
		h, err := Load(ctx, &growing{Memory: broker, grow: func() {
			last, _ := broker.Last(ctx, "prf.0")
			if _, err := broker.Append(ctx, "prf.0", last.Sequence, last.Data); err != nil {
				t.Error(err)
			}
		}}, store, gen)
		if err != nil {
			t.Fatal(err)
		}
		if len(h.Log["evt.live.0"]) != 3 || h.Ends["prf.0"] <= h.end("prf.0") {
			t.Errorf("lane has %d messages, want 3; prf.0 was read up to %d and ends at %d", len(h.Log["evt.live.0"]), h.end("prf.0"), h.Ends["prf.0"])
		}
		return Verify(h)
	}
	for _, subject := range sorted(want.Log) {
		if strings.HasPrefix(subject, "evt.") {
			for _, m := range want.Log[subject] {
				if _, err := broker.Publish(ctx, subject, m.Data); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	got := report()
	// The chains have their genesis and are never owned; the store is empty.
	if got.Count > 0 || got.Records != 8 || len(got.Unchecked) == 0 {
		t.Errorf("got %v, %d records, not checked %q", got.Violations, got.Records, got.Unchecked)
	}
}
