package decisionsvc

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/types/known/timestamppb"

	decisionv1 "refrain.dev/proto/gen/go/refrain/decision/v1"
	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/run"
	"refrain.dev/pkg/source"
	"refrain.dev/pkg/stage"
)

// library is a book over bundles of the workspace that differ in how long a journey waits.
func library(t *testing.T, revisions map[string]string) (*book, map[string]*catalog.Catalog) {
	t.Helper()
	m, gen, err := log.ProvisionMemory(t.Context(), log.Generation{Number: 1, Partitions: 1, Streams: 1, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	compiled := map[string]*catalog.Catalog{}
	for revision, wait := range revisions {
		text := strings.Replace(workspace, `revision: "r1"`, `revision: "`+revision+`"`, 1)
		text = strings.Replace(text, `wait: "P1D"`, `wait: "`+wait+`"`, 1)
		b := &definitionv1.Bundle{}
		if err := prototext.Unmarshal([]byte(text), b); err != nil {
			t.Fatal(err)
		}
		raw := encode(t, b)
		if err := source.Put(t.Context(), source.StoreOf(m), source.Bundle{Tenant: defaultTenant, Revision: revision, Data: raw}); err != nil {
			t.Fatal(err)
		}
		if compiled[revision], err = catalog.Decode(raw); err != nil {
			t.Fatal(err)
		}
	}
	deps := run.Deps{KV: m.KV(), Bundles: source.StoreOf(m), Clock: clock.Wall{}, Logger: slog.New(slog.DiscardHandler), Generation: gen}
	return newBook(deps, &catalog.Cache{}), compiled
}

// A replica that owned nothing while r2 was applied finds what its customers entered under, under a later
// revision and under an older one that was applied again: the state names it, the shell makes it ready, and no
// input is given up.
func TestWhatACustomerEnteredUnderIsFoundWhateverThisProcessHasSeen(t *testing.T) {
	revisions := map[string]string{"r1": "P1D", "r2": "P2D", "r3": "P3D"}
	for _, now := range []string{"r1", "r3"} {
		t.Run("now "+now, func(t *testing.T) {
			before, compiled := library(t, revisions)
			if err := before.Prepare(t.Context(), "r2"); err != nil {
				t.Fatal(err)
			}
			b := newBench(t)
			b.fold = NewFold(before)
			env := b.env()
			env.Revision = "r2"
			cell := stage.Input{Source: stage.FromBefore, Name: "prf", Key: b.key, At: b.now, State: encode(t, b.profile), Facts: [][]byte{encode(t, placed("o1", 20))}}
			out, err := b.fold.Decide(cell, b, env)
			if err != nil {
				t.Fatal(err)
			}
			b.own = out.Cells[0].State
			entered := &decisionv1.State{}
			if err := entered.UnmarshalVT(b.own); err != nil || len(entered.GetEnrollments()) != 1 || entered.GetEnrollments()[0].GetRevision() != "r2" {
				t.Fatalf("the enrollment does not name r2: %v, %v", entered.GetEnrollments(), err)
			}

			other, _ := library(t, revisions) // the replica that takes over
			if err := other.Prepare(t.Context(), now); err != nil {
				t.Fatal(err)
			}
			b.fold, env.Revision = NewFold(other), now
			mailed := entered.Enrollments[0] // it goes on
			mailed.Step, mailed.Proposal, mailed.Ready, mailed.WakeAt = "mail", "", true, timestamppb.New(b.now)
			entered.Proposals, entered.Placements = nil, nil
			b.own = encode(t, entered)
			timer := stage.Input{Source: stage.FromTimer, Name: "timer", Key: b.key, At: b.now}
			for _, in := range []stage.Input{timer, {Source: stage.FromBefore, Name: "prf", Key: b.key, At: b.now, State: cell.State, Facts: [][]byte{encode(t, happened("e", "Looked"))}}} {
				_, err := NewFold(other).Decide(in, b, env)
				lack, ok := errors.AsType[*stage.NotReadyError](err)
				if !ok || !slices.Equal(lack.Needs, []string{"r2"}) {
					t.Fatalf("%s: got %v, want that r2 is needed", in.Name, err)
				}
			}
			if err := other.Prepare(t.Context(), "r2"); err != nil { // as the shell does
				t.Fatal(err)
			}
			out, err = b.fold.Decide(timer, b, env)
			if err != nil {
				t.Fatal(err)
			}
			after := &decisionv1.State{}
			if err := after.UnmarshalVT(out.Cells[0].State); err != nil {
				t.Fatal(err)
			}
			if got, want := after.GetEnrollments()[0].GetWakeAt().AsTime(), b.now.AddDate(0, 0, 2); !got.Equal(want) {
				t.Errorf("it waits until %s, want %s as r2 says", got, want)
			}
			if _, ok := other.Journey(now, defaultTenant, compiled["r2"].Journeys[0].Hash); ok {
				t.Error("the revision in force has the content: the test shows nothing")
			}
		})
	}
}

// Whatever a process has loaded to serve old enrollments, identifiers are read by the widest kinds.
func TestAnOldCatalogThatIsLoadedLaterNarrowsNoKinds(t *testing.T) {
	b, _ := library(t, map[string]string{"r1": "P1D", "r2": "P2D"})
	for _, r := range []string{"r2", "r1"} {
		if err := b.Prepare(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	narrow, _ := b.catalogs.At("r1", defaultTenant)
	wide, _ := b.catalogs.At("r2", defaultTenant)
	kinds := wide.Catalog.kinds
	b.catalogs.All(defaultTenant)[1].kinds = narrow.Catalog.kinds
	if got := b.Kinds(defaultTenant); len(got.Names()) != len(kinds.Names()) {
		t.Errorf("got %v, want %v", got.Names(), kinds.Names())
	}
}
