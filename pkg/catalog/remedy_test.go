package catalog_test

import (
	"testing"

	"refrain.dev/pkg/catalog"
	"refrain.dev/pkg/definition/definitiontest"
)

// Whatever is wrong in a file says where, and how to mend it.
func TestEveryDiagnosticHasPlaceAndRemedy(t *testing.T) {
	for _, pattern := range []string{"testdata/*.txtar", "../definition/testdata/bad/*.txtar"} {
		definitiontest.Each(t, pattern, func(t *testing.T, a definitiontest.Archive) {
			_, _, list := catalog.Read(a.FS())
			for _, d := range list {
				if d.Why == "" || d.File != "" && d.Line == 0 {
					t.Errorf("got %q; want a place and a remedy", d)
				}
			}
		})
	}
}
