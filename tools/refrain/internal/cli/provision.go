package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"refrain.dev/pkg/log"
)

func (a *app) provisionCommand() *cobra.Command {
	gen := log.Generation{Number: 1}
	maxBytes := int64(0)
	cmd := &cobra.Command{
		Use:   "provision",
		Short: "Make the streams of a new mesh",
		Long: `provision makes the streams, the chains and the secret of a generation of partitions on a NATS server
with JetStream. The number of partitions is fixed then. If the generation is there already nothing changes;
if it is another one, that is an error. 'mesh' provisions by itself.`,
		Example: `  refrain provision --partitions 32 --streams 2
  refrain provision --partitions 64 --replicas 3 --nats nats://nats-0:4222`,
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
			out, err := log.Provision(cmd.Context(), site, gen, log.ProvisionConfig{MaxBytes: maxBytes, Owner: "refrain provision", Now: a.Now})
			if err != nil {
				return err
			}
			var t table
			t.linef("generation %d is ready: %s in %s a stage, %s", out.Number, count(out.Partitions, "partition"), count(out.Streams, "stream"), count(out.Replicas, "replica"))
			return a.print(generationOf(out), t)
		},
	}
	f := cmd.Flags()
	f.Uint32Var(&gen.Number, "generation", 1, "number of the generation")
	f.IntVar(&gen.Partitions, "partitions", 32, "number of partitions, fixed for the generation")
	f.IntVar(&gen.Streams, "streams", 1, "over how many streams a stage's partitions are spread")
	f.IntVar(&gen.Replicas, "replicas", 1, "replicas of every stream: 1 or 3")
	f.Int64Var(&maxBytes, "max-bytes", 0, fmt.Sprintf("greatest size of a stream; 0 is %d", log.DefaultMaxBytes))
	return cmd
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
