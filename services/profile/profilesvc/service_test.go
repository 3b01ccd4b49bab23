package profilesvc

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
	eventv1 "refrain.dev/proto/gen/go/refrain/event/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	reasonv1 "refrain.dev/proto/gen/go/refrain/reason/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/event"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/profile"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/run/runtest"
	"refrain.dev/pkg/source"
	"refrain.dev/pkg/state"
)

func TestContract(t *testing.T) {
	runtest.Contract(t, run.Service[Config]{Name: "profile", Defaults: Default(), Build: New}, Default())
}

func TestConfigNamesAllProblems(t *testing.T) {
	err := Config{Batch: 0, ReadWait: -1}.Validate()
	if err == nil || err.Error() != "batch: must be between 1 and 4096\nread_wait: must not be negative" {
		t.Errorf("Validate() = %v", err)
	}
}

// captured takes what the service registers instead of serving it.
type captured struct{ impl any }

func (c *captured) RegisterService(_ *grpc.ServiceDesc, impl any) { c.impl = impl }

// started is a running service with what tests need of it.
type started struct {
	deps   run.Deps
	server *server
	hasher identity.Hasher
}

func startService(t *testing.T) started {
	t.Helper()
	deps := runtest.Deps(t)
	var c captured
	deps.GRPC = &c
	ready := make(chan struct{})
	deps.Ready = func(string, bool) { close(ready) }
	svc, err := New(t.Context(), Default(), deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	select {
	case <-ready:
	case <-time.After(20 * time.Second):
		t.Fatal("the service did not become ready")
	}
	s, ok := c.impl.(*server)
	if !ok {
		t.Fatalf("registered %T", c.impl)
	}
	s.engine.wait = 20 * time.Second
	return started{deps: deps, server: s, hasher: identity.NewHasher(deps.Generation.Secret, deps.Generation.Partitions)}
}

// publish stores an event as ingest would and returns its position.
func (s started) publish(t *testing.T, e *eventv1.Event) *eventv1.Position {
	t.Helper()
	payload, err := e.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	msg, err := (&stagev1.Arrivals{Items: []*stagev1.Arrival{{
		ReceivedAt: e.GetReceivedAt(), At: e.GetAt(), Item: &stagev1.Arrival_Payload{Payload: payload},
	}}}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	home := s.hasher.Home(tenant, e.GetIdentifiers()[0])
	seq, err := s.deps.Broker.Publish(t.Context(), log.Subject(log.Lane(log.LaneLive), home), msg)
	if err != nil {
		t.Fatal(err)
	}
	return &eventv1.Position{Partition: uint32(home), Lane: log.LaneLive, Sequence: seq}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not in 20 s: %s", what)
		case <-tick.C:
		}
	}
}

