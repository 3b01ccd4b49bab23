package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/snapshot"
)

func (a *app) snapshotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "List, take and verify the snapshots of chains",
		Long: `A snapshot is what a chain's records led to, built from the log by the owner of the partition. States are
made again from it, and records that are older than the one before the newest may go.`,
		Example: `  refrain snapshot list --stage profile
  refrain snapshot take
  refrain snapshot verify`,
		RunE: func(*cobra.Command, []string) error { return usage("want list, take or verify") },
	}
	cmd.AddCommand(a.snapshotList(), a.snapshotTake(), a.snapshotVerify())
	return cmd
}

func (a *app) snapshotTake() *cobra.Command {
	u := &upkeep{kind: stagev1.UpkeepKind_UPKEEP_KIND_SNAPSHOT}
	cmd := &cobra.Command{
		Use:     "take",
		Short:   "Ask the owners to take snapshots now",
		Example: `  refrain snapshot take --stage profile`,
		Args:    args(0, 0, "no argument"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.upkeep(cmd.Context(), u) },
	}
	u.flags(cmd)
	return cmd
}

// listed is a snapshot as it is shown.
type listed struct {
	Stage     string `json:"stage"`
	Partition int    `json:"partition"`
	Sequence  uint64 `json:"sequence"`
	Records   uint64 `json:"records"`
	Rows      uint64 `json:"rows"`
	Bytes     uint64 `json:"bytes"`
	BuiltFrom uint64 `json:"built_from"`
	At        string `json:"at"`
	Owner     string `json:"owner"`
	Object    string `json:"object"`
	Result    string `json:"result,omitempty"`
}

func (a *app) snapshotList() *cobra.Command {
	u := &upkeep{}
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List snapshots, the newest of each chain first",
		Example: `  refrain snapshot list --partition 0`,
		Args:    args(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.snapshots(cmd.Context(), u, func(context.Context, *snapshot.Library, string, *stagev1.SnapshotListing) string { return "" })
		},
	}
	u.chains(cmd)
	return cmd
}

func (a *app) snapshotVerify() *cobra.Command {
	u := &upkeep{}
	cmd := &cobra.Command{
		Use:     "verify",
		Short:   "Read snapshots whole and check every hash and frame",
		Example: `  refrain snapshot verify --stage profile --partition 0`,
		Args:    args(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			bad := 0
			err := a.snapshots(cmd.Context(), u, func(ctx context.Context, l *snapshot.Library, chain string, of *stagev1.SnapshotListing) string {
				s, err := l.Open(ctx, chain, of)
				if err == nil {
					err = l.Verify(ctx, s)
				}
				switch {
				case errors.Is(err, snapshot.ErrDamaged):
					bad++
					return err.Error()
				case err != nil:
					bad++
					return "not read: " + err.Error()
				}
				return "whole"
			})
			if err == nil && bad > 0 {
				return negative("%s not whole", count(bad, "snapshot"))
			}
			return err
		},
	}
	u.chains(cmd)
	return cmd
}

// snapshots prints the snapshots of the chains that were chosen, each with what look says.
func (a *app) snapshots(ctx context.Context, u *upkeep, look func(context.Context, *snapshot.Library, string, *stagev1.SnapshotListing) string) error {
	return a.withSite(ctx, func(site log.Site, gen log.Generation) error {
		library := snapshot.NewLibrary(site.Objects(), site.KV(), gen.Number)
		all := []listed{}
		err := u.each(gen, func(spec log.StageSpec, p int) error {
			chain := log.Subject(spec.Chain, p)
			of, err := library.List(ctx, chain)
			if err != nil {
				return err
			}
			for _, s := range of {
				all = append(all, listed{
					Stage: spec.Name, Partition: p, Sequence: s.GetSequence(), Records: s.GetRecords(), Rows: s.GetRows(), Bytes: s.GetSize(),
					BuiltFrom: s.GetBuiltFrom(), At: when(s.GetAt()), Owner: s.GetOwner(), Object: s.GetObject(), Result: look(ctx, library, chain, s),
				})
			}
			return nil
		})
		if err != nil {
			return err
		}
		return a.print(all, listedTable(all))
	})
}

func listedTable(all []listed) table {
	t := table{head: []string{"STAGE", "PARTITION", "RECORD", "RECORDS", "ROWS", "BYTES", "FROM", "AT", "OWNER", "RESULT"}}
	for _, s := range all {
		t.row(s.Stage, fmt.Sprint(s.Partition), fmt.Sprint(s.Sequence), fmt.Sprint(s.Records), fmt.Sprint(s.Rows), fmt.Sprint(s.Bytes),
			fmt.Sprint(s.BuiltFrom), s.At, s.Owner, s.Result)
	}
	if len(all) == 0 {
		t.linef("there are no snapshots yet")
	}
	return t
}
