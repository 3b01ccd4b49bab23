package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Without a terminal the tour prints a JSON line per moment; every moment of the story is there, and the
// mail can be opened.
func TestTourTellsTheWeek(t *testing.T) {
	dir := t.TempDir()
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	tr := &tour{dir: filepath.Join(dir, "mesh"), workspace: "../../examples/retail", exit: true, redis: "memory", out: newPrinter(out)}
	if err := tr.run(t.Context()); err != nil {
		t.Fatalf("tour: %v", err)
	}
	all := moved(t, out)
	for _, want := range []struct{ who, what, why string }{
		{"Ann", "welcome-mail sent", ".eml"},
		{"Kenji", "welcome-mail deferred", "QUIET_HOURS until Tue 08:00 in Tokyo"},
		{"Ann", "thank-you suppressed", "used by welcome-mail Mon 09:12"},
		{"Bea", "welcome-mail suppressed", "CONSENT_MISSING"},
		{"Carl", "thank-you superseded", "sorry"},
		{"Carl", "sorry: a task for the team", "team.jsonl"},
	} {
		found := false
		for _, m := range all {
			if m.Who == want.who && m.What == want.what && strings.Contains(m.Why, want.why) {
				found = true
				if strings.HasSuffix(m.Why, ".eml") {
					if mail, err := os.ReadFile(m.Why); err != nil || !strings.Contains(string(mail), "Subject: ") {
						t.Errorf("the mail %s cannot be opened: %v", m.Why, err)
					}
				}
			}
		}
		if !found {
			t.Errorf("no moment %+v", want)
		}
	}
}

// moved reads the moments back.
func moved(t *testing.T, out *os.File) []moment {
	t.Helper()
	f, err := os.Open(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []moment
	s := bufio.NewScanner(f)
	for s.Scan() {
		var m moment
		if err := json.Unmarshal(s.Bytes(), &m); err != nil {
			t.Fatalf("%q is no JSON: %v", s.Text(), err)
		}
		all = append(all, m)
	}
	return all
}

func TestADirectoryOfSomebodyElseIsNotEmptied(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), []byte("years of work"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&tour{dir: dir}).empty(); err == nil {
		t.Error("the directory was emptied")
	}
	if _, err := os.Stat(filepath.Join(dir, "thesis.txt")); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
}

func TestTheLastFullWeek(t *testing.T) {
	for now, want := range map[string]string{
		"2026-11-21T12:00:00Z": "2026-11-09", // a Saturday
		"2026-11-16T00:30:00Z": "2026-11-09", // a Monday
		"2026-11-15T23:30:00Z": "2026-11-02", // a Sunday
		"2026-03-31T23:30:00Z": "2026-03-23", // a Wednesday already, in summer time
	} {
		at, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		if got := monday(at).Format(time.DateOnly); got != want {
			t.Errorf("at %s: got %s, want %s", now, got, want)
		}
	}
}
