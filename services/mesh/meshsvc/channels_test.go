package meshsvc

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"

	"refrain.dev/pkg/embed/embedtest"
)

// line is what a file channel writes, as far as the tests look at it.
type line struct {
	Proposal, Action, Address, Subject, Body, Token string

	Unsubscribe string `json:"unsubscribe_url"`
}

// lines reads what a file channel has written.
func (r *running) lines(channel string) []line {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.cfg.Dir, "channels", channel+".jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		r.t.Fatal(err)
	}
	var out []line
	for raw := range bytes.Lines(data) {
		var l line
		if err := json.Unmarshal(raw, &l); err != nil {
			r.t.Fatalf("line %q: %v", raw, err)
		}
		out = append(out, l)
	}
	return out
}

// relay is a real SMTP server and what it was given.
type relay struct {
	address string

	mu    sync.Mutex
	mails []received
}

type received struct {
	From string
	To   []string
	Data string
}

// startRelay runs aiosmtpd until the test ends.
func startRelay(t *testing.T) *relay {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), embedtest.Python(t), filepath.Join("testdata", "smtp.py")) //nolint:gosec // our own script
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(out)
	s.Buffer(nil, 1<<20)
	if !s.Scan() {
		t.Fatalf("the SMTP server says nothing: %v", s.Err())
	}
	r := &relay{address: s.Text()}
	var read sync.WaitGroup
	read.Go(func() {
		for s.Scan() {
			var m received
			if err := json.Unmarshal(s.Bytes(), &m); err != nil {
				t.Errorf("the SMTP server says %q", s.Text())
				continue
			}
			r.mu.Lock()
			r.mails = append(r.mails, m)
			r.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		read.Wait()
		_ = cmd.Wait()
	})
	return r
}

func (r *relay) got() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.mails)
}

// "A real SMTP server receives a mail whose headers are checked"; its one-click link ends the mails.
func TestAMailThroughTheWholeMeshCanBeUnsubscribedByOneClick(t *testing.T) {
	server := startRelay(t)
	r := start(t, words{"EMAIL": `adapter: smtp, config: {address: "` + server.address + `", from: "Der Lädle <shop@shop.example>"}`})
	r.customer("ada")
	r.order("ada", "order-1")
	sent := r.waitFor(user("ada"), "delivery_accepted", 1)
	got := server.got()
	if len(got) != 1 || got[0].From != "shop@shop.example" || !slices.Equal(got[0].To, []string{"ada@shop.example"}) {
		t.Fatalf("the server got %+v", got)
	}
	link := checkMail(t, got[0].Data, sent[0].GetId())
	if "http://"+link.Host != r.url {
		t.Errorf("the link leads to %s, ingest listens at %s", link.Host, r.url)
	}
	resp, err := http.PostForm(link.String(), url.Values{"List-Unsubscribe": {"One-Click"}}) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("one click: %s", resp.Status)
	}
	r.waitFor(user("ada"), "consent_withdrawn", 1)
	r.order("ada", "order-2")
	no := r.waitFor(user("ada"), "contact_suppressed", 1)
	if codes := codesOf(no[0].GetReasons()); !slices.Contains(codes, reasonv1.Code_CODE_UNSUBSCRIBED) {
		t.Errorf("the next mail is suppressed with %v", codes)
	}
	if n := len(server.got()); n != 1 {
		t.Errorf("the server got %d mails", n)
	}
}

func codesOf(reasons []*reasonv1.Reason) []reasonv1.Code {
	var codes []reasonv1.Code
	for _, r := range reasons {
		codes = append(codes, r.GetCode())
	}
	return codes
}

// checkMail looks at the headers that RFC 5322, 2047, 2919 and 8058 ask for, and returns the one-click link.
func checkMail(t *testing.T, data, proposal string) *url.URL {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(data))
	if err != nil {
		t.Fatalf("the mail cannot be read: %v\n%s", err, data)
	}
	for name, want := range map[string]string{
		"Message-Id": "<" + proposal + "@shop.example>", "List-Id": "<news.shop.example>",
		"List-Unsubscribe-Post": "List-Unsubscribe=One-Click", "To": "<ada@shop.example>",
	} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"Subject", "From"} {
		raw := m.Header.Get(name)
		if strings.ContainsFunc(raw, func(r rune) bool { return r > 0x7e }) || !strings.HasPrefix(raw, "=?") {
			t.Errorf("%s is not encoded: %q", name, raw)
		}
	}
	if subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil || subject != "Grüße zu order-1" {
		t.Errorf("subject %q (%v)", subject, err)
	}
	if _, err := m.Header.Date(); err != nil {
		t.Errorf("date: %v", err)
	}
	link, err := url.Parse(strings.Trim(m.Header.Get("List-Unsubscribe"), "<>"))
	if err != nil || !strings.HasPrefix(link.Path, "/u/") || link.Scheme != "http" {
		t.Fatalf("List-Unsubscribe is %q", m.Header.Get("List-Unsubscribe"))
	}
	return link
}

const hookSecret = "whsec_c2VjcmV0IG9mIHRoZSBtZXNoJ3Mgb3duIHRlc3RzLg=="

