package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"refrain.dev/pkg/log"
	"refrain.dev/pkg/snapshot"
)

func (a *app) provisionCommand() *cobra.Command {
	gen := log.Generation{Number: 1}
	maxBytes := int64(0)
	var accept []string
	cmd := &cobra.Command{
		Use:   "provision",
		Short: "Make the streams of a new mesh",
		Long: `provision makes the streams, the chains and the secret of a generation of partitions on a NATS server
with JetStream. The number of partitions is fixed then. If the generation is there already nothing changes;
if it is another one, or if a stream was deleted and made anew since, that is an error. 'mesh' provisions by itself.

A stream that was restored from a backup may count as made anew: --accept records that it is the right one. First
compare it with what was acknowledged: whatever is missing in it is given up.`,
		Example: `  refrain provision --partitions 32 --streams 2
  refrain provision --partitions 64 --replicas 3 --nats nats://nats-0:4222
  refrain provision --partitions 64 --replicas 3 --accept EVENTS-g1-0`,
		Args: args(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := withSecret(gen).Validate(); err != nil {
				return &usageError{err}
			}
			site, done, err := a.Open(cmd.Context(), a.natsURL)
			if err != nil {
				return err
			}
			defer done()
			out, err := log.Provision(cmd.Context(), site, gen, log.ProvisionConfig{MaxBytes: maxBytes, Owner: "refrain provision", Now: a.Now, Accept: accept})
			if err != nil {
				return err
			}
			var t table
			t.linef("generation %d is ready: %s in %s a stage, %s", out.Number, count(out.Partitions, "partition"), count(out.Streams, "stream"), count(out.Replicas, "replica"))
			if err := capacity(cmd.Context(), site, out, &t); err != nil {
				return err
			}
			return a.print(generationOf(out), t)
		},
	}
	f := cmd.Flags()
	f.Uint32Var(&gen.Number, "generation", 1, "number of the generation")
	f.IntVar(&gen.Partitions, "partitions", 32, "number of partitions, fixed for the generation")
	f.IntVar(&gen.Streams, "streams", 1, "over how many streams a stage's partitions are spread")
	f.IntVar(&gen.Replicas, "replicas", 1, "replicas of every stream: 1 or 3")
	f.Int64Var(&maxBytes, "max-bytes", 0, fmt.Sprintf("greatest size of a stream; 0 is %d", log.DefaultMaxBytes))
	f.StringSliceVar(&accept, "accept", nil, "streams that were restored, and are recorded as the right ones")
	return cmd
}

// perEvent is about how many bytes an event takes in the chain of a stage, with the state after it.
const perEvent = 2 << 10

// capacity says what the streams can carry.
func capacity(ctx context.Context, site log.Site, gen log.Generation, t *table) error {
	use, err := site.Usage(ctx, log.Subject(log.Stages()[0].Chain, 0))
	if err != nil {
		return fmt.Errorf("read the size of the streams: %w", err)
	}
	each := int64(use.MaxBytes) //nolint:gosec // far below
	c := snapshot.Capacity{MaxBytes: each * int64(gen.Streams), PerEvent: perEvent}
	whole := snapshot.Settings{}.WithDefaults().History
	t.linef("a stream holds %s; what is kept for its age alone gives way from %.0f %% on and is gone at %.0f %%", bytesOf(each), 100*snapshot.EasyUntil, 100*snapshot.PressedFrom)
	t.linef("at %s an event in a stage's chain, for long:", bytesOf(perEvent))
	for _, kept := range []time.Duration{whole, 24 * time.Hour, time.Hour} {
		t.linef("  %4.0f h of history up to %s events/s", kept.Hours(), rate(c.Rate(kept)))
	}
	t.linef("  100 events/s with %.0f h of history need --max-bytes %d", whole.Hours(), c.Bytes(100, whole)/int64(gen.Streams))
	return nil
}

// bytesOf writes a size for people.
func bytesOf(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.3g GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.3g MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%.3g KiB", float64(n)/(1<<10))
	}
}

// rate writes a rate for people: a decimal only where it matters.
func rate(r float64) string {
	if r < 10 {
		return fmt.Sprintf("%.1f", r)
	}
	return fmt.Sprintf("%.0f", r)
}

// withSecret stands in for the secret that provisioning makes, so that the rest can be checked before.
func withSecret(g log.Generation) log.Generation {
	g.Secret = make([]byte, 32)
	return g
}

// generation is what may be shown of one: everything but the secret.
type generation struct {
	Number     uint32 `json:"number"`
	Partitions int    `json:"partitions"`
	Streams    int    `json:"streams"`
	Replicas   int    `json:"replicas"`
}

func generationOf(g log.Generation) generation {
	return generation{g.Number, g.Partitions, g.Streams, g.Replicas}
}
