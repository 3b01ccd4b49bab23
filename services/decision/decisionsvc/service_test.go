package decisionsvc

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	profilev1 "refrain.dev/proto/gen/go/refrain/profile/v1"
	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/identity"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/run/runtest"
	"refrain.dev/pkg/source"
	"refrain.dev/pkg/state"
)

func TestServiceContract(t *testing.T) {
	runtest.Contract(t, run.Service[Config]{Name: "decision", Defaults: Default(), Build: New}, Default())
}

// registrar keeps what is registered.
type registrar struct{ impl any }

// RegisterService implements grpc.ServiceRegistrar.
func (r *registrar) RegisterService(_ *grpc.ServiceDesc, impl any) { r.impl = impl }

// upstream plays the profile stage in one partition: its chain and its rows.
type upstream struct {
	t         *testing.T
	deps      run.Deps
	partition int
	last      uint64
}

// append writes one record with one cell to the profile chain, and the rows that go with it.
func (u *upstream) append(key string, p *profilev1.Profile, facts ...*profilev1.Fact) {
	u.t.Helper()
	ctx, subject := u.t.Context(), log.Subject("prf", u.partition)
	last, err := u.deps.Broker.Last(ctx, subject)
	if err != nil {
		u.t.Fatalf("read chain: %v", err)
	}
	body := &stagev1.CellBody{State: encode(u.t, p), At: timestamppb.Now()}
	for _, f := range facts {
		body.Facts = append(body.Facts, encode(u.t, f))
	}
	rec := &stagev1.Record{
		Generation: u.deps.Generation.Number, Id: []byte("0123456789abcdef"), Prev: last.Sequence, Now: timestamppb.Now(), Revision: "r1",
		Kind: stagev1.RecordKind_RECORD_KIND_BATCH, Cells: []*stagev1.Cell{{Key: key, Sealed: encode(u.t, body)}},
		Origins: []*stagev1.Origin{{Lane: log.LaneLive, Sequence: 5}},
	}
	seq, err := u.deps.Broker.Append(ctx, subject, last.Sequence, encode(u.t, rec))
	if err != nil {
		u.t.Fatalf("append: %v", err)
	}
	for _, stage := range []string{profileStage, suppressionStage} {
		meta := state.Meta{Generation: u.deps.Generation.Number, Applied: seq, Revision: "r1", Now: time.Now(), Origins: map[string]uint64{log.LaneLive: 5}}
		batch := state.Batch{Prev: u.last, Meta: meta}
		if stage == profileStage {
			batch.Writes = []state.Write{{Key: key, Value: encode(u.t, p)}}
		}
		if err := u.deps.Store.Apply(ctx, state.Shard{Stage: stage, Partition: u.partition}, batch); err != nil {
			u.t.Fatalf("apply: %v", err)
		}
	}
	u.last = seq
}

// chain returns the kinds of the facts about a customer in ACTIONS.
func (u *upstream) chain(key string) []string {
	u.t.Helper()
	var out []string
	for after := uint64(0); ; {
		m, err := u.deps.Broker.Next(u.t.Context(), log.Subject("act", u.partition), after)
		if err != nil {
			return out
		}
		after = m.Sequence
		rec := &stagev1.Record{}
		if err := rec.UnmarshalVT(m.Data); err != nil {
			u.t.Fatal(err)
		}
		for _, c := range rec.GetCells() {
			body := &stagev1.CellBody{}
			if err := body.UnmarshalVT(c.GetSealed()); err != nil || c.GetKey() != key {
				continue
			}
			for _, f := range body.GetFacts() {
				out = append(out, kindOf(u.t, f))
			}
		}
	}
}

func TestAnEventOnTheLogLeadsToAProposalAndAnAnswer(t *testing.T) {
	deps := runtest.Deps(t)
	if err := source.Put(t.Context(), deps.Bundles, source.Bundle{Tenant: defaultTenant, Revision: "r1", Data: bundle(t)}); err != nil {
		t.Fatal(err)
	}
	rpc := &registrar{}
	deps.GRPC = rpc
	ready := make(chan struct{}, 2)
	deps.Ready = func(string, bool) { ready <- struct{}{} }
	component, err := New(t.Context(), Default(), deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- component.Run(ctx) }()
	<-ready

	hasher := identity.NewHasher(deps.Generation.Secret, deps.Generation.Partitions)
	id := hasher.ID("default", userID("u1"))
	key := identity.CustomerKey("default", id)
	u := &upstream{t: t, deps: deps, partition: hasher.Partition(id)}
	u.append(key, person(id), created(placed("o1", 20)))
	eventually(t, "the proposal is in the chain", func() bool { return len(u.chain(key)) == 4 })
	equal(t, "facts", u.chain(key), []string{"basis_updated", "enrollment_started", "step_entered", "proposal_made"})

	server := rpc.impl.(decisionv1.DecisionServiceServer)
	eventually(t, "the query is answered from the state", func() bool {
		res, err := server.NextBestActions(t.Context(), &decisionv1.NextBestActionsRequest{Identifier: userID("u1"), Placement: "home"})
		return err == nil && len(res.GetItems()) == 1 && res.GetItems()[0].GetAction() == "banner" && len(res.GetDegraded()) == 0
	})
	eventually(t, "the answer is in the decision log", func() bool {
		m, err := deps.Broker.Next(t.Context(), log.Subject(log.DecisionLog, u.partition), 0)
		return err == nil && len(m.Data) > 0
	})
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-tick.C {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 10 s: %s", what)
}
