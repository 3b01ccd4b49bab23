package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/fault"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/state"
)

// requestsKey is where what is asked of a stage's owners is, reportKey what they say.
func requestsKey(stage string) string { return "upkeep/" + stage }

func reportKey(stage string, partition int, kind stagev1.UpkeepKind) string {
	return fmt.Sprintf("upkeep/%s/%d/%d", stage, partition, kind)
}

// Ask asks the owners of some partitions of a stage to do something. Newer requests of a kind take the place of
// older ones.
func Ask(ctx context.Context, kv log.KV, stage string, ask []*stagev1.UpkeepRequest) error {
	for {
		all, revision, err := asked(ctx, kv, stage)
		if err != nil {
			return err
		}
		all.Requests = slices.DeleteFunc(all.GetRequests(), func(r *stagev1.UpkeepRequest) bool {
			return slices.ContainsFunc(ask, func(a *stagev1.UpkeepRequest) bool {
				return a.GetPartition() == r.GetPartition() && a.GetKind() == r.GetKind()
			})
		})
		all.Requests = append(all.GetRequests(), ask...)
		value, err := all.MarshalVT()
		if err != nil {
			return fmt.Errorf("encode requests: %w", err)
		}
		err = kv.Update(ctx, requestsKey(stage), value, revision)
		if _, conflict := errors.AsType[*log.ConflictError](err); !conflict {
			if err != nil {
				return fmt.Errorf("ask the owners of %s: %w", stage, err)
			}
			return nil
		}
	}
}

func asked(ctx context.Context, kv log.KV, stage string) (*stagev1.UpkeepRequests, uint64, error) {
	all := &stagev1.UpkeepRequests{}
	value, revision, err := kv.Get(ctx, requestsKey(stage))
	if errors.Is(err, log.ErrNotFound) {
		return all, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read what is asked of %s: %w", stage, err)
	}
	if err := all.UnmarshalVT(value); err != nil {
		return nil, 0, fault.New(fault.Internal, "read what is asked of %s: %w", stage, err)
	}
	return all, revision, nil
}

// Report is what the owner of a partition last said about a kind of request; an empty one if nothing.
func Report(ctx context.Context, kv log.KV, stage string, of *stagev1.UpkeepRequest) (*stagev1.UpkeepReport, error) {
	r := &stagev1.UpkeepReport{}
	value, _, err := kv.Get(ctx, reportKey(stage, int(of.GetPartition()), of.GetKind()))
	if errors.Is(err, log.ErrNotFound) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the report of %s/%d: %w", stage, of.GetPartition(), err)
	}
	if err := r.UnmarshalVT(value); err != nil {
		return nil, fault.New(fault.Internal, "read the report of %s/%d: %w", stage, of.GetPartition(), err)
	}
	return r, nil
}

// answer does what is asked about the partitions that this process owns, and is not reported as done yet: if a
// report is lost, it is done again.
func (k *Keeper) answer(ctx context.Context, owned []int) {
	all, _, err := asked(ctx, k.ports.KV, k.cfg.Spec.Name)
	if err != nil {
		k.note(ctx, "ask", -1, err)
		return
	}
	doing := clock.NewGroup(k.ports.Clock, 4)
	for _, r := range all.GetRequests() {
		partition := int(r.GetPartition())
		if !slices.Contains(owned, partition) || k.owned[partition].asked[r.GetKind()] == r.GetId() {
			continue
		}
		said, err := Report(ctx, k.ports.KV, k.cfg.Spec.Name, r)
		if err != nil {
			k.note(ctx, "ask", partition, err)
			continue
		}
		switch {
		case said.GetId() == r.GetId() && said.GetPhase() != stagev1.UpkeepPhase_UPKEEP_PHASE_RUNNING:
			k.owned[partition].asked[r.GetKind()] = r.GetId() // and what was said about it has arrived
		case r.GetKind() == stagev1.UpkeepKind_UPKEEP_KIND_REBUILD:
			doing.Go(func() error { k.fulfil(ctx, r, k.rebuild); return nil })
		default:
			k.fulfil(ctx, r, k.build)
		}
	}
	_ = doing.Wait(context.WithoutCancel(ctx)) // every function ends with ctx
}

// fulfil does what a request asks for and says so. If this process loses the partition meanwhile, the next
// owner does it.
func (k *Keeper) fulfil(ctx context.Context, r *stagev1.UpkeepRequest, do func(context.Context, int) (uint64, error)) {
	partition, began := int(r.GetPartition()), k.ports.Clock.Elapsed()
	k.report(ctx, r, &stagev1.UpkeepReport{Phase: stagev1.UpkeepPhase_UPKEEP_PHASE_RUNNING})
	sequence, err := do(ctx, partition)
	if ctx.Err() != nil || errors.Is(err, errLost) {
		return
	}
	out := &stagev1.UpkeepReport{
		Phase: stagev1.UpkeepPhase_UPKEEP_PHASE_DONE, Sequence: sequence, Millis: uint64((k.ports.Clock.Elapsed() - began).Milliseconds()), //nolint:gosec // positive
	}
	if err != nil {
		out.Phase, out.Why = stagev1.UpkeepPhase_UPKEEP_PHASE_FAILED, err.Error()
	}
	k.report(ctx, r, out)
}

func (k *Keeper) report(ctx context.Context, r *stagev1.UpkeepRequest, said *stagev1.UpkeepReport) {
	said.Id, said.Owner, said.At = r.GetId(), k.cfg.Replica, asProto(k.ports.Clock.Now())
	value, err := said.MarshalVT()
	if err == nil {
		err = k.ports.KV.Put(ctx, reportKey(k.cfg.Spec.Name, int(r.GetPartition()), r.GetKind()), value)
	}
	k.note(ctx, "report", int(r.GetPartition()), err)
}

// wholeLook is how often it is looked whether states are there again.
const wholeLook = 100 * time.Millisecond

// rebuild throws the states of a partition away and waits until its owner has made them again: it notices by
// itself, with its next input or soon.
func (k *Keeper) rebuild(ctx context.Context, partition int) (uint64, error) {
	ctx, cancel := k.ports.Clock.Within(ctx, k.cfg.Grace/2)
	defer cancel()
	stage := k.cfg.Spec.Name
	last, err := k.ports.Broker.Last(ctx, log.Subject(k.cfg.Spec.Chain, partition))
	if err != nil {
		return 0, fmt.Errorf("read the chain's end: %w", err)
	}
	if err := k.ports.Store.Reset(ctx, state.Shard{Stage: stage, Partition: partition}); err != nil {
		return 0, fmt.Errorf("throw the states away: %w", err)
	}
	k.metrics.rebuilt(ctx, "asked")
	k.ports.Logger.Info("states are made again, as asked", "stage", stage, "partition", partition)
	for {
		view, err := k.ports.Store.Read(ctx, partition, state.Query{Metas: []string{stage}})
		if err != nil {
			return 0, fmt.Errorf("look whether the states are there: %w", err)
		}
		if m := view.Metas[stage]; !m.Unfinished && m.Applied >= last.Sequence {
			return m.Applied, nil
		}
		if !k.owns(partition) {
			return 0, errLost
		}
		if err := clock.Sleep(ctx, k.ports.Clock, wholeLook); err != nil {
			return 0, fmt.Errorf("wait for the states: %w", err)
		}
	}
}
