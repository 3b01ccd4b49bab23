package dispatchsvc

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	contactv1 "refrain.dev/proto/gen/go/refrain/contact/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	dispatchv1 "refrain.dev/proto/gen/go/refrain/dispatch/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/delivery"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/run/runtest"
	"refrain.dev/pkg/source"
	"refrain.dev/pkg/state"
	"refrain.dev/services/dispatch/dispatchsvc/channel"
)

const revision = "000000000001"

func testConfig(t *testing.T) Config {
	t.Helper()
	cfg := Default()
	cfg.DataDir = t.TempDir()
	return cfg
}

func TestContract(t *testing.T) {
	runtest.Contract(t, run.Service[Config]{Name: "dispatch", Defaults: Default(), Build: New}, testConfig(t))
}

func TestSettings(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"batch":       func(c *Config) { c.Batch = 0 },
		"data_dir":    func(c *Config) { c.DataDir = "" },
		"clear http":  func(c *Config) { c.PublicURL = "http://mail.shop.example" },
		"no address":  func(c *Config) { c.PublicURL = "mail" },
		"not a range": func(c *Config) { c.Allow = []string{"10.0.0.1"} },
	} {
		cfg := Default()
		change(&cfg)
		if cfg.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for _, ok := range []string{"https://mail.shop.example", "http://localhost:8080", "http://[::1]:80", "http://127.0.0.1"} {
		cfg := Default()
		cfg.PublicURL = ok
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
}

// world is the service in memory with stand-ins for the stages around it.
type world struct {
	t    *testing.T
	deps run.Deps
	cfg  Config
	home int
	id   []byte
	stop func()
}

func bundle() *definitionv1.Bundle {
	return &definitionv1.Bundle{Revision: revision, Resources: []*definitionv1.Resource{
		{Metadata: &definitionv1.Metadata{Name: "w"}, Spec: &definitionv1.Resource_Workspace{Workspace: &definitionv1.Workspace{Tenant: "default"}}},
		{Metadata: &definitionv1.Metadata{Name: "email"}, Spec: &definitionv1.Resource_Channel{Channel: &definitionv1.Channel{
			Adapter: "file", Endpoint: "email", Config: map[string]string{"path": "mail.jsonl"},
		}}},
		{Metadata: &definitionv1.Metadata{Name: "news"}, Spec: &definitionv1.Resource_Topic{Topic: &definitionv1.Topic{Title: "News", ListId: "news.shop.example"}}},
		{Metadata: &definitionv1.Metadata{Name: "first_name"}, Spec: &definitionv1.Resource_Trait{Trait: &definitionv1.TraitDef{Type: "string"}}},
		{Metadata: &definitionv1.Metadata{Name: "welcome"}, Spec: &definitionv1.Resource_Action{Action: &definitionv1.Action{
			Purpose: "marketing",
			Treatments: []*definitionv1.Treatment{
				{Id: "mail", Channel: "email", To: "customer", Topic: "news", Subject: "Hi {{ traits.first_name }}", Body: &definitionv1.Body{Text: "You spent {{ event.total }}. {{ unsubscribe_url }}"}},
				{Id: "broken", Channel: "email", To: "customer", Topic: "news", Subject: "Hi", Body: &definitionv1.Body{Text: "{{ event.total | divided_by: 0 }}"}},
				{Id: "abort", Channel: "email", To: "customer", Topic: "news", Subject: "Hi", Body: &definitionv1.Body{Text: "{% abort %}"}},
			},
		}}},
	}}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, deps: runtest.Deps(t), cfg: testConfig(t)}
	hasher := identity.NewHasher(w.deps.Generation.Secret, w.deps.Generation.Partitions)
	w.id = hasher.ID("default", &eventv1.Identifier{Kind: "user_id", Value: "u1"})
	w.home = hasher.Partition(w.id)
	data, err := bundle().MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	if err := source.Put(t.Context(), w.deps.Bundles, source.Bundle{Tenant: defaultTenant, Revision: revision, Data: data}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	component, err := New(ctx, w.cfg, w.deps)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- component.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

func (w *world) key() string { return identity.CustomerKey("default", w.id) }

func profileOf(id []byte, consent eventv1.ConsentState) *profilev1.Profile {
	return &profilev1.Profile{Tenant: "default", Id: id, Version: 3, Leaves: []*profilev1.Leaf{{
		ProfileId: id,
		Traits:    []*profilev1.Trait{{Name: "first_name", Value: event.Text("Ada")}},
		Endpoints: []*profilev1.Endpoint{{Channel: "email", Address: "ada@shop.example", Since: timestamppb.New(start)}},
		Consents: []*profilev1.ConsentRecord{{At: timestamppb.New(start), Consent: &eventv1.Consent{
			State: consent, Channel: "email", Topic: "news", Basis: "express",
		}}},
	}}}
}

// project stands in for the profile stage: it keeps one row and covers whatever comes in the control lane.
func (w *world) project(p *profilev1.Profile) {
	w.t.Helper()
	row, err := p.MarshalVT()
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		applied, origin := uint64(0), uint64(0)
		for ctx.Err() == nil {
			b := state.Batch{Prev: applied, Meta: state.Meta{
				Generation: 1, Applied: applied + 1, Origins: map[string]uint64{log.Barrier: origin}, Now: time.Now(), Revision: revision,
			}, Writes: []state.Write{{Key: w.key(), Value: row}}}
			if err := w.deps.Store.Apply(ctx, state.Shard{Stage: "profile", Partition: w.home}, b); err != nil {
				return
			}
			applied++
			for ctx.Err() == nil {
				msg, err := w.deps.Broker.Next(ctx, log.Subject("evt.control", w.home), origin)
				if err == nil {
					origin = msg.Sequence
					break
				}
				select {
				case <-ctx.Done():
				case <-time.After(time.Millisecond):
				}
			}
		}
	}()
	w.t.Cleanup(func() { cancel(); <-done })
}

// approve stands in for suppression.
func (w *world) approve(proposal, treatment string) {
	w.t.Helper()
	v := verdict("email", 0).GetVerdictGiven()
	v.Request.Proposal.Id = proposal
	v.Request.Proposal.Context = []*eventv1.Property{{Name: "total", Value: event.Integer(12)}}
	v.Treatment.Id = treatment
	v.NotAfter = timestamppb.New(time.Now().Add(time.Hour))
	fact, err := (&contactv1.Fact{Fact: &contactv1.Fact_VerdictGiven{VerdictGiven: v}}).MarshalVT()
	if err != nil {
		w.t.Fatal(err)
	}
	body, err := (&stagev1.CellBody{Facts: [][]byte{fact}, At: timestamppb.Now()}).MarshalVT()
	if err != nil {
		w.t.Fatal(err)
	}
	subject := log.Subject("vdc", w.home)
	last, err := w.deps.Broker.Last(w.t.Context(), subject)
	if err != nil {
		w.t.Fatal(err)
	}
	record, err := (&stagev1.Record{
		Generation: w.deps.Generation.Number, Id: []byte("0123456789abcdef"), Prev: last.Sequence, Kind: stagev1.RecordKind_RECORD_KIND_BATCH,
		Now: timestamppb.Now(), Revision: revision, Cells: []*stagev1.Cell{{Key: w.key(), Sealed: body}},
	}).MarshalVT()
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.deps.Broker.Append(w.t.Context(), subject, last.Sequence, record); err != nil {
		w.t.Fatal(err)
	}
}

// reported waits for the report of a proposal in SENDS.
func (w *world) reported(proposal string) *dispatchv1.DeliveryReported {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 15*time.Second)
	defer cancel()
	for after := uint64(0); ; {
		msg, err := w.deps.Broker.Next(ctx, log.Subject("snd", w.home), after)
		if errors.Is(err, log.ErrNotFound) {
			select {
			case <-time.After(2 * time.Millisecond):
				continue
			case <-ctx.Done():
				w.t.Fatalf("no report of %s", proposal)
			}
		}
		if err != nil {
			w.t.Fatal(err)
		}
		after = msg.Sequence
		for _, f := range factsOf(w.t, msg.Data) {
			if r := f.GetDeliveryReported(); r.GetProposal() == proposal {
				return r
			}
		}
	}
}

