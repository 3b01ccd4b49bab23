package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/source"
)

const shop = `apiVersion: refrain/v1
kind: Workspace
metadata: {name: shop}
spec: {}
---
apiVersion: refrain/v1
kind: Event
metadata: {name: order}
spec: {properties: {total: double}}
---
apiVersion: refrain/v1
kind: Channel
metadata: {name: desk}
spec: {adapter: file, config: {path: desk.jsonl}}
---
apiVersion: refrain/v1
kind: Placement
metadata: {name: outbound}
spec: {filled: by_mesh}
---
apiVersion: refrain/v1
kind: Action
metadata: {name: thanks}
spec: {purpose: marketing, treatments: [{id: call, channel: desk, to: team}]}
---
apiVersion: refrain/v1
kind: Journey
metadata: {name: welcome}
spec:
  entry: {event: order, where: event.total > 10}
  steps: [{id: thank, action: thanks}]
`

func directory(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "shop.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func memory(t *testing.T) *log.Memory {
	t.Helper()
	m, _, err := log.ProvisionMemory(t.Context(), log.Generation{Number: 1, Partitions: 2, Streams: 1, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestValidate(t *testing.T) {
	b := &bench{}
	b.run(t, "validate", directory(t, shop)).want(t, 0, "6 resources are right: revision ", "")

	bad := strings.Replace(strings.Replace(shop, "event.total", "event.totl", 1), "marketing", "markting", 1)
	r := b.run(t, "validate", directory(t, bad))
	r.want(t, 1, `shop.yaml:24:17: spec.purpose: "markting" is not allowed (did you mean marketing?)`, "")
	r.want(t, 1, "event.totl: no such property; did you mean total? order has: total", "")
	r.want(t, 1, "2 errors, 0 warnings; nothing may be applied", "")

	undeclared := directory(t, strings.Replace(strings.Replace(shop, "event: order", "event: visit", 1), ", where: event.total > 10", "", 1))
	b.run(t, "validate", undeclared).want(t, 0, "warning: ", "")
	b.run(t, "validate", undeclared, "--strict").want(t, 1, "warning: ", "")
}

func TestValidateJSON(t *testing.T) {
	r := (&bench{}).run(t, "validate", directory(t, strings.Replace(shop, "marketing", "markting", 1)), "-o", "json")
	var got struct {
		Revision    string
		Diagnostics []struct {
			File, Severity, What string
			Line, Col            int
		}
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatalf("%v in:\n%s", err, r.out)
	}
	if r.code != 1 || got.Revision != "" || len(got.Diagnostics) != 1 || got.Diagnostics[0].Line != 24 || got.Diagnostics[0].Severity != "error" {
		t.Errorf("got code %d, %+v", r.code, got)
	}
}

func TestSchema(t *testing.T) {
	b := &bench{}
	b.run(t, "schema").want(t, 0, string(definition.JSONSchema()), "")
	dir := filepath.Join(t.TempDir(), "new")
	b.run(t, "schema", "--out", dir).want(t, 0, "", "wrote ")
	data, err := os.ReadFile(filepath.Join(dir, "refrain.schema.json")) //nolint:gosec // a directory of the test
	if err != nil || string(data) != string(definition.JSONSchema()) {
		t.Errorf("got %d bytes, %v", len(data), err)
	}
}

// heard returns the revisions and instants that partition 0 was told.
func heard(t *testing.T, m *log.Memory) (revisions []string, at []time.Time) {
	t.Helper()
	for after := uint64(0); ; {
		msg, err := m.Next(t.Context(), "evt.control.0", after)
		if err != nil {
			return revisions, at
		}
		after = msg.Sequence
		var a stagev1.Arrivals
		if err := a.UnmarshalVT(msg.Data); err != nil {
			t.Fatal(err)
		}
		for _, item := range a.GetItems() {
			revisions = append(revisions, item.GetCatalog().GetRevision())
			at = append(at, item.GetAt().AsTime())
		}
	}
}

func TestApplyAndGet(t *testing.T) {
	m := memory(t)
	b := &bench{site: m, dial: serve(t), env: map[string]string{"REFRAIN_GRPC": address}}
	b.run(t, "get", "all").want(t, 1, "", "no definitions apply yet")

	r := b.run(t, "apply", directory(t, shop))
	r.want(t, 0, "added    Journey welcome\n", "")
	r.want(t, 0, "applies now; it is the first", "")

	b.run(t, "apply", directory(t, "# a comment more\n"+shop)).want(t, 0, "applies now; before it was", "")
	changed := strings.Replace(strings.Replace(shop, "total > 10", "total > 11", 1), "name: outbound", "name: mail", 1)
	r = b.run(t, "apply", directory(t, changed))
	for _, line := range []string{"changed  Journey welcome: running enrollments stay on the revision that they entered under\n", "added    Placement mail\n", "removed  Placement outbound\n"} {
		r.want(t, 0, line, "")
	}
	if strings.Contains(r.out, "Workspace") {
		t.Errorf("what did not change is listed:\n%s", r.out)
	}
	b.run(t, "apply", directory(t, changed)).want(t, 0, "applies already", "")
	revisions, at := heard(t, m)
	if len(slices.Compact(slices.Clone(revisions))) != 3 || !at[0].Equal(noon) {
		t.Errorf("partition 0 heard %v at %v", revisions, at)
	}

	b.run(t, "get", "journeys").want(t, 0, "Journey  welcome  shop.yaml:", "")
	b.run(t, "get", "placement", "mail").want(t, 0, "kind: Placement\nmetadata:\n    name: mail\nspec:\n    filled: by_mesh\n", "")
	b.run(t, "get", "journey", "welcome", "-o", "json").want(t, 0, `"where": "event.total > 11"`, "")
	b.run(t, "get", "journey", "nothing").want(t, 1, "", `has no Journey "nothing"`)
	b.run(t, "get", "topics").want(t, 1, "", "has no Topic")
}

func TestApplyRefusesAsAWhole(t *testing.T) {
	m := memory(t)
	b := &bench{site: m, dial: serve(t), env: map[string]string{"REFRAIN_GRPC": address}}
	b.run(t, "apply", directory(t, shop)).want(t, 0, "", "")
	before, err := source.Current(t.Context(), m.KV())
	if err != nil {
		t.Fatal(err)
	}
	bad := strings.Replace(strings.Replace(shop, "event.total", "event.totl", 1), "channel: desk", "channel: dask", 1)
	r := b.run(t, "apply", directory(t, bad))
	r.want(t, 1, "no such property", "")
	r.want(t, 1, `there is no Channel "dask"`, "")
	after, err := source.Current(t.Context(), m.KV())
	if revisions, _ := heard(t, m); err != nil || after.ID != before.ID || len(revisions) != 1 {
		t.Errorf("got %s, %v, %v; want %s", after.ID, revisions, err, before.ID)
	}
}

// On the replay clock a catalog applies from the mesh's now, not from this machine's.
func TestApplyOnTheReplayClock(t *testing.T) {
	m := memory(t)
	b := &bench{site: m, dial: serve(t, withClock), env: map[string]string{"REFRAIN_GRPC": address}}
	b.run(t, "apply", directory(t, shop)).want(t, 0, "", "")
	b.run(t, "apply", directory(t, shop), "--at", "2026-01-02T03:04:05Z").want(t, 0, "", "")
	_, at := heard(t, m)
	if want := noon.Add(-24 * time.Hour); len(at) != 2 || !at[0].Equal(want) || !at[1].Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("got %v; want %v", at, want)
	}
	b.run(t, "apply", directory(t, shop), "--at", "tomorrow").want(t, 2, "", "--at")
}

// What an apply changes is said with what follows for the customers who are there, and a dry run changes nothing.
func TestApplyShowsWhatWillChange(t *testing.T) {
	b := &bench{site: memory(t)}
	b.run(t, "apply", directory(t, shop), "--dry-run").want(t, 0, "would be the first; nothing is applied", "")
	b.run(t, "get", "journeys").want(t, 1, "", "no definitions apply yet")
	b.run(t, "apply", directory(t, shop)).want(t, 0, "it is the first", "")

	next := strings.Replace(shop, "event.total > 10", "event.total > 20", 1) + `---
apiVersion: refrain/v1
kind: Trait
metadata: {name: orders}
spec: {type: int, count: {event: order}}
---
apiVersion: refrain/v1
kind: Trait
metadata: {name: nick}
spec: {type: string}
`
	said := []string{
		"changed  Journey welcome: running enrollments stay on the revision that they entered under\n",
		"added    Trait nick\n",
		"added    Trait orders: it starts empty and counts events from now on, not those before\n",
	}
	dry := b.run(t, "apply", directory(t, next), "--dry-run")
	for _, want := range append(said, "nothing is applied") {
		dry.want(t, 0, want, "")
	}
	b.run(t, "get", "traits").want(t, 1, "", "has no Trait")
	b.run(t, "apply", directory(t, next), "--dry-run", "-o", "json").want(t, 0, `"dry_run": true`, "")
	wet := b.run(t, "apply", directory(t, next))
	for _, want := range append(said, "applies now; before it was") {
		wet.want(t, 0, want, "")
	}
	b.run(t, "get", "traits").want(t, 0, "orders", "")
	b.run(t, "get", "trait", "orders").want(t, 0, "# computed from what arrived since 20", "")
	b.run(t, "apply", directory(t, next), "--dry-run").want(t, 0, "nothing would change", "")

	counted := strings.Replace(next, "count: {event: order}", "count: {event: order, where: event.total > 1}", 1)
	b.run(t, "apply", directory(t, counted), "--dry-run").want(t, 0, "changed  Trait orders: values so far stay; events from now on change them by the new rule", "")
	b.run(t, "apply", directory(t, shop), "--dry-run").want(t, 0, "removed  Trait orders: values so far stay, and are not computed any more", "")
}

// Every tenant has its own definitions: an apply changes those of the tenant that the workspace names.
func TestTenantsApplyApart(t *testing.T) {
	m := memory(t)
	b := &bench{site: m}
	bank := strings.NewReplacer("spec: {}", "spec: {tenant: bank}", "name: welcome", "name: greet").Replace(shop)
	b.run(t, "apply", directory(t, bank)).want(t, 0, " of tenant bank applies now; it is the first", "")
	b.run(t, "get", "journeys").want(t, 0, "greet", "") // of the only tenant that has some
	first := b.run(t, "apply", directory(t, shop))
	first.want(t, 0, "applies now; it is the first", "")
	if strings.Contains(first.out, "removed") {
		t.Errorf("the other tenant's definitions are removed:\n%s", first.out)
	}
	changed := strings.Replace(shop, "total > 10", "total > 11", 1)
	b.run(t, "apply", directory(t, changed)).want(t, 0, "changed  Journey welcome", "")
	b.run(t, "apply", directory(t, bank)).want(t, 0, " of tenant bank applies already", "")

	b.run(t, "get", "journeys").want(t, 0, "welcome", "")
	b.run(t, "get", "journeys", "--tenant", "bank").want(t, 0, "greet", "")
	b.run(t, "get", "journey", "welcome", "--tenant", "bank").want(t, 1, "", `has no Journey "welcome"`)
	b.run(t, "get", "journeys", "--tenant", "bnk").want(t, 1, "", "no definitions of tenant bnk apply; there are some of bank, default")
	b.run(t, "apply", directory(t, shop), "--tenant", "bank").want(t, 2, "", "the workspace is of tenant default, and --tenant (REFRAIN_TENANT) says bank")

	now, err := source.Current(t.Context(), m.KV())
	if err != nil || len(now.Tenants) != 2 {
		t.Fatalf("got %v, %v", now, err)
	}
	status := b.run(t, "status")
	for _, line := range []string{"revision " + now.ID, "tenant bank: revision " + now.Tenants["bank"], "tenant default: revision " + now.Tenants["default"]} {
		status.want(t, 0, line, "")
	}
	b.run(t, "status", "-o", "json").want(t, 0, `"bank": "`+now.Tenants["bank"]+`"`, "")
}

// To take all definitions of a tenant away is said in so many words; how its customers are told apart stays.
func TestRemoveATenantsDefinitions(t *testing.T) {
	m := memory(t)
	b := &bench{site: m}
	b.run(t, "remove", "bank").want(t, 1, "", "no definitions apply yet")
	badge := "---\napiVersion: refrain/v1\nkind: Identifier\nmetadata: {name: badge}\nspec: {class: person, priority: 30}\n"
	bank := strings.Replace(shop, "spec: {}", "spec: {tenant: bank}", 1) + badge
	b.run(t, "apply", directory(t, shop)).want(t, 0, "", "")
	b.run(t, "apply", directory(t, bank)).want(t, 0, "", "")
	before, err := source.Current(t.Context(), m.KV())
	if err != nil {
		t.Fatal(err)
	}

	workspace, _, _ := strings.Cut(bank, "---")
	b.run(t, "apply", directory(t, workspace+badge)).want(t, 1, "", "it defines nothing, and all definitions of tenant bank would be gone; if that is meant: refrain remove bank")
	b.run(t, "remove", "bnk").want(t, 1, "", "no definitions of tenant bnk apply; there are some of bank, default")
	b.run(t, "remove", "bank", "--dry-run").want(t, 0, "removed  Journey welcome", "")
	if now, err := source.Current(t.Context(), m.KV()); err != nil || now.ID != before.ID {
		t.Fatalf("something changed: %v, %v", now, err)
	}
	r := b.run(t, "remove", "bank")
	r.want(t, 0, "removed  Journey welcome", "")
	r.want(t, 0, "tenant bank has no definitions now; before it was revision "+before.Tenants["bank"], "")
	b.run(t, "remove", "bank").want(t, 0, "tenant bank has no definitions any more; all partitions were told again", "")

	b.run(t, "get", "journeys", "--tenant", "bank").want(t, 1, "", "has no Journey")
	b.run(t, "get", "identifiers", "--tenant", "bank").want(t, 0, "badge", "")
	b.run(t, "get", "journeys").want(t, 0, "welcome", "")
	b.run(t, "apply", directory(t, strings.Replace(bank, "priority: 30", "priority: 1", 1))).want(t, 1, "", "the order of identifier kinds")
	b.run(t, "apply", directory(t, bank)).want(t, 0, "added    Journey welcome", "")
}
