package meshsvc

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/config"
	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/telemetry/telemetrytest"
)

// patience bounds every wait on a busy machine.
const patience = 15 * time.Second

// words fill in testdata/shop; see defaults.
type words map[string]string

func defaults() words {
	return words{
		"EMAIL":   "adapter: file, config: {path: email.jsonl}",
		"HOOK":    "adapter: file, config: {path: hook.jsonl}",
		"COLLECT": "PT0S", "THINK": "P30D", "CAP": "3",
	}
}

// workspace writes testdata/shop, filled in, into a directory.
func workspace(t *testing.T, dir string, w words) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "shop", "shop.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	all := defaults()
	maps.Copy(all, w)
	text := string(raw)
	for k, v := range all {
		text = strings.ReplaceAll(text, "@"+k+"@", v)
	}
	if err := os.WriteFile(filepath.Join(dir, "shop.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// running is a mesh that a test runs, and its clients.
type running struct {
	*Mesh

	t    *testing.T
	cfg  Config
	url  string
	conn *grpc.ClientConn
	logs *telemetrytest.Log
	stop func()

	ingest    eventv1.IngestServiceClient
	profiles  profilev1.ProfileServiceClient
	decisions decisionv1.DecisionServiceClient
	contacts  contactv1.ContactServiceClient
	sends     dispatchv1.DispatchServiceClient
}

// start runs a mesh on a fresh directory and free ports, with the shop's workspace, until the test ends.
func start(t *testing.T, w words, settings ...func(*Config)) *running {
	t.Helper()
	return startIn(t, os.Getenv, w, settings...)
}

// startIn is start with an environment of its own.
func startIn(t *testing.T, getenv func(string) string, w words, settings ...func(*Config)) *running {
	t.Helper()
	cfg := Default()
	cfg.Dir, cfg.Redis, cfg.Partitions = t.TempDir(), RedisMemory, 4
	cfg.NATSPort, cfg.GRPC, cfg.Admin, cfg.Ingest.HTTP = -1, "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Decision.Deadline = config.Duration(5 * time.Second) // a busy machine is no finding
	cfg.Workspace = workspace(t, t.TempDir(), w)

	for _, set := range settings {
		set(&cfg)
	}
	r := &running{t: t, cfg: cfg, logs: &telemetrytest.Log{}}
	m, err := New(t.Context(), cfg, Env{Log: r.logs, Getenv: getenv})
	if err != nil {
		t.Fatalf("start the mesh: %v", err)
	}
	r.Mesh = m
	r.run()
	t.Cleanup(r.stop)
	r.eventually("the mesh is ready", func() bool { return len(m.Ready()) == 0 })
	r.url = "http://" + m.Addr("ingest-http").String()
	r.dial()
	return r
}

func (r *running) run() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("the mesh ended: %v", err)
		}
		if r.t.Failed() {
			r.t.Log(r.logs.End())
		}
	})
}

func (r *running) dial() {
	r.t.Helper()
	conn, err := rpc.Dial(r.Addr("grpc").String(), rpc.ClientConfig{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	r.conn = conn
	r.ingest, r.profiles = eventv1.NewIngestServiceClient(conn), profilev1.NewProfileServiceClient(conn)
	r.decisions, r.contacts = decisionv1.NewDecisionServiceClient(conn), contactv1.NewContactServiceClient(conn)
	r.sends = dispatchv1.NewDispatchServiceClient(conn)
}

// eventually waits for ok, and fails the test if it never is.
func (r *running) eventually(what string, ok func() bool) {
	r.t.Helper()
	eventually(r.t, what, ok)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	over := time.NewTimer(patience)
	defer over.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-over.C:
			t.Fatalf("waited %s in vain: %s", patience, what)
		case <-tick.C:
		}
	}
}

// answer is what ingest says to a publisher of JSON.
type answer struct {
	Success bool
	Error   string
	Refused []struct {
		Index      int
		Field, Why string
		DeadLetter string `json:"dead_letter"`
	}
	Remarks []struct {
		Index      int
		Field, Why string
	}
	Positions []struct {
		Lane      string
		Partition uint32
		Sequence  uint64
	}
}

// position is where the only event of an answer is stored.
func (a answer) position() *eventv1.Position {
	p := a.Positions[0]
	return &eventv1.Position{Lane: p.Lane, Partition: p.Partition, Sequence: p.Sequence}
}

// post sends a body with headers in pairs.
func (r *running) post(path string, body []byte, headers ...string) (int, answer) {
	r.t.Helper()
	return post(r.t, r.url+path, body, headers...)
}

func post(t *testing.T, url string, body []byte, headers ...string) (int, answer) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth("key", "")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("post to %s: %v", url, err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(text, &a); err != nil {
			t.Fatalf("answer %q: %v", text, err)
		}
	}
	return resp.StatusCode, a
}