func TestEventsBecomeProfilesThatCanBeRead(t *testing.T) {
	s := startService(t)
	ctx := t.Context()
	s.publish(t, track("a1", 0, anon("d")))
	eventually(t, "the anonymous profile", func() bool {
		_, err := s.server.GetProfile(ctx, &profilev1.GetProfileRequest{Identifier: anon("d")})
		return err == nil
	})
	hello := identify("i1", 1, user("u"), anon("d"))
	hello.Traits = []*eventv1.Property{{Name: "email", Value: event.Text(" Ann@X.example ")}}
	at := s.publish(t, hello)
	got, err := s.server.GetProfile(ctx, &profilev1.GetProfileRequest{Identifier: user(" u "), AtLeast: at})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "partition", got.GetPartition(), uint32(s.hasher.Home(tenant, user("u"))))
	want(t, "endpoint", profile.Endpoints(got.GetProfile())[0].GetAddress(), "ann@x.example")
	eventually(t, "both identifiers at one profile", func() bool {
		p, err := s.server.GetProfile(ctx, &profilev1.GetProfileRequest{Identifier: anon("d")})
		return err == nil && string(p.GetProfile().GetId()) == string(got.GetProfile().GetId())
	})
	s.publish(t, track("t1", 2, anon("d")))
	eventually(t, "the timeline", func() bool {
		tl, err := s.server.ListTimeline(ctx, &profilev1.ListTimelineRequest{Identifier: anon("d")})
		if err != nil {
			t.Fatal(err)
		}
		var whats []string
		for _, e := range tl.GetEntries() {
			whats = append(whats, e.GetWhat()+" "+e.GetId())
		}
		return len(whats) == 3 && whats[0] == "event_applied i1" && whats[1] == "identity_adopted i1" && whats[2] == "event_applied t1"
	})
	short, err := s.server.ListTimeline(ctx, &profilev1.ListTimelineRequest{Identifier: user("u"), Limit: 1})
	if err != nil || len(short.GetEntries()) != 1 || short.GetEntries()[0].GetId() != "t1" {
		t.Errorf("newest line: %v, %v", short, err)
	}
	byID, err := s.server.GetProfile(ctx, &profilev1.GetProfileRequest{Identifier: direct(got.GetProfile().GetId())})
	if err != nil || string(byID.GetProfile().GetId()) != string(got.GetProfile().GetId()) {
		t.Errorf("by id: %v", err)
	}
}

func TestReadsThatCannotBeAnswered(t *testing.T) {
	s := startService(t)
	s.server.engine.wait = 20 * time.Millisecond
	_, err := s.server.GetProfile(t.Context(), &profilev1.GetProfileRequest{Identifier: user("nobody")})
	if fault.Of(err) != fault.NotFound {
		t.Errorf("nobody: %v, want not found", err)
	}
	_, err = s.server.GetProfile(t.Context(), &profilev1.GetProfileRequest{Identifier: &eventv1.Identifier{Kind: "shoe_size", Value: "44"}})
	if fault.Of(err) != fault.Invalid {
		t.Errorf("unknown kind: %v, want invalid", err)
	}
	_, err = s.server.GetProfile(t.Context(), &profilev1.GetProfileRequest{Identifier: user("u"), AtLeast: &eventv1.Position{Partition: 99, Lane: "live", Sequence: 1}})
	if fault.Of(err) != fault.Invalid {
		t.Errorf("no such partition: %v, want invalid", err)
	}
	at := s.publish(t, track("t1", 0, user("u")))
	at.Sequence += 1000
	_, err = s.server.GetProfile(t.Context(), &profilev1.GetProfileRequest{Identifier: user("u"), AtLeast: at})
	st, _ := status.FromError(err)
	if st.Code() != codes.FailedPrecondition || len(st.Details()) != 2 {
		t.Fatalf("a position not reached: %v with %v, want failed precondition", err, st.Details())
	}
	if r, ok := st.Details()[1].(*reasonv1.Reason); !ok || r.GetCode() != reasonv1.Code_CODE_STALE_VIEW {
		t.Errorf("detail %v, want STALE_VIEW", st.Details()[1])
	}
}

func TestACatalogAppliesFromItsPositionOn(t *testing.T) {
	s := startService(t)
	bundle, err := testBundle().MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	if err := source.Put(t.Context(), s.deps.Bundles, source.Bundle{Tenant: defaultTenant, Revision: "r1", Data: bundle}); err != nil {
		t.Fatal(err)
	}
	orders := func() *eventv1.Value {
		p, err := s.server.GetProfile(t.Context(), &profilev1.GetProfileRequest{Identifier: user("u")})
		if err != nil {
			return nil
		}
		return trait(p.GetProfile(), "orders")
	}
	at := s.publish(t, track("t1", 0, user("u")))
	if _, err := s.server.GetProfile(t.Context(), &profilev1.GetProfileRequest{Identifier: user("u"), AtLeast: at}); err != nil {
		t.Fatal(err)
	}
	if err := source.Activate(t.Context(), s.deps.Bundles, s.deps.Broker, runtest.Partitions, "r1", time.Now()); err != nil {
		t.Fatal(err)
	}
	n := 0
	eventually(t, "an order counted", func() bool {
		n++
		e := track("t2", n, user("u"))
		e.Id += timestamppb.New(start.Add(time.Duration(n))).String()
		s.publish(t, e)
		return orders() != nil
	})
}