func factsOf(t *testing.T, data []byte) []*dispatchv1.Fact {
	t.Helper()
	record := &stagev1.Record{}
	if err := record.UnmarshalVT(data); err != nil {
		t.Fatal(err)
	}
	var out []*dispatchv1.Fact
	for _, c := range record.GetCells() {
		body := &stagev1.CellBody{}
		if err := body.UnmarshalVT(c.GetSealed()); err != nil {
			t.Fatal(err)
		}
		for _, raw := range body.GetFacts() {
			f := &dispatchv1.Fact{}
			if err := f.UnmarshalVT(raw); err != nil {
				t.Fatal(err)
			}
			out = append(out, f)
		}
	}
	return out
}

func (w *world) lines() []channel.Payload {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.cfg.DataDir, "mail.jsonl"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
	var out []channel.Payload
	for line := range strings.Lines(string(data)) {
		var p channel.Payload
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			w.t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func reasonCodes(list []*reasonv1.Reason) []reasonv1.Code {
	var out []reasonv1.Code
	for _, r := range list {
		out = append(out, r.GetCode())
	}
	return out
}

func TestAnApprovedTreatmentIsSentOnce(t *testing.T) {
	w := newWorld(t)
	w.project(profileOf(w.id, eventv1.ConsentState_CONSENT_STATE_GIVEN))
	w.approve("p1", "mail")
	w.approve("p1", "mail")
	w.approve("p2", "mail")
	for _, p := range []string{"p1", "p2"} {
		r := w.reported(p)
		if r.GetStatus() != dispatchv1.Status_STATUS_ACCEPTED || r.GetProfileVersion() != 3 || r.GetAttempt() != 1 {
			t.Errorf("report = %v", r)
		}
	}
	w.stop()
	lines := w.lines()
	if len(lines) != 2 {
		t.Fatalf("lines = %+v, want p1 and p2", lines)
	}
	l := lines[0]
	if l.Subject != "Hi Ada" || l.Address != "ada@shop.example" || !strings.Contains(l.Body, "You spent 12. http://127.0.0.1:8080/u/") {
		t.Errorf("line = %+v", l)
	}
	hasher := identity.NewHasher(w.deps.Generation.Secret, w.deps.Generation.Partitions)
	token, err := hasher.Verify(l.Token, time.Now().Add(60*24*time.Hour))
	if err != nil || token.GetProposal() != l.Proposal || token.GetTopic() != "news" || int(token.GetPartition()) != w.home {
		t.Errorf("token = %v %v", token, err)
	}
}

func TestTheLastCheckStopsASend(t *testing.T) {
	w := newWorld(t)
	w.project(profileOf(w.id, eventv1.ConsentState_CONSENT_STATE_WITHDRAWN))
	w.approve("p1", "mail")
	r := w.reported("p1")
	codes := reasonCodes(r.GetReasons())
	if r.GetStatus() != dispatchv1.Status_STATUS_UNSENT || len(codes) < 2 || codes[0] != reasonv1.Code_CODE_LATE_BLOCK || codes[1] != reasonv1.Code_CODE_UNSUBSCRIBED {
		t.Errorf("report = %v", r)
	}
	if len(w.lines()) != 0 {
		t.Errorf("lines = %v, want none", w.lines())
	}
}

func TestAClosedProfileIsNotContacted(t *testing.T) {
	w := newWorld(t)
	p := profileOf(w.id, eventv1.ConsentState_CONSENT_STATE_GIVEN)
	p.Gaps = []*profilev1.ProfileGap{{DeadLetter: "dl", ClosesContact: true}}
	w.project(p)
	w.approve("p1", "mail")
	if r := w.reported("p1"); r.GetStatus() != dispatchv1.Status_STATUS_UNSENT || reasonCodes(r.GetReasons())[1] != reasonv1.Code_CODE_GAP {
		t.Errorf("report = %v", r)
	}
}

func TestTemplatesThatSayNo(t *testing.T) {
	w := newWorld(t)
	w.project(profileOf(w.id, eventv1.ConsentState_CONSENT_STATE_GIVEN))
	for treatment, code := range map[string]reasonv1.Code{
		"broken": reasonv1.Code_CODE_RENDER_FAILED, "abort": reasonv1.Code_CODE_TEMPLATE_ABORT, "gone": reasonv1.Code_CODE_NO_TREATMENT,
	} {
		w.approve(treatment, treatment)
		if r := w.reported(treatment); r.GetStatus() != dispatchv1.Status_STATUS_UNSENT || reasonCodes(r.GetReasons())[0] != code {
			t.Errorf("%s: report = %v", treatment, r)
		}
	}
}

// The profile stage stands still: what it wrote is old by now, so nothing is sent.
func TestWithoutAFreshViewNothingIsSent(t *testing.T) {
	w := newWorld(t)
	row, err := profileOf(w.id, eventv1.ConsentState_CONSENT_STATE_GIVEN).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.deps.Store.Apply(t.Context(), state.Shard{Stage: "profile", Partition: w.home}, state.Batch{
		Meta:   state.Meta{Generation: 1, Applied: 1, Origins: map[string]uint64{}, Revision: revision},
		Writes: []state.Write{{Key: w.key(), Value: row}},
	}); err != nil {
		t.Fatal(err)
	}
	w.approve("p1", "mail")
	r := w.reported("p1")
	if r.GetStatus() != dispatchv1.Status_STATUS_QUEUED || reasonCodes(r.GetReasons())[0] != reasonv1.Code_CODE_STALE_VIEW {
		t.Errorf("report = %v", r)
	}
	if len(w.lines()) != 0 {
		t.Errorf("lines = %v, want none", w.lines())
	}
}

func TestResultsOfPacing(t *testing.T) {
	e := &engine{catalogs: fixedCatalogs{Definitions{Channels: channelsOf(map[string]string{"web": "none", "hook": "webhook"})}}, providers: newProviders(channel.Options{}, clock.Wall{}, nil)}
	for name, transient := range map[string]bool{"web": false, "gone": false, "hook": true} {
		j := job{treatment: verdict(name, 0).GetVerdictGiven().GetTreatment()}
		e.logger = runtest.Deps(t).Logger
		_, failure := e.provider(t.Context(), j)
		if failure == nil || failure.Transient != transient || failure.Status != dispatchv1.Status_STATUS_UNSENT {
			t.Errorf("%s: %+v, want transient = %v", name, failure, transient)
		}
	}
	if !settings(nil, nil).LooksUp && settings(nil, nil).Settle < defaultTimeout+aroundCall {
		t.Errorf("a call could outlive its settling time")
	}
	if (delivery.Channel{}) == settings(&definitionv1.Channel{Adapter: "file"}, nil) {
		t.Error("file is not known")
	}
}