// receiver is a webhook of somebody else's, with the official library.
type receiver struct {
	*httptest.Server

	mu     sync.Mutex
	ids    []string
	bodies []string
	header []http.Header
}

// startReceiver verifies every request and answers its nth with answers[n], the last for ever.
func startReceiver(t *testing.T, answers ...int) *receiver {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(hookSecret)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Errorf("read the webhook's body: %v", err)
		}
		if err := verifier.Verify(body, req.Header); err != nil {
			t.Errorf("the official library refuses the signature: %v", err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		status := answers[min(len(r.ids), len(answers)-1)]
		r.ids = append(r.ids, req.Header.Get(standardwebhooks.HeaderWebhookID))
		r.bodies, r.header = append(r.bodies, string(body)), append(r.header, req.Header.Clone())
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "60")
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) words() words {
	return words{"HOOK": `adapter: webhook, config: {url: "` + r.URL + `/in", secret_env: HOOK_SECRET}`}
}

func (r *receiver) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ids)
}

// first is the first request that came.
func (r *receiver) first() (body string, header http.Header) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bodies[0], r.header[0]
}

func secrets(c *Config) {
	c.Dispatch.Secret = func(name string) (string, bool) { return hookSecret, name == "HOOK_SECRET" }
}

// monday is a time for the replay clock.
const monday = "2026-03-02T09:00:00Z"

func (r *running) stockAt(user, id, at string) {
	r.t.Helper()
	r.call("track", object{"userId": user, "messageId": id, "event": "stock_back", "timestamp": at, "properties": object{"item": "item-" + id}})
}

func replay(c *Config) { c.Clock = ClockReplay }

// settle lets the replay clock run on and waits until nothing is left to do.
func (r *running) settle(by time.Duration) {
	r.t.Helper()
	r.Replay().Advance(func(from time.Time) time.Time { return from.Add(by) })
	r.eventually("the mesh has settled", func() bool { return r.Replay().Status().Settled })
}

func TestAWebhookReceiverVerifiesADeliveryOfTheWholeMesh(t *testing.T) {
	hook := startReceiver(t, http.StatusAccepted)
	r := start(t, hook.words(), secrets)
	r.stock("ada", "back-1")
	sent := r.waitFor(user("ada"), "delivery_accepted", 1)
	if got := hook.got(); !slices.Equal(got, []string{sent[0].GetId()}) {
		t.Fatalf("the receiver got %v, the timeline says %v", got, sent[0])
	}
	var payload struct {
		Type string
		Data line
	}
	body, _ := hook.first()
	if err := json.Unmarshal([]byte(body), &payload); err != nil {
		t.Fatal(err)
	}
	if payload.Data.Subject != "Back: item-back-1" || payload.Data.Proposal != sent[0].GetId() {
		t.Errorf("the receiver got %+v", payload)
	}
}

// "Retry only what is provably unsent; the rest is UNKNOWN": a 500 may follow an acceptance.
func TestAWebhookThatFailsAfterItMayHaveTakenItIsUnknownAndNeverRepeated(t *testing.T) {
	hook := startReceiver(t, http.StatusInternalServerError)
	r := start(t, hook.words(), secrets, replay)
	r.stockAt("ada", "back-1", monday)
	r.settle(48 * time.Hour)
	r.waitFor(user("ada"), "delivery_unknown", 1)
	if got := hook.got(); len(got) != 1 {
		t.Errorf("the receiver was called %d times", len(got))
	}
}

// A 429 proves that nothing was taken: it comes again, with the same id, not before Retry-After.
func TestAWebhookThatThrottlesIsCalledAgain(t *testing.T) {
	hook := startReceiver(t, http.StatusTooManyRequests, http.StatusOK)
	r := start(t, hook.words(), secrets, replay)
	r.stockAt("ada", "back-1", monday)
	r.settle(59 * time.Second)
	if got := hook.got(); len(got) != 1 {
		t.Fatalf("the receiver was called %d times within Retry-After", len(got))
	}
	r.settle(time.Hour)
	sent := r.waitFor(user("ada"), "delivery_accepted", 1)
	if got := hook.got(); !slices.Equal(got, []string{sent[0].GetId(), sent[0].GetId()}) {
		t.Errorf("the receiver got %v", got)
	}
}

// Under the replay clock time follows the events: the first one has to say when it happened.
func TestTheFirstEventOfAReplaySaysWhenItHappened(t *testing.T) {
	r := start(t, nil, replay)
	track := `{"userId":"ada","messageId":"%s","event":"stock_back","properties":{"item":"hat"}}`
	code, a := r.post("/v1/track", fmt.Appendf(nil, track, "too-soon"))
	if code != http.StatusOK || len(a.Refused) != 1 || a.Refused[0].Field != "timestamp" {
		t.Fatalf("answered %d %+v, want a refusal of the timestamp", code, a)
	}
	r.stockAt("ada", "back-1", monday)
	r.settle(time.Minute)
	r.waitFor(user("ada"), "delivery_accepted", 1)
	if code, a = r.post("/v1/track", fmt.Appendf(nil, track, "now")); code != http.StatusOK || len(a.Refused) > 0 {
		t.Fatalf("answered %d %+v", code, a)
	}
	r.settle(time.Minute)
	r.waitFor(user("ada"), "delivery_accepted", 2)
}