func testBundle() *definitionv1.Bundle {
	return &definitionv1.Bundle{Revision: "r1", Resources: []*definitionv1.Resource{
		{
			Metadata: &definitionv1.Metadata{Name: "shop"},
			Spec:     &definitionv1.Resource_Workspace{Workspace: &definitionv1.Workspace{DefaultZone: "Europe/London"}},
		},
		{
			Metadata: &definitionv1.Metadata{Name: "order_placed"},
			Spec:     &definitionv1.Resource_Event{Event: &definitionv1.EventType{Type: "Order Placed", Properties: map[string]string{"total": "int"}}},
		},
		{
			Metadata: &definitionv1.Metadata{Name: "orders"},
			Spec: &definitionv1.Resource_Trait{Trait: &definitionv1.TraitDef{
				Type: "int", Compute: &definitionv1.TraitDef_Count{Count: &definitionv1.Aggregate{Event: "order_placed", Where: "event.total > 0"}},
			}},
		},
	}}
}

// views answers reads from what a test says.
type views func(partition int, q state.Query) (state.View, error)

func (v views) Read(_ context.Context, partition int, q state.Query) (state.View, error) {
	return v(partition, q)
}

type fixedRules struct{ *profile.Rules }

func (f fixedRules) Current(context.Context, string) (*profile.Rules, error) { return f.Rules, nil }

func TestAReadFromAnotherPartitionWaitsForItsLetters(t *testing.T) {
	h := testHasher(2)
	// An identifier at home in partition 0 that resolves to a profile in partition 1.
	var id *eventv1.Identifier
	var owner []byte
	for n := 0; id == nil || owner == nil; n++ {
		i := user(string(rune('a' + n)))
		if h.Home(tenant, i) == 0 {
			id = i
		} else {
			owner = h.ID(tenant, i)
		}
	}
	row, _ := (&profilev1.IdentifierRow{ProfileId: owner}).MarshalVT()
	p, _ := (&profilev1.Profile{Tenant: tenant, Id: owner}).MarshalVT()
	var letters uint64
	read := views(func(partition int, q state.Query) (state.View, error) {
		v := state.View{Metas: map[string]state.Meta{}, Rows: make([][]byte, len(q.Rows))}
		if partition == 0 {
			v.Metas[stageName] = state.Meta{Applied: 7, Origins: map[string]uint64{"live": 3}}
			if len(q.Rows) > 0 {
				v.Rows[0] = row
			}
			return v, nil
		}
		v.Metas[stageName] = state.Meta{Applied: 9, Senders: map[string]state.Position{"prf.0": {Sequence: letters}}}
		v.Rows[0] = p
		return v, nil
	})
	e := &engine{clock: clock.Wall{}, store: read, rules: fixedRules{profile.DefaultRules(h)}, hasher: h, partitions: 2}
	at := &eventv1.Position{Partition: 0, Lane: "live", Sequence: 3}
	if _, _, err := e.find(t.Context(), tenant, id, at); !isStale(err) {
		t.Errorf("before the letters: %v, want stale", err)
	}
	letters = 7
	if got, partition, err := e.find(t.Context(), tenant, id, at); err != nil || partition != 1 || string(got.GetId()) != string(owner) {
		t.Errorf("after the letters: %v in %d, %v", got, partition, err)
	}
	e.store = views(func(int, state.Query) (state.View, error) { return state.View{}, errors.New("down") })
	if _, _, err := e.find(t.Context(), tenant, id, nil); err == nil {
		t.Error("a store that is down answered")
	}
}
