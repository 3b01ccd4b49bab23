package meshsvc

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	ce "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"

	"refrain.dev/pkg/embed/embedtest"
)

// nodeClients is where the programs with the official SDKs are.
const nodeClients = "../../../tests/node"

// node runs one of the programs.
func node(t *testing.T, args ...string) {
	t.Helper()
	embedtest.Require(t, "node")
	if _, err := os.Stat(filepath.Join(nodeClients, "node_modules")); err != nil {
		embedtest.Absent(t, "node", "the packages of tests/node; npm ci --prefix tests/node installs them")
	}
	cmd := exec.CommandContext(t.Context(), "node", args...) //nolint:gosec // our own programs
	cmd.Dir = nodeClients
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("node %v: %v\n%s", args, err, out)
	}
}

// "The official Segment Node SDK publishes to a running ingest."
func TestTheSegmentNodeSDKPublishesAndTheProfileIsReadByGRPC(t *testing.T) {
	r := start(t, nil)
	node(t, "segment.js", r.url, "grace", "device-7")
	r.waitFor(user("grace"), "event_applied", 4)
	r.eventually("both identifiers resolve to one profile", func() bool {
		p, q := r.profile(user("grace")), r.profile(anonymous("device-7"))
		return p != nil && q != nil && slices.Equal(p.GetId(), q.GetId()) && trait(p, "orders") == "1"
	})
	want := []string{"anonymous_id device-7", "anonymous_id device-7-old", "email grace@shop.example", "user_id grace"}
	r.eventually("the alias is answered: nobody else has that id", func() bool { return slices.Equal(identities(r.profile(user("grace"))), want) })
	p := r.profile(user("grace"))
	if trait(p, "name") != "Grace" {
		t.Errorf("traits are %v", p.GetLeaves()[0].GetTraits())
	}
	if len(p.GetLinked()) != 1 {
		t.Errorf("linked profiles: %v; want that of the page call", p.GetLinked())
	}
	account := r.profile(&eventv1.Identifier{Kind: "account_id", Value: "acme"})
	if account.GetClass() != profilev1.Class_CLASS_ACCOUNT || len(p.GetLeaves()[0].GetRelations()) != 1 {
		t.Errorf("the account is %v, the relations of the person %v", account, p.GetLeaves()[0].GetRelations())
	}
}

func identities(p *profilev1.Profile) []string {
	var out []string
	for _, leaf := range p.GetLeaves() {
		for _, i := range leaf.GetIdentities() {
			out = append(out, i.GetIdentifier().GetKind()+" "+i.GetIdentifier().GetValue())
		}
	}
	slices.Sort(out)
	return out
}

func TestTheCloudEventsNodeSDKPublishes(t *testing.T) {
	r := start(t, nil)
	node(t, "cloudevents.js", r.url, "alan")
	r.waitFor(user("alan"), "event_applied", 2)
	if got := trait(r.profile(user("alan")), "orders"); got != "2" {
		t.Errorf("orders = %s", got)
	}
}

// "A CloudEvents SDK publishes": binary, structured and batch.
func TestTheCloudEventsGoSDKPublishesInAllModes(t *testing.T) {
	r := start(t, nil)
	client, err := cloudevents.NewClientHTTP(cehttp.WithTarget(r.url + "/cloudevents"))
	if err != nil {
		t.Fatal(err)
	}
	for name, encode := range map[string]func(context.Context) context.Context{
		"binary": binding.WithForceBinary, "structured": binding.WithForceStructured,
	} {
		result := client.Send(encode(t.Context()), cloudEvent(t, name))
		if !cloudevents.IsACK(result) {
			t.Fatalf("%s: %v", name, result)
		}
	}
	var batch []ce.Event
	for _, name := range []string{"batch-1", "batch-2", "batch-2"} { // one id twice counts once
		batch = append(batch, cloudEvent(t, name))
	}
	req, err := cehttp.NewHTTPRequestFromEvents(t.Context(), r.url+"/cloudevents", batch)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	var a answer
	if err := json.Unmarshal(text, &a); err != nil || resp.StatusCode != http.StatusOK || len(a.Refused) > 0 {
		t.Fatalf("batch: %s %s", resp.Status, text)
	}
	r.waitFor(user("alan"), "event_applied", 4)
	if got := trait(r.profile(user("alan")), "orders"); got != "4" {
		t.Errorf("orders = %s", got)
	}
}

func cloudEvent(t *testing.T, id string) ce.Event {
	t.Helper()
	e := cloudevents.NewEvent()
	e.SetID(id)
	e.SetSource("/shop")
	e.SetType("order_placed")
	e.SetExtension("userid", "alan")
	if err := e.SetData(cloudevents.ApplicationJSON, object{"order_id": id, "total": 3}); err != nil {
		t.Fatal(err)
	}
	return e
}

// grpcurl runs the real program as an operator would.
func grpcurl(t *testing.T, args ...string) string {
	t.Helper()
	args = append([]string{"-C", "../../../tools/pinned/grpcurl", "tool", "grpcurl", "-plaintext"}, args...)
	cmd := exec.CommandContext(t.Context(), "go", args...) //nolint:gosec // our own arguments
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("grpcurl %v: %v\n%s", args[4:], err, out)
	}
	return string(out)
}

// "grpcurl answers against reflection."
func TestGrpcurlListsAndCallsByReflection(t *testing.T) {
	r := start(t, nil)
	r.customer("ada")
	r.order("ada", "order-1")
	r.waitFor(user("ada"), "delivery_accepted", 1)
	at := r.Addr("grpc").String()
	services := strings.Fields(grpcurl(t, at, "list"))
	for _, want := range []string{
		"grpc.health.v1.Health", "refrain.contact.v1.ContactService", "refrain.decision.v1.DecisionService",
		"refrain.dispatch.v1.DispatchService", "refrain.event.v1.IngestService", "refrain.profile.v1.ProfileService",
	} {
		if !slices.Contains(services, want) {
			t.Errorf("%s is not listed in %q", want, services)
		}
	}
	ada := `"identifier":{"kind":"user_id","value":"ada"}`
	for _, c := range []struct{ data, method, says string }{
		{`{` + ada + `,"placement":"web-banner"}`, "refrain.decision.v1.DecisionService/NextBestActions", `"action": "banner"`},
		{`{` + ada + `,"contact":{"action":"thanks","channel":"email"}}`, "refrain.contact.v1.ContactService/Check", `"kind": "VERDICT_KIND_APPROVED"`},
		{`{` + ada + `}`, "refrain.profile.v1.ProfileService/GetProfile", `"text": "Name of ada"`},
		{`{}`, "grpc.health.v1.Health/Check", `"status": "SERVING"`},
	} {
		out := grpcurl(t, "-d", c.data, at, c.method)
		if !strings.Contains(out, c.says) {
			t.Errorf("%s answers %s, want %s in it", c.method, out, c.says)
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	r := start(t, nil)
	for _, url := range []string{
		r.url + "/healthz", r.url + "/readyz", "http://" + r.Addr("admin").String() + "/healthz", "http://" + r.Addr("admin").String() + "/readyz",
	} {
		resp, err := http.Get(url) //nolint:gosec,noctx // our own mesh
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", url, resp.Status)
		}
	}
}
