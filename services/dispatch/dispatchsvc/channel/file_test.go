package channel

import (
	"encoding/json"
	"fmt"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
)

func fileAdapter(t *testing.T, o Options, config map[string]string) *file {
	t.Helper()
	a, err := Build(&definitionv1.Channel{Adapter: "file", Config: config}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a.(*file)
}

func lines(t *testing.T, path string) []Payload {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []Payload
	for line := range strings.Lines(string(data)) {
		var p Payload
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		out = append(out, p)
	}
	return out
}

func TestFileAppendsOneLinePerMessage(t *testing.T) {
	o := local(t)
	config := map[string]string{"path": "out/mail.jsonl", "sync": "true"}
	a, b := fileAdapter(t, o, config), fileAdapter(t, o, config)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			adapter := a
			if i%2 == 0 {
				adapter = b
			}
			isAccepted().check(t, adapter.Send(t.Context(), message(fmt.Sprint("p", i))))
		})
	}
	wg.Wait()
	got := lines(t, filepath.Join(o.DataDir, "out/mail.jsonl"))
	if len(got) != 40 {
		t.Fatalf("lines = %d, want 40", len(got))
	}
	p := got[0]
	if p.Customer != "0a1b" || p.Subject != "Grüße, Ada" || p.Topic != "news" || p.Context["total"] != 12.5 || p.At.IsZero() {
		t.Errorf("line = %+v", p)
	}
}

func TestFileLookUpTellsAndATornLineIsCutOff(t *testing.T) {
	o := local(t)
	a := fileAdapter(t, o, map[string]string{"path": "f.jsonl"})
	path := filepath.Join(o.DataDir, "f.jsonl")
	isAccepted().check(t, a.Send(t.Context(), message("whole")))
	whole, _ := os.ReadFile(path)
	torn := append(append([]byte{}, whole...), []byte(`{"proposal":"torn","action":`)...)
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	again := fileAdapter(t, o, map[string]string{"path": "f.jsonl"})
	for proposal, want := range map[string]outcome{"whole": isAccepted(), "torn": isLater(), "never": isLater()} {
		r, err := again.LookUp(t.Context(), proposal)
		if err != nil {
			t.Fatal(err)
		}
		want.check(t, r)
	}
	isAccepted().check(t, again.Send(t.Context(), message("next")))
	r, err := again.LookUp(t.Context(), "next")
	if err != nil {
		t.Fatal(err)
	}
	isAccepted().check(t, r)
	if got := lines(t, path); len(got) != 2 {
		t.Errorf("lines = %v, want whole and next", got)
	}
}

func TestFileOnlyOfATornLine(t *testing.T) {
	o := local(t)
	path := filepath.Join(o.DataDir, "f")
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 10000)), 0o600); err != nil {
		t.Fatal(err)
	}
	isAccepted().check(t, fileAdapter(t, o, map[string]string{"path": "f"}).Send(t.Context(), message("p")))
	if got := lines(t, path); len(got) != 1 {
		t.Errorf("lines = %v, want one", got)
	}
}

func TestMaildirHoldsMailsThatOpen(t *testing.T) {
	o := local(t)
	a := fileAdapter(t, o, map[string]string{"path": "f", "maildir": "mail", "from": "Shop <shop@shop.example>"})
	r := a.Send(t.Context(), message("p1"))
	isAccepted().check(t, r)
	f, err := os.Open(r.ProviderID)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	m, err := mail.ReadMessage(f)
	if err != nil {
		t.Fatal(err)
	}
	checkMail(t, m)
	m2 := message("p2")
	m2.Subject = "Hi\r\nBcc: all@shop.example"
	isUnsent().check(t, a.Send(t.Context(), m2))
	if got := lines(t, filepath.Join(o.DataDir, "f")); len(got) != 1 {
		t.Errorf("a message that was refused left a line: %v", got)
	}
}

func TestFileSettings(t *testing.T) {
	for name, config := range map[string]map[string]string{
		"no path": {}, "out of the directory": {"path": "../x"}, "maildir out of it": {"path": "x", "maildir": "../../y"},
	} {
		if _, err := Build(&definitionv1.Channel{Adapter: "file", Config: config}, local(t)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := Build(&definitionv1.Channel{Adapter: "none"}, local(t)); err == nil {
		t.Error("adapter none was built")
	}
}
