package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/definition"
)

// checked is a directory of definitions after all checks.
type checked struct {
	Revision    string       `json:"revision,omitempty"`
	Resources   int          `json:"resources"`
	Diagnostics []diagnostic `json:"diagnostics"`
	bundle      *definitionv1.Bundle
	list        []definition.Diagnostic
}

type diagnostic struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Col      int    `json:"col"`
	Severity string `json:"severity"`
	What     string `json:"what"`
	Why      string `json:"why,omitempty"`
}

// check loads and compiles a directory. What is wrong with it is in the result, not in the error.
func check(dir string) (*checked, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		if path, ok := errors.AsType[*fs.PathError](err); ok {
			err = path.Err
		}
		return nil, usage("the directory %s cannot be read: %w", dir, err)
	}
	defer root.Close() //nolint:errcheck // it was only read
	bundle, _, list := catalog.Read(root.FS())
	c := &checked{Resources: len(bundle.GetResources()), Diagnostics: []diagnostic{}, bundle: bundle, list: list}
	for _, d := range c.list {
		severity := "error"
		if d.Severity == definition.Warning {
			severity = "warning"
		}
		c.Diagnostics = append(c.Diagnostics, diagnostic{d.File, d.Line, d.Col, severity, d.What, d.Why})
	}
	if !c.broken() {
		c.Revision = bundle.GetRevision()
	}
	return c, nil
}

func (c *checked) broken() bool { return definition.HasErrors(c.list) }

// table lists the diagnostics and sums up.
func (c *checked) table() table {
	var t table
	broken, warnings := 0, 0
	for _, d := range c.list {
		t.linef("%s", clean(d.String()))
		if d.Severity == definition.Error {
			broken++
		} else {
			warnings++
		}
	}
	switch {
	case broken > 0:
		t.linef("%s, %s; nothing may be applied", count(broken, "error"), count(warnings, "warning"))
	case warnings > 0:
		t.linef("%s are right, with %s: revision %s", count(c.Resources, "resource"), count(warnings, "warning"), c.Revision)
	default:
		t.linef("%s are right: revision %s", count(c.Resources, "resource"), c.Revision)
	}
	return t
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
