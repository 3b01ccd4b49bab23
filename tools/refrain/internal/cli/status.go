package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	stagev1 "refrain.dev/proto/gen/go/refrain/stage/v1"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/source"
	"refrain.dev/pkg/stage"
)

// meshStatus is how far the mesh is.
type meshStatus struct {
	Generation generation `json:"generation"`
	// Revision is what applies: of all tenants together, as records name it.
	Revision string `json:"revision"`
	// Tenants have definitions: the revisions of each.
	Tenants map[string]string `json:"tenants,omitempty"`
	Streams []streamStatus    `json:"streams"`
	Stages  []stageStatus     `json:"stages"`
	// Halted are the chains whose partitions must not go on, and why.
	Halted map[string]string `json:"halted,omitempty"`
}

type streamStatus struct {
	Name     string `json:"name"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	MaxBytes uint64 `json:"max_bytes"`
}

type stageStatus struct {
	Stage     string        `json:"stage"`
	Partition int           `json:"partition"`
	Sequence  uint64        `json:"sequence"`
	Kind      string        `json:"kind"`
	Owner     string        `json:"owner"`
	Revision  string        `json:"revision"`
	Now       string        `json:"now"`
	Inputs    []inputStatus `json:"inputs"`
}

func (a *app) statusCommand() *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how far every stage is behind its inputs",
		Long: `status reads from NATS which generation there is, what applies (where several tenants have definitions: the revision of
each, and the one that stands for all of them in records), how full its streams are, and for each stage and
partition how many items of its inputs wait behind what its chain covers. What a stage has read and what
changed nothing is covered by its next record only, so a few that wait are no sign of trouble while they do
not grow. A partition whose last record is GENESIS was never owned.`,
		Example: `  refrain status
  refrain status --all -o json`,
		Args: args(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withSite(cmd.Context(), func(site log.Site, gen log.Generation) error {
				s, err := readStatus(cmd.Context(), site, gen)
				if err != nil {
					return err
				}
				return a.print(s, s.table(all))
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "list every partition and input, not only the stages")
	return cmd
}

func readStatus(ctx context.Context, site log.Site, gen log.Generation) (*meshStatus, error) {
	s := &meshStatus{Generation: generationOf(gen)}
	now, err := source.Current(ctx, site.KV())
	if err != nil {
		return nil, err
	}
	s.Revision, s.Tenants = now.ID, now.Tenants
	if s.Halted, err = stage.Halts(ctx, site.KV()); err != nil {
		return nil, err
	}
	for _, cfg := range gen.StreamConfigs(0) {
		// A stream that holds all partitions stores them under a wildcard; any partition will do.
		use, err := site.Usage(ctx, strings.Replace(cfg.Subjects[0], "*", "0", 1))
		if err != nil {
			return nil, fmt.Errorf("read stream %s: %w", cfg.Name, err)
		}
		s.Streams = append(s.Streams, streamStatus{cfg.Name, use.Messages, use.Bytes, use.MaxBytes})
	}
	for _, spec := range log.Stages() {
		for p := range gen.Partitions {
			st, err := readStage(ctx, site, spec, p)
			if err != nil {
				return nil, err
			}
			s.Stages = append(s.Stages, st)
		}
	}
	return s, nil
}

func readStage(ctx context.Context, site log.Site, spec log.StageSpec, p int) (stageStatus, error) {
	subject := log.Subject(spec.Chain, p)
	m, err := site.Last(ctx, subject)
	if err != nil {
		return stageStatus{}, fmt.Errorf("read the end of %s: %w", subject, err)
	}
	var rec stagev1.Record
	if err := rec.UnmarshalVT(m.Data); err != nil {
		return stageStatus{}, fmt.Errorf("decode record %s %d: %w", subject, m.Sequence, err)
	}
	st := stageStatus{
		Stage: spec.Name, Partition: p, Sequence: m.Sequence, Kind: short(rec.GetKind()), Owner: rec.GetOwner(),
		Revision: rec.GetRevision(), Now: when(rec.GetNow()),
	}
	covers := map[string]*stagev1.Cover{}
	for _, c := range rec.GetCovers() {
		covers[c.GetInput()] = c
	}
	for _, input := range inputs(spec) {
		in, err := readInput(ctx, site, input, p, covers[input])
		if err != nil {
			return stageStatus{}, err
		}
		st.Inputs = append(st.Inputs, in)
	}
	return st, nil
}

// inputs lists everything that a stage reads from the log.
func inputs(spec log.StageSpec) []string {
	out := append([]string{}, spec.Before...)
	if spec.After != "" {
		out = append(out, spec.After)
	}
	return append(out, log.Box(spec.Name), log.Redrive(spec.Name))
}

func (s *meshStatus) table(all bool) table {
	var t table
	t.linef("generation %d: %s, %s; revision %s", s.Generation.Number, count(s.Generation.Partitions, "partition"), count(s.Generation.Replicas, "replica"), orNone(s.Revision))
	if len(s.Tenants) > 1 {
		for _, tenant := range slices.Sorted(maps.Keys(s.Tenants)) {
			t.linef("tenant %s: revision %s", tenant, s.Tenants[tenant])
		}
	}
	for _, chain := range slices.Sorted(maps.Keys(s.Halted)) {
		t.linef("HALTED %s by %s", chain, s.Halted[chain])
	}
	for _, x := range s.Streams {
		if all || x.MaxBytes > 0 && x.Bytes > x.MaxBytes/2 {
			t.linef("stream %s: %s, %d of %d MiB", x.Name, count(int(x.Messages), "message"), x.Bytes>>20, x.MaxBytes>>20) //nolint:gosec // for people
		}
	}
	if all {
		t.head = []string{"STAGE", "PARTITION", "RECORD", "KIND", "OWNER", "INPUT", "LAST", "COVERED", "WAITING"}
		for _, st := range s.Stages {
			for _, in := range st.Inputs {
				t.row(st.Stage, fmt.Sprint(st.Partition), fmt.Sprint(st.Sequence), st.Kind, st.Owner, in.Input,
					fmt.Sprint(in.Last), fmt.Sprint(in.Covered), in.waiting())
			}
		}
		return t
	}
	t.head = []string{"STAGE", "OWNED", "CLOSED", "WAITING", "MOST"}
	for _, spec := range log.Stages() {
		t.row(s.summary(spec.Name)...)
	}
	return t
}

// summary says in one row how a stage is.
func (s *meshStatus) summary(name string) []string {
	owned, closed, sum, most, where := 0, 0, inputStatus{}, 0, "-"
	for _, st := range s.Stages {
		if st.Stage != name {
			continue
		}
		switch st.Kind {
		case "GENESIS":
		case "CLOSE":
			closed++
		default:
			owned++
		}
		for _, in := range st.Inputs {
			sum.Waiting, sum.More = sum.Waiting+in.Waiting, sum.More || in.More
			if in.Waiting > most {
				most, where = in.Waiting, log.Subject(in.Input, st.Partition)+": "+in.waiting()
			}
		}
	}
	return []string{name, fmt.Sprint(owned), fmt.Sprint(closed), sum.waiting(), where}
}

func orNone(s string) string {
	if s == "" {
		return "none yet"
	}
	return s
}
