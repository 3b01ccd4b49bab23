package suppressionsvc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/rpc"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/run/runtest"
	"refrain.dev/pkg/source"
	"refrain.dev/pkg/stage"
	"refrain.dev/pkg/state"
)

func TestContract(t *testing.T) {
	runtest.Contract(t, run.Service[Config]{Name: "suppression", Defaults: Default(), Build: New}, Default())
}

func TestConfigNamesEveryProblem(t *testing.T) {
	err := Config{}.Validate()
	if err == nil || !strings.Contains(err.Error(), "batch") || !strings.Contains(err.Error(), "lease") {
		t.Errorf("got %v, want both problems", err)
	}
}

// neighbour is another stage of the mesh: it writes what the test says, through the real runtime.
type neighbour struct{}

type say struct {
	facts [][]byte
	row   []byte
}

func (neighbour) Needs(in stage.Input, _ time.Time) (stage.Needs, error) {
	return stage.Needs{Rows: []string{in.Key}}, nil
}

func (neighbour) Decide(in stage.Input, _ stage.Rows, _ stage.Env) (stage.Outcome, error) {
	s, ok := in.Request.(say)
	if !ok {
		return stage.Outcome{}, nil
	}
	return stage.Outcome{Reply: true, Cells: []stage.Cell{{Key: in.Key, Facts: s.facts, State: s.row}}}, nil
}

func (neighbour) Gap(stage.Input, stage.Rows, stage.Env, string) stage.Outcome {
	return stage.Outcome{}
}

// mesh is the real service between neighbours, on a log and a store in memory, with a gRPC client.
type mesh struct {
	t      *testing.T
	deps   run.Deps
	hasher identity.Hasher
	stages map[string]*stage.Stage
	client contactv1.ContactServiceClient
	key    string
	home   int
	who    *eventv1.Identifier
	// revision applied by the test.
	revision string
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	deps := runtest.Deps(t)
	m := &mesh{
		t: t, deps: deps, stages: map[string]*stage.Stage{}, hasher: identity.NewHasher(deps.Generation.Secret, deps.Generation.Partitions),
		who: &eventv1.Identifier{Kind: "email", Value: "Ada@Shop.example"},
	}
	var up sync.WaitGroup
	up.Add(4)
	deps.Ready = func(_ string, ready bool) {
		if ready {
			up.Done()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	start := func(run func(context.Context) error) {
		running.Go(func() {
			if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("run: %v", err)
			}
		})
	}
	service, err := New(ctx, Default(), deps)
	if err != nil {
		t.Fatal(err)
	}
	start(service.Run)
	for _, name := range []string{"profile", "decision", "dispatch"} {
		s := stage.New(stage.Config{Spec: log.Stage(name), Generation: deps.Generation, Replica: "test"}, neighbour{}, stage.Ports{
			Broker: deps.Broker, KV: deps.KV, Store: deps.Store, Clock: deps.Clock, Logger: deps.Logger, Tracer: deps.Tracer, Meter: deps.Meter,
			Ready: up.Done,
		})
		m.stages[name] = s
		start(func(ctx context.Context) error { return deps.Runner.Run(ctx, s) })
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := deps.GRPC.(*rpc.Server)
	start(func(ctx context.Context) error { return server.ServeUntil(ctx, listener) })
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	m.client = contactv1.NewContactServiceClient(conn)
	t.Cleanup(func() {
		_ = conn.Close()
		cancel()
		running.Wait()
	})
	up.Wait()
	return m
}

// eventually waits until ok, or fails with what was last seen.
func (m *mesh) eventually(what string, ok func() (bool, string)) {
	m.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		done, seen := ok()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			m.t.Fatalf("%s did not come; last seen: %s", what, seen)
		}
	}
}

func (m *mesh) apply(revision string, b *definitionv1.Bundle) {
	m.t.Helper()
	b.Revision = revision
	raw, err := b.MarshalVT()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := source.Put(m.t.Context(), m.deps.Bundles, source.Bundle{Tenant: defaultTenant, Revision: revision, Data: raw}); err != nil {
		m.t.Fatal(err)
	}
	if err := source.Activate(m.t.Context(), m.deps.Bundles, m.deps.Broker, m.deps.Generation.Partitions, revision, m.deps.Clock.Now()); err != nil {
		m.t.Fatal(err)
	}
	m.revision = revision
}

