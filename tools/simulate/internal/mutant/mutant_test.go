package mutant_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"refrain.dev/tools/simulate/internal/mutant"
)

const good = `a number is wrong
found as: send.twice, contact.cap
--- file a/b.go
--- old
	x := 1
--- new
	x := 2
	y := 3
--- file a/b.go
--- old
	z()
--- new
`

func TestParse(t *testing.T) {
	m, err := mutant.Parse("wrong", good)
	if err != nil {
		t.Fatal(err)
	}
	if m.Name != "wrong" || m.Breaks != "a number is wrong" || strings.Join(m.Rules, " ") != "send.twice contact.cap" || m.Test.Name != "" {
		t.Errorf("got %+v", m)
	}
	want := []mutant.Change{{"a/b.go", "\tx := 1\n", "\tx := 2\n\ty := 3\n"}, {"a/b.go", "\tz()\n", ""}}
	if len(m.Changes) != 2 || m.Changes[0] != want[0] || m.Changes[1] != want[1] {
		t.Errorf("changes: got %q, want %q", m.Changes, want)
	}
	m, err = mutant.Parse("tested", strings.Replace(good, "found as: send.twice, contact.cap", "found by: go test ./a/b -run TestB", 1))
	if err != nil || m.Test != (mutant.Test{Package: "a/b", Name: "TestB"}) || len(m.Rules) != 0 {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":            "",
		"no word":            strings.TrimPrefix(good, "a number is wrong\n"),
		"nobody finds it":    strings.Replace(good, "found as: send.twice, contact.cap\n", "", 1),
		"no rule":            strings.Replace(good, "send.twice, contact.cap", "", 1),
		"half a list":        strings.Replace(good, "contact.cap", "", 1),
		"no test":            strings.Replace(good, "found as: send.twice, contact.cap", "found by: go test ./a/b", 1),
		"no change":          "a number is wrong\nfound as: send.twice\n",
		"no old lines":       strings.Replace(good, "--- old\n\tx := 1\n", "--- old\n", 1),
		"no new lines":       strings.Replace(good, "--- new\n\tx := 2\n\ty := 3\n", "", 1),
		"a change of nought": strings.Replace(good, "--- old\n\tz()\n--- new\n", "", 1),
	} {
		if m, err := mutant.Parse("x", text); err == nil {
			t.Errorf("%s: got %+v, want an error", name, m)
		}
	}
}

func TestReadIsInOrder(t *testing.T) {
	all, err := mutant.Read(fstest.MapFS{
		"b.mutant": {Data: []byte(good)}, "a.mutant": {Data: []byte(good)}, "c.txt": {Data: []byte("none")},
	})
	if err != nil || len(all) != 2 || all[0].Name != "a" || all[1].Name != "b" {
		t.Errorf("got %v, %v", all, err)
	}
	if _, err := mutant.Read(fstest.MapFS{"b.mutant": {Data: []byte("bad")}}); err == nil {
		t.Error("a mutant that cannot be read is no error")
	}
}

func TestOverlay(t *testing.T) {
	m, err := mutant.Parse("wrong", good)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"\tx := 1\n\tz()\n":           "\tx := 2\n\ty := 3\n",
		"\tx := 1\n":                  "", // one is missing
		"\tx := 1\n\tx := 1\n\tz()\n": "", // one is there twice
	} {
		root, dir := t.TempDir(), t.TempDir()
		source := filepath.Join(root, "a", "b.go")
		if err := os.MkdirAll(filepath.Dir(source), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay, err := m.Overlay(root, dir)
		if want == "" {
			if err == nil {
				t.Errorf("%q: it was changed", text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := replaced(t, overlay, source); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

// replaced is what an overlay puts in the place of a file.
func replaced(t *testing.T, overlay, source string) string {
	t.Helper()
	data, err := os.ReadFile(overlay) //nolint:gosec // the test's own
	if err != nil {
		t.Fatal(err)
	}
	var read struct{ Replace map[string]string }
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(read.Replace[source])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
