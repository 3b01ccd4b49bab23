package catalog

import (
	"strings"
	"testing"
	"testing/fstest"
)

func directory(identifiers string) fstest.MapFS {
	return fstest.MapFS{"w.yaml": {Data: []byte(`apiVersion: refrain/v1
kind: Workspace
metadata: {name: w}
spec: {}
` + identifiers)}}
}

func identifier(name, class, priority, normaliser string) string {
	return "---\napiVersion: refrain/v1\nkind: Identifier\nmetadata: {name: " + name + "}\nspec: {class: " + class + ", priority: " + priority + ", normaliser: " + normaliser + "}\n"
}

func read(t *testing.T, identifiers string) *Catalog {
	t.Helper()
	_, c, diags := Read(directory(identifiers))
	if c == nil {
		t.Fatalf("the directory is wrong: %v", diags)
	}
	return c
}

// Where an event is stored must not change within a generation (RUNTIME, routing table).
func TestFollowKeepsRouting(t *testing.T) {
	old := read(t, identifier("loyalty", "person", "20", "lower"))
	for name, tc := range map[string]struct{ next, want string }{
		"the same":       {identifier("loyalty", "person", "20", "lower"), ""},
		"a weaker kind":  {identifier("loyalty", "person", "20", "lower") + identifier("crm", "person", "30", "none"), ""},
		"a stronger one": {identifier("loyalty", "person", "20", "lower") + identifier("crm", "person", "4", "none"), "order of identifier kinds"},
		"normaliser":     {identifier("loyalty", "person", "20", "none"), "normaliser is none and was lower"},
		"class":          {identifier("loyalty", "device", "20", "lower"), "class is device"},
		"gone":           {"", "Identifier loyalty is gone"},
		"reordered":      {identifier("loyalty", "person", "1", "lower"), "order of identifier kinds"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Follow(old, read(t, tc.next))
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
	if err := Follow(nil, old); err != nil {
		t.Errorf("the first catalog: got %v, want none", err)
	}
}