func (m *mesh) say(name string, partition int, key string, s say) {
	m.t.Helper()
	if _, err := m.stages[name].Do(m.t.Context(), partition, stage.Request{ID: "test", Key: key, At: m.deps.Clock.Now(), Body: s}); err != nil {
		m.t.Fatalf("%s: %v", name, err)
	}
}

type vt interface{ MarshalVT() ([]byte, error) }

func (m *mesh) raw(v vt) []byte {
	m.t.Helper()
	raw, err := v.MarshalVT()
	if err != nil {
		m.t.Fatal(err)
	}
	return raw
}

// join makes the customer known: an identifier that resolves to a profile in another partition.
func (m *mesh) join() {
	m.t.Helper()
	home := m.hasher.ID("default", &eventv1.Identifier{Kind: "email", Value: "ada@shop.example"})
	profile := make([]byte, identity.IDSize)
	profile[7] = byte(m.hasher.Partition(home)+1) % runtest.Partitions
	m.key, m.home = identity.CustomerKey("default", profile), m.hasher.Partition(profile)
	m.say("profile", m.hasher.Partition(home), identity.IdentifierKey("default", home), say{row: m.raw(&profilev1.IdentifierRow{Kind: "email", ProfileId: profile})})
	m.say("profile", m.home, m.key, say{
		facts: [][]byte{m.raw(&profilev1.Fact{Fact: &profilev1.Fact_BasisChanged{BasisChanged: &profilev1.BasisChanged{}}})},
		row:   m.raw(&profilev1.Profile{Tenant: "default", Id: profile}),
	})
	// A catalog alone makes no record further down; anything that happens shows which one is in force.
	m.eventually("revision "+m.revision, func() (bool, string) {
		m.say("decision", m.home, m.key, say{row: []byte("x")})
		view, err := m.deps.Store.Read(m.t.Context(), m.home, state.Query{Metas: []string{"decision"}})
		if err != nil {
			m.t.Fatal(err)
		}
		seen := view.Metas["decision"].Revision
		return seen == m.revision, seen
	})
}

func (m *mesh) acts(facts ...*decisionv1.Fact) {
	m.t.Helper()
	var s say
	for _, f := range facts {
		s.facts = append(s.facts, m.raw(f))
	}
	m.say("decision", m.home, m.key, s)
}

// verdicts waits until VERDICTS holds these facts about the customer, and no others.
func (m *mesh) verdicts(want ...string) {
	m.t.Helper()
	m.eventually("VERDICTS: "+strings.Join(want, "; "), func() (bool, string) {
		var seen []string
		subject := log.Subject("vdc", m.home)
		for after := uint64(0); ; {
			msg, err := m.deps.Broker.Next(m.t.Context(), subject, after)
			if errors.Is(err, log.ErrNotFound) {
				break
			}
			if err != nil {
				m.t.Fatal(err)
			}
			after = msg.Sequence
			rec := &stagev1.Record{}
			if err := rec.UnmarshalVT(msg.Data); err != nil {
				m.t.Fatal(err)
			}
			for _, c := range rec.GetCells() {
				body := &stagev1.CellBody{}
				if err := body.UnmarshalVT(c.GetSealed()); err != nil {
					m.t.Fatal(err)
				}
				for _, f := range body.GetFacts() {
					text, _, _ := strings.Cut(show(m.t, f), " not after")
					seen = append(seen, text)
				}
			}
		}
		got := strings.Join(seen, "; ")
		return got == strings.Join(want, "; "), got
	})
}

// oneMailPerWeek is a workspace with one channel, one topic and one cap.
func oneMailPerWeek() *definitionv1.Bundle {
	return &definitionv1.Bundle{Resources: []*definitionv1.Resource{
		{Metadata: &definitionv1.Metadata{Name: "shop"}, Spec: &definitionv1.Resource_Workspace{Workspace: &definitionv1.Workspace{DefaultZone: "Europe/London"}}},
		{Metadata: &definitionv1.Metadata{Name: "email"}, Spec: &definitionv1.Resource_Channel{Channel: &definitionv1.Channel{
			Adapter: "file", Endpoint: "email", Config: map[string]string{"path": "mail.jsonl"},
		}}},
		{Metadata: &definitionv1.Metadata{Name: "news"}, Spec: &definitionv1.Resource_Topic{Topic: &definitionv1.Topic{Title: "News"}}},
		{Metadata: &definitionv1.Metadata{Name: "cadence"}, Spec: &definitionv1.Resource_ContactPolicy{ContactPolicy: onePerWeek()}},
	}}
}

