package crash

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"refrain.dev/tools/ledger"
)

// webhookSecret signs what the desk gets.
const webhookSecret = "a secret of the crash test"

// receiver is a webhook's other end. It keeps every request whose signature holds.
type receiver struct {
	server   *httptest.Server
	verifier *standardwebhooks.Webhook

	mu    sync.Mutex
	lines []ledger.Request
	bad   []string
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhookRaw([]byte(webhookSecret))
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{verifier: verifier}
	r.server = httptest.NewServer(r)
	t.Cleanup(r.server.Close)
	return r
}

// ServeHTTP implements http.Handler: it keeps first and answers then.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	data, err := io.ReadAll(req.Body)
	if err != nil {
		return // cut off: the sender was killed before all of it was here
	}
	var body struct {
		Data ledger.Request `json:"data"`
	}
	started := time.Now()
	id := req.Header.Get(standardwebhooks.HeaderWebhookID)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.verifier.Verify(data, req.Header); err != nil {
		r.bad = append(r.bad, "webhook "+id+": "+err.Error())
	}
	if err := json.Unmarshal(data, &body); err != nil || body.Data.Proposal != id {
		r.bad = append(r.bad, "webhook "+id+" is about proposal "+body.Data.Proposal)
	}
	body.Data.Key, body.Data.Started, body.Data.Accepted = id, started, true
	r.lines = append(r.lines, body.Data)
	w.WriteHeader(http.StatusNoContent)
}

// got returns what was received, and what was wrong with it.
func (r *receiver) got() (lines []ledger.Request, bad []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]ledger.Request(nil), r.lines...), append([]string(nil), r.bad...)
}
