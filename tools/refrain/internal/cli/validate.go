package cli

import (
	"github.com/spf13/cobra"
)

func (a *app) validateCommand() *cobra.Command {
	strict := false
	cmd := &cobra.Command{
		Use:   "validate DIR",
		Short: "Check a directory of definitions",
		Long: `validate checks a directory of definitions without applying it: the files, every expression, and
every reference from one definition to another. All errors are printed at once, as
file:line:col: what (why). It needs no mesh.`,
		Example: `  refrain validate examples/retail
  refrain validate . --strict -o json`,
		Args: args(1, 1, "one directory"),
		RunE: func(_ *cobra.Command, dir []string) error {
			c, err := check(dir[0])
			if err != nil {
				return err
			}
			if err := a.print(c, c.table()); err != nil {
				return err
			}
			if c.broken() || strict && len(c.list) > 0 {
				return negative("")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "warnings count as errors")
	return cmd
}
