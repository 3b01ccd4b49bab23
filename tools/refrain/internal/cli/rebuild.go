package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/snapshot"
)

func (a *app) rebuildCommand() *cobra.Command {
	u := &upkeep{kind: stagev1.UpkeepKind_UPKEEP_KIND_REBUILD}
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Make states in Redis again from snapshots and chains",
		Long: `rebuild asks the owners of partitions to throw their states in Redis away and to make them again from the
newest snapshot and the records after it. The mesh may go on meanwhile: until a partition is whole again
nobody in it is contacted, and queries are answered as degraded. Asking again does no harm. The chains are
the truth; they are not touched.`,
		Example: `  refrain rebuild
  refrain rebuild --stage suppression --partition 3`,
		Args: args(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.upkeep(cmd.Context(), u) },
	}
	u.flags(cmd)
	return cmd
}

// upkeep is what is asked of the owners of partitions.
type upkeep struct {
	kind      stagev1.UpkeepKind
	stage     string
	partition int
	wait      time.Duration
}

func (u *upkeep) flags(cmd *cobra.Command) {
	u.chains(cmd)
	cmd.Flags().DurationVar(&u.wait, "wait", 10*time.Minute, "how long to wait for the owners; 0 only asks")
}

// chains are the flags that choose some.
func (u *upkeep) chains(cmd *cobra.Command) {
	cmd.Flags().StringVar(&u.stage, "stage", "", "only this stage: profile, decision, suppression or dispatch")
	cmd.Flags().IntVar(&u.partition, "partition", -1, "only this partition")
}

// each calls do for every chain that was chosen.
func (u *upkeep) each(gen log.Generation, do func(spec log.StageSpec, partition int) error) error {
	if u.partition >= gen.Partitions {
		return usage("--partition %d: there are 0 to %d", u.partition, gen.Partitions-1)
	}
	found := false
	for _, spec := range log.Stages() {
		if u.stage != "" && u.stage != spec.Name {
			continue
		}
		found = true
		for p := range gen.Partitions {
			if u.partition >= 0 && u.partition != p {
				continue
			}
			if err := do(spec, p); err != nil {
				return err
			}
		}
	}
	if !found {
		return usage("--stage %q is no stage: use profile, decision, suppression or dispatch", u.stage)
	}
	return nil
}

// asking is a request and what became of it.
type asking struct {
	Stage     string `json:"stage"`
	Partition int    `json:"partition"`
	Phase     string `json:"phase"`
	Owner     string `json:"owner"`
	Sequence  uint64 `json:"sequence"`
	Millis    uint64 `json:"millis"`
	Why       string `json:"why,omitempty"`

	request *stagev1.UpkeepRequest
	settled bool
}

// upkeep asks and waits; it fails if something could not be done in time.
func (a *app) upkeep(ctx context.Context, u *upkeep) error {
	return a.withSite(ctx, func(site log.Site, gen log.Generation) error {
		all, err := a.ask(ctx, u, site.KV(), gen)
		if err != nil {
			return err
		}
		if u.wait <= 0 {
			a.sayf("asked the owners of %s; 'refrain status' and this command again tell more", count(len(all), "partition"))
			return nil
		}
		if err := a.await(ctx, u, site.KV(), all); err != nil {
			return err
		}
		return a.told(all)
	})
}

func (a *app) ask(ctx context.Context, u *upkeep, kv log.KV, gen log.Generation) ([]*asking, error) {
	id := make([]byte, 8)
	_, _ = rand.Read(id) // never fails
	var all []*asking
	byStage := map[string][]*stagev1.UpkeepRequest{}
	err := u.each(gen, func(spec log.StageSpec, p int) error {
		r := &stagev1.UpkeepRequest{Id: hex.EncodeToString(id), Partition: uint32(p), Kind: u.kind, At: timestamppb.New(a.Now())} //nolint:gosec // small
		byStage[spec.Name] = append(byStage[spec.Name], r)
		all = append(all, &asking{Stage: spec.Name, Partition: p, Phase: "ASKED", request: r})
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, spec := range log.Stages() {
		if len(byStage[spec.Name]) == 0 {
			continue
		}
		short, cancel := context.WithTimeout(ctx, a.timeout)
		err := snapshot.Ask(short, kv, spec.Name, byStage[spec.Name])
		cancel()
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// askAgain is how often reports are read.
const askAgain = 200 * time.Millisecond

// await reads reports until all are settled or the time is over.
func (a *app) await(ctx context.Context, u *upkeep, kv log.KV, all []*asking) error {
	ctx, cancel := context.WithTimeout(ctx, u.wait)
	defer cancel()
	for shown := -1; ; {
		open := 0
		for _, x := range all {
			if !x.settled {
				if err := x.look(ctx, kv); err != nil && ctx.Err() == nil {
					return err
				}
			}
			if !x.settled {
				open++
			}
		}
		if done := len(all) - open; a.Terminal && done != shown {
			a.sayf("%d of %s", done, count(len(all), "partition"))
			shown = done
		}
		if open == 0 || clock.Sleep(ctx, clock.Wall{}, askAgain) != nil {
			return nil
		}
	}
}

func (x *asking) look(ctx context.Context, kv log.KV) error {
	said, err := snapshot.Report(ctx, kv, x.Stage, x.request)
	if err != nil || said.GetId() != x.request.GetId() {
		return err
	}
	x.Phase, x.Owner, x.Sequence, x.Millis, x.Why = short(said.GetPhase()), said.GetOwner(), said.GetSequence(), said.GetMillis(), said.GetWhy()
	x.settled = said.GetPhase() > stagev1.UpkeepPhase_UPKEEP_PHASE_RUNNING
	return nil
}

// told prints what became of everything.
func (a *app) told(all []*asking) error {
	t := table{head: []string{"STAGE", "PARTITION", "RESULT", "RECORD", "TOOK", "OWNER", "WHY"}}
	bad := 0
	for _, x := range all {
		if x.Phase != "DONE" {
			bad++
		}
		took := time.Duration(x.Millis) * time.Millisecond //nolint:gosec // small
		t.row(x.Stage, fmt.Sprint(x.Partition), x.Phase, fmt.Sprint(x.Sequence), took.String(), x.Owner, x.Why)
	}
	if err := a.print(all, t); err != nil {
		return err
	}
	if bad > 0 {
		return negative("%d of %s not done; are the owners running? What was asked stays asked", bad, count(len(all), "partition"))
	}
	return nil
}
