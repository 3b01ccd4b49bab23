package meshsvc

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
)

// An unsubscribe link leads to where ingest really listens, also if the system chose the port.
func TestUnsubscribeLinksLeadToIngest(t *testing.T) {
	r := start(t, words{})
	r.customer("ada")
	r.order("ada", "order-1")
	r.waitFor(user("ada"), "contact_sent", 1)
	f, err := os.Open(filepath.Join(r.cfg.Dir, "channels", "email.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	line, err := bufio.NewReader(f).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var sent struct {
		Unsubscribe string `json:"unsubscribe_url"`
	}
	if err := json.Unmarshal(line, &sent); err != nil || !strings.HasPrefix(sent.Unsubscribe, r.url+"/u/") {
		t.Fatalf("got %q, %v; want a link to %s", sent.Unsubscribe, err, r.url)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, sent.Unsubscribe, strings.NewReader("List-Unsubscribe=One-Click"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("one click answers %s", res.Status)
	}
	r.waitFor(user("ada"), "consent_withdrawn", 1)
}

// What the operator says about the address counts.
func TestThePublicAddressIsTheOperators(t *testing.T) {
	r := start(t, words{}, func(c *Config) { c.Dispatch.PublicURL = "https://mail.shop.example" })
	r.customer("ada")
	r.order("ada", "order-1")
	r.waitFor(user("ada"), "contact_sent", 1)
	data, err := os.ReadFile(filepath.Join(r.cfg.Dir, "channels", "email.jsonl"))
	if err != nil || !strings.Contains(string(data), `"unsubscribe_url":"https://mail.shop.example/u/`) {
		t.Errorf("got %s, %v", data, err)
	}
}

func TestADoorForAllAddressesIsReachedByLoopback(t *testing.T) {
	for want, at := range map[string]net.Addr{
		"127.0.0.1:7": &net.TCPAddr{IP: net.IPv6unspecified, Port: 7},
		"10.0.0.5:7":  &net.TCPAddr{IP: net.IPv4(10, 0, 0, 5), Port: 7},
	} {
		if got := reachable(at); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// A query that reserves asks suppression, which is in the same process.
func TestReservingWorksInOneProcess(t *testing.T) {
	r := start(t, words{})
	r.customer("ada")
	r.order("ada", "order-1")
	r.waitFor(user("ada"), "contact_sent", 1)
	res, err := r.decisions.NextBestActions(t.Context(), &decisionv1.NextBestActionsRequest{Identifier: user("ada"), Placement: "web-banner", Reserve: true})
	if err != nil || len(res.GetItems()) == 0 {
		t.Fatalf("got %v, %v; want an item whose room is reserved", res, err)
	}
}