// object is a JSON object.
type object = map[string]any

// call sends one Segment call and wants it accepted.
func (r *running) call(kind string, body object) answer {
	r.t.Helper()
	return call(r.t, r.url, kind, body)
}

func call(t *testing.T, url, kind string, body object) answer {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	code, a := post(t, url+"/v1/"+kind, data)
	if code != http.StatusOK || !a.Success || len(a.Refused) > 0 || len(a.Positions) != 1 {
		t.Fatalf("%s %s: answered %d %+v", kind, data, code, a)
	}
	return a
}

// customer introduces somebody with an address and consent to mail.
func (r *running) customer(user string) {
	r.t.Helper()
	r.call("identify", object{"userId": user, "messageId": "identify-" + user, "traits": object{"email": user + "@shop.example", "name": "Name of " + user}})
	r.call("track", object{
		"userId": user, "messageId": "consent-" + user, "event": "consent_given",
		"properties": object{"channel": "email", "topic": "*", "basis": "opt_in"},
	})
}

// order is the event that a mail of thanks follows.
func (r *running) order(user, id string) answer {
	r.t.Helper()
	return r.call("track", object{"userId": user, "messageId": id, "event": "order_placed", "properties": object{"order_id": id, "total": 12.5}})
}

// stock is the event that a call of the webhook follows.
func (r *running) stock(user, id string) answer {
	r.t.Helper()
	return r.call("track", object{"userId": user, "messageId": id, "event": "stock_back", "properties": object{"item": "item-" + id}})
}

func user(id string) *eventv1.Identifier { return &eventv1.Identifier{Kind: "user_id", Value: id} }

func anonymous(id string) *eventv1.Identifier {
	return &eventv1.Identifier{Kind: "anonymous_id", Value: id}
}

// profile reads whom an identifier resolves to; nil if nobody has it.
func (r *running) profile(id *eventv1.Identifier) *profilev1.Profile {
	resp, err := r.profiles.GetProfile(r.t.Context(), &profilev1.GetProfileRequest{Identifier: id})
	if err != nil {
		return nil
	}
	return resp.GetProfile()
}

// trait is a trait's text in a profile.
func trait(p *profilev1.Profile, name string) string {
	for _, leaf := range p.GetLeaves() {
		for _, tr := range leaf.GetTraits() {
			if tr.GetName() == name {
				v := tr.GetValue()
				return cmp.Or(v.GetText(), fmt.Sprint(v.GetInteger()))
			}
		}
	}
	return ""
}

// timeline lists what happened to a customer, in order.
func (r *running) timeline(id *eventv1.Identifier) []*profilev1.TimelineEntry {
	r.t.Helper()
	resp, err := r.profiles.ListTimeline(r.t.Context(), &profilev1.ListTimelineRequest{Identifier: id, Limit: 200})
	if err != nil {
		return nil
	}
	return resp.GetEntries()
}

// happened finds the lines of a timeline that say what.
func happened(entries []*profilev1.TimelineEntry, what string) []*profilev1.TimelineEntry {
	return slices.DeleteFunc(slices.Clone(entries), func(e *profilev1.TimelineEntry) bool { return e.GetWhat() != what })
}

// story is a timeline as text.
func story(entries []*profilev1.TimelineEntry) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "%s %s %s %s %v\n", e.GetStage(), e.GetWhat(), e.GetSubject(), e.GetId(), e.GetReasons())
	}
	return b.String()
}

// waitFor waits until n lines of a customer's timeline say what, and returns them.
func (r *running) waitFor(id *eventv1.Identifier, what string, n int) []*profilev1.TimelineEntry {
	r.t.Helper()
	var last, found []*profilev1.TimelineEntry
	defer func() {
		if r.t.Failed() {
			r.t.Logf("timeline of %s:\n%s", id.GetValue(), story(last))
		}
	}()
	r.eventually(fmt.Sprintf("%d × %s for %s", n, what, id.GetValue()), func() bool {
		last = r.timeline(id)
		found = happened(last, what)
		return len(found) >= n
	})
	return found
}

// healthy proves that the mesh still does its whole work: a new event of a new customer gets its call.
func (r *running) healthy(proof string) {
	r.t.Helper()
	if waiting := r.Ready(); len(waiting) > 0 {
		r.t.Fatalf("%s: the mesh waits for %v", proof, waiting)
	}
	r.stock(proof, "after-"+proof)
	r.waitFor(user(proof), "delivery_accepted", 1)
}

// nats connects to the mesh's own server.
func (r *running) nats() *nats.Conn {
	r.t.Helper()
	nc, err := nats.Connect("nats://" + r.Addr("nats").String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(nc.Close)
	return nc
}

// dialTCP opens a connection until the test ends.
func dialTCP(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
