package cli

import (
	"cmp"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"refrain.dev/pkg/clock"
	"refrain.dev/pkg/log"
	"refrain.dev/pkg/stage"
)

// mended is what is said of one chain that is ahead.
type mended struct {
	Chain string    `json:"chain"`
	Was   time.Time `json:"was"`
	Ahead string    `json:"ahead"`
	Now   time.Time `json:"now,omitzero"`
}

func (a *app) clockMend() *cobra.Command {
	which := &upkeep{}
	dry := false
	cmd := &cobra.Command{
		Use:   "mend",
		Short: "Put the time of chains right that are ahead of the log's",
		Long: `A chain's time never goes back by itself. Where the clock of the broker and of a stage were ahead together, and
were set right, or a replay ran past today, the stage owns nothing ("ahead of the log's time") until time has
come so far. mend gives such chains the present time; their owners then go on by themselves. First set the
clocks of this machine, of the broker and of the services right.

What was decided ahead of time stays: waits that began then end late, and contacts that were counted then count
until they are that old. On a mesh on the replay clock there is nothing to mend.`,
		Example: `  refrain clock mend --dry-run
  refrain clock mend
  refrain clock mend --stage suppression --partition 3`,
		Args: args(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withSite(cmd.Context(), func(site log.Site, gen log.Generation) error {
				host, _ := os.Hostname() // for people
				who := "refrain clock mend on " + cmp.Or(host, "?")
				look := stage.Mend
				if dry {
					look = stage.Ahead
				}
				var t table
				all := []mended{}
				err := which.each(gen, func(spec log.StageSpec, partition int) error {
					m, err := look(cmd.Context(), site, cliClock{now: a.Now}, log.Subject(spec.Chain, partition), who)
					if err != nil || m.By <= clock.MaxSkew {
						return err //nolint:wrapcheck // says it all
					}
					all = append(all, mended{Chain: m.Chain, Was: m.Was, Ahead: m.By.Round(time.Second).String(), Now: m.Now})
					t.row(m.Chain, fmt.Sprintf("%s ahead, at %s", m.By.Round(time.Second), m.Was.UTC().Format(time.RFC3339)), mendedAt(m))
					return nil
				})
				if err != nil {
					return err
				}
				if len(all) == 0 {
					t.linef("no chain is ahead of the time")
				}
				return a.print(map[string]any{"chains": all}, t)
			})
		},
	}
	which.chains(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say which chains are ahead")
	return cmd
}

func mendedAt(m stage.Mending) string {
	if m.Now.IsZero() {
		return "not mended"
	}
	return "now at " + m.Now.UTC().Format(time.RFC3339)
}

// cliClock is the command's clock.
type cliClock struct {
	clock.Wall

	now func() time.Time
}

// Now implements clock.Clock.
func (c cliClock) Now() time.Time { return c.now() }
