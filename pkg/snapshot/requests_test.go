package snapshot

import (
	"bytes"
	"context"
	"strings"
	"testing"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// "Asks the owners …; safe to repeat; reports progress and result".
func TestOwnersDoWhatIsAsked(t *testing.T) {
	w := newWorld(t, Settings{})
	w.fill(3)
	ctx := t.Context()
	ask := func(id string, kind stagev1.UpkeepKind) *stagev1.UpkeepReport {
		t.Helper()
		r := &stagev1.UpkeepRequest{Id: id, Kind: kind}
		if err := Ask(ctx, w.log.KV(), stage, []*stagev1.UpkeepRequest{r, {Id: id, Kind: kind, Partition: 1}}); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second turn does nothing
			w.keeper.answer(ctx, w.owned)
		}
		said, err := Report(ctx, w.log.KV(), stage, r)
		if err != nil || said.GetId() != id || said.GetOwner() != "test" {
			t.Fatalf("report %v, %v", said, err)
		}
		if other, err := Report(ctx, w.log.KV(), stage, &stagev1.UpkeepRequest{Kind: kind, Partition: 1}); err != nil || other.GetId() != "" {
			t.Errorf("about a partition of somebody else: %v, %v", other, err)
		}
		return said
	}
	said := ask("1", stagev1.UpkeepKind_UPKEEP_KIND_SNAPSHOT)
	if said.GetPhase() != stagev1.UpkeepPhase_UPKEEP_PHASE_DONE || said.GetSequence() != w.last || len(w.listed()) != 1 {
		t.Errorf("a snapshot was asked for: %v, %d", said, len(w.listed()))
	}
	before := contentOf(t, w.store)
	w.keeper.ports.Store = &mended{Store: w.store, by: before}
	said = ask("2", stagev1.UpkeepKind_UPKEEP_KIND_REBUILD)
	if said.GetPhase() != stagev1.UpkeepPhase_UPKEEP_PHASE_DONE || said.GetSequence() != w.last {
		t.Errorf("a rebuild was asked for: %v", said)
	}
	w.log.SetFaults(func(op log.Op) log.Fault { return lost(op.Name == "last") })
	said = ask("3", stagev1.UpkeepKind_UPKEEP_KIND_SNAPSHOT)
	if said.GetPhase() != stagev1.UpkeepPhase_UPKEEP_PHASE_FAILED || !strings.Contains(said.GetWhy(), "read the end of prf.0") {
		t.Errorf("it could not be done: %v", said)
	}
}

// Whoever asked waits for the report: one that was lost is made up for.
func TestALostReportIsMadeUpFor(t *testing.T) {
	w := newWorld(t, Settings{})
	w.fill(3)
	r := &stagev1.UpkeepRequest{Id: "1", Kind: stagev1.UpkeepKind_UPKEEP_KIND_SNAPSHOT}
	if err := Ask(t.Context(), w.log.KV(), stage, []*stagev1.UpkeepRequest{r}); err != nil {
		t.Fatal(err)
	}
	puts := 0
	w.log.SetFaults(func(op log.Op) log.Fault {
		if op.Name == "kv.put" {
			puts++
		}
		return lost(op.Name == "kv.put" && puts == 2)
	})
	for _, want := range []stagev1.UpkeepPhase{stagev1.UpkeepPhase_UPKEEP_PHASE_RUNNING, stagev1.UpkeepPhase_UPKEEP_PHASE_DONE} {
		w.keeper.answer(t.Context(), w.owned)
		said, err := Report(t.Context(), w.log.KV(), stage, r)
		if err != nil || said.GetPhase() != want {
			t.Errorf("report %v, %v; want %v", said, err, want)
		}
	}
}

// mended is a store whose owner makes what was thrown away again at the next look.
type mended struct {
	state.Store

	by content
}

// Read implements state.Store.
func (m *mended) Read(ctx context.Context, partition int, q state.Query) (state.View, error) {
	v, err := m.Store.Read(ctx, partition, q)
	if err == nil && v.Metas[stage].Applied == 0 {
		b := state.Batch{Meta: m.by.Meta}
		for i, k := range m.by.Keys {
			b.Writes = append(b.Writes, state.Write{Key: k, Value: bytes.Clone(m.by.View.Rows[i])})
		}
		return v, m.Store.Apply(ctx, shard, b)
	}
	return v, err
}