// From a proposal to its resolution, through the log, with callers beside it: one customer, one cap, one
// contact.
func TestScenario(t *testing.T) {
	m := newMesh(t)
	m.apply("r1", oneMailPerWeek())
	ctx := t.Context()
	mail := &contactv1.Contact{Action: "phone-call", Channel: "email", Topic: "news", Purpose: "marketing"}
	if _, err := m.client.Check(ctx, &contactv1.CheckRequest{Identifier: m.who, Contact: mail}); status.Code(err) != codes.NotFound {
		t.Fatalf("check of a stranger: %v, want NotFound", err)
	}
	if _, err := m.client.Commit(ctx, &contactv1.CommitRequest{Identifier: m.who, Id: "call-0000"}); status.Code(err) != codes.Unavailable {
		t.Fatalf("commit for a customer who is not in the view: %v, want Unavailable: the view may be old", err)
	}
	m.join()
	res, err := m.client.Check(ctx, &contactv1.CheckRequest{Identifier: m.who, Contact: mail})
	if err != nil || reasonCodes(res.GetReasons()) != "NO_ENDPOINT CONSENT_MISSING" {
		t.Fatalf("check before anything is known: %v, %v", res, err)
	}
	m.acts(basis("Europe/London"), propose("p1", "welcome"))
	m.verdicts("APPROVED p1 mail")
	reserve := &contactv1.ReserveRequest{Identifier: m.who, Contact: mail, Id: "call-0001"}
	if res, err := m.client.Reserve(ctx, reserve); err != nil || reasonCodes(res.GetReasons()) != "CAP_REACHED" || res.GetReasons()[0].GetRule() != "ContactPolicy/cadence.caps[0]" {
		t.Fatalf("reserve beside the proposal: %v, %v", res, err)
	}
	if _, err := m.client.Reserve(ctx, &contactv1.ReserveRequest{Identifier: m.who, Contact: mail, Id: "x y"}); status.Code(err) != codes.InvalidArgument {
		t.Fatalf("reserve with a bad id: %v, want InvalidArgument", err)
	}
	m.say("dispatch", m.home, m.key, say{facts: [][]byte{m.raw(&dispatchv1.Fact{Fact: &dispatchv1.Fact_DeliveryReported{
		DeliveryReported: &dispatchv1.DeliveryReported{Proposal: "p1", Status: dispatchv1.Status_STATUS_UNSENT, Channel: "email"},
	}})}})
	m.verdicts("APPROVED p1 mail", "released p1", "resolved p1 SUPPRESSED")
	if res, err := m.client.Reserve(ctx, reserve); err != nil || res.GetKind() != contactv1.VerdictKind_VERDICT_KIND_APPROVED {
		t.Fatalf("reserve the room that is free again: %v, %v", res, err)
	}
	if _, err := m.client.Commit(ctx, &contactv1.CommitRequest{Identifier: m.who, Id: "call-0001"}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.client.Commit(ctx, &contactv1.CommitRequest{Identifier: m.who, Id: "call-0002"}); status.Code(err) != codes.NotFound {
		t.Fatalf("commit of what was never reserved: %v, want NotFound", err)
	}
	if _, err := m.client.Release(ctx, &contactv1.ReleaseRequest{Identifier: m.who, Id: "call-0002"}); err != nil {
		t.Fatalf("release of what is gone: %v", err)
	}
	m.acts(propose("p2", "welcome"))
	m.verdicts("APPROVED p1 mail", "released p1", "resolved p1 SUPPRESSED", "reserved call-0001", "committed call-0001 doubt=false",
		"SUPPRESSED p2 CAP_REACHED", "resolved p2 SUPPRESSED CAP_REACHED")
	// The facts are in the chain before they are in the store.
	m.eventually("six lines in the timeline", func() (bool, string) {
		view, err := m.deps.Store.Read(ctx, m.home, state.Query{Lists: []state.List{{Stage: stageName, Name: m.key + "/timeline", Newest: 10}}})
		return err == nil && len(view.Lists[0]) == 6, fmt.Sprintf("%d lines, %v", len(view.Lists[0]), err)
	})
}

// Other systems ask whether an action may reach a customer: its own gates count as much as the contact policy, purpose
// and topic are the action's, and a name that does not exist is refused, because nothing would ever forbid it.
func TestCheckAsksTheWholeQuestion(t *testing.T) {
	m := newMesh(t)
	b := oneMailPerWeek()
	b.Resources = append(b.Resources,
		&definitionv1.Resource{Metadata: &definitionv1.Metadata{Name: "vip"}, Spec: &definitionv1.Resource_Trait{Trait: &definitionv1.TraitDef{Type: "bool"}}},
		&definitionv1.Resource{Metadata: &definitionv1.Metadata{Name: "offer"}, Spec: &definitionv1.Resource_Action{Action: &definitionv1.Action{
			Purpose: "marketing", Eligibility: "traits.vip", Treatments: []*definitionv1.Treatment{{Id: "m", Channel: "email", Topic: "news", Subject: "Hello"}},
		}}})
	m.apply("r1", b)
	m.join()
	check := func(c *contactv1.Contact, policyOnly bool) (*contactv1.CheckResponse, error) {
		return m.client.Check(t.Context(), &contactv1.CheckRequest{Identifier: m.who, Contact: c, PolicyOnly: policyOnly})
	}
	for name, tt := range map[string]struct {
		contact    *contactv1.Contact
		policyOnly bool
		want       string
	}{
		"the whole question":     {contact: &contactv1.Contact{Action: "offer"}, want: "NOT_ELIGIBLE NO_ENDPOINT CONSENT_MISSING"},
		"on a channel":           {contact: &contactv1.Contact{Action: "offer", Channel: "email"}, want: "NOT_ELIGIBLE NO_ENDPOINT CONSENT_MISSING"},
		"the policy alone":       {contact: &contactv1.Contact{Action: "offer"}, policyOnly: true, want: "NO_ENDPOINT CONSENT_MISSING"},
		"an action of their own": {contact: &contactv1.Contact{Action: "call", Channel: "email", Purpose: "marketing"}, want: "NO_ENDPOINT CONSENT_MISSING"},
	} {
		res, err := check(tt.contact, tt.policyOnly)
		if err != nil || reasonCodes(res.GetReasons()) != tt.want || res.GetPurpose() != "marketing" {
			t.Errorf("%s: got %v, %v; want %s for marketing", name, res, err, tt.want)
		}
	}
	for name, tt := range map[string]struct {
		contact *contactv1.Contact
		want    string
	}{
		"a misspelt channel": {&contactv1.Contact{Action: "offer", Channel: "emial"}, "did you mean email?"},
		"a misspelt topic":   {&contactv1.Contact{Action: "offer", Channel: "email", Topic: "new"}, "did you mean news?"},
		"a misspelt action":  {&contactv1.Contact{Action: "ofer", Channel: "email"}, "did you mean offer?"},
	} {
		if _, err := check(tt.contact, false); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want InvalidArgument with %q", name, err, tt.want)
		}
		_, err := m.client.Reserve(t.Context(), &contactv1.ReserveRequest{Identifier: m.who, Contact: tt.contact, Id: "call-0001"})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("reserve with %s: got %v, want InvalidArgument", name, err)
		}
	}
}

// The end of a lease stands in the timer index.
func TestLeaseIsATimer(t *testing.T) {
	m := newMesh(t)
	m.apply("r1", oneMailPerWeek())
	m.join()
	m.acts(basis("Europe/London"))
	m.eventually("the basis", func() (bool, string) {
		view, err := m.deps.Store.Read(t.Context(), m.home, state.Query{Rows: []state.Row{{Stage: stageName, Key: m.key}}})
		return err == nil && view.Rows[0] != nil, "no row"
	})
	if res, err := m.client.Reserve(t.Context(), &contactv1.ReserveRequest{
		Identifier: m.who, Contact: &contactv1.Contact{Action: "call", Channel: "email", Purpose: "service"}, Id: "call-0001",
	}); err != nil || res.GetLeaseUntil() == nil {
		t.Fatalf("reserve: %v, %v", res, err)
	}
	due, err := m.deps.Store.Due(t.Context(), state.Shard{Stage: stageName, Partition: m.home}, m.deps.Clock.Now().Add(6*time.Minute), 10)
	if err != nil || len(due) != 1 || due[0].Key != m.key {
		t.Fatalf("timer index: %v, %v; want the customer's lease", due, err)
	}
}
