package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"refrain.dev/pkg/definition"
)

// schemaFile is the name of the file that schema writes.
const schemaFile = "refrain.schema.json"

func (a *app) schemaCommand() *cobra.Command {
	out := ""
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of definitions, for editors",
		Long: `schema prints the JSON Schema (draft-07) of definitions. Editors that know it complete and check
while one writes; with the YAML language server, begin a file with
  # yaml-language-server: $schema=refrain.schema.json`,
		Example: `  refrain schema > refrain.schema.json
  refrain schema --out .`,
		Args: args(0, 0, "no argument"),
		RunE: func(*cobra.Command, []string) error {
			if out == "" {
				_, err := a.Stdout.Write(definition.JSONSchema())
				return err
			}
			if err := os.MkdirAll(out, 0o750); err != nil {
				return fmt.Errorf("make the directory: %w", err)
			}
			path := filepath.Join(out, schemaFile)
			if err := os.WriteFile(path, definition.JSONSchema(), 0o600); err != nil {
				return fmt.Errorf("write the schema: %w", err)
			}
			a.sayf("wrote %s", path)
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write "+schemaFile+" into this directory instead")
	return cmd
}
