package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"refrain.dev/tools/ledger"
)

// record writes a file of lines.
func record(t *testing.T, write func(*ledger.Recorder) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lines.jsonl")
	r, err := ledger.OpenRecorder(path)
	if err == nil {
		err = write(r)
	}
	if err == nil {
		err = r.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Verify says what is wrong and what it did not check, and exits with 1 if anything is wrong.
func TestLedgerVerify(t *testing.T) {
	m := memory(t)
	b := &bench{site: m}
	b.run(t, "ledger", "verify").want(t, 0, "ledger: events=0 profiles=0", "")
	b.run(t, "ledger", "verify").want(t, 0, "  not checked: states: the store is not known", "")
	b.run(t, "ledger", "verify").want(t, 0, "  not checked: events: the client's log is not known", "")

	sent := record(t, func(r *ledger.Recorder) error {
		for _, id := range []string{"e1", "e2", "e3"} {
			if err := r.Sent(ledger.Sent{ID: id, Acknowledged: noon}); err != nil {
				return err
			}
		}
		return nil
	})
	b.run(t, "ledger", "verify", "--accepted", sent).want(t, 1, "wrong: event.lost: e1: it was acknowledged and is in no lane", "3 violations")
	b.run(t, "ledger", "verify", "--accepted", sent, "--limit", "1").want(t, 1, "… and 2 more", "")

	received := record(t, func(r *ledger.Recorder) error {
		return r.Received(ledger.Request{Proposal: "p1", Channel: "email", Started: noon.Add(time.Second), Accepted: true})
	})
	r := b.run(t, "ledger", "verify", "--received", received, "-o", "json")
	r.want(t, 1, `"rule": "send.forged"`, "1 violation")
	var report ledger.Report
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || report.Count != 1 || len(report.Unchecked) == 0 {
		t.Errorf("got %+v, %v", report, err)
	}

	// A record that nobody who owned the chain appended.
	appendRecord(t, m, "prf.1", "evt.live", 3, eventApplied())
	r = b.run(t, "ledger", "verify", "--settled")
	r.want(t, 1, "wrong: chain.owner: prf.1: record 3 was appended before any OPEN", "")
	r.want(t, 1, "wrong: chain.gap", "")
}

// What cannot be read is no violation: it is an error.
func TestLedgerVerifyErrors(t *testing.T) {
	b := &bench{site: memory(t)}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "contact.yaml"), []byte("kind: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--accepted", filepath.Join(dir, "none")}, {"--received", filepath.Join(dir, "none")}, {"--definitions", dir}, {"--redis", filepath.Join(dir, "no.sock")},
	} {
		r := b.run(t, append([]string{"ledger", "verify"}, args...)...)
		r.want(t, 2, "", args[0])
		if strings.Contains(r.out, "ledger:") {
			t.Errorf("%v: a report was printed:\n%s", args, r.out)
		}
	}
	b.run(t, "ledger", "verify", "--window", "push=soon").want(t, 2, "", "push=1h")
	b.run(t, "ledger", "verify", "--window", "push=1h").want(t, 0, "ledger:", "")
	b.run(t, "ledger").want(t, 2, "", "want verify")
}
