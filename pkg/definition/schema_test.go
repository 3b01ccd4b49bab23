package definition_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"refrain.dev/pkg/definition"
)

func TestJSONSchema(t *testing.T) {
	const file = "testdata/schema.json"
	got := definition.JSONSchema()
	if !bytes.Equal(got, definition.JSONSchema()) {
		t.Error("two calls give different bytes")
	}
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Every reference leads to a definition, and every kind has one.
func TestJSONSchemaIsClosed(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(definition.JSONSchema(), &root); err != nil {
		t.Fatal(err)
	}
	definitions, _ := root["definitions"].(map[string]any)
	references := 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				references++
				if definitions[ref[len("#/definitions/"):]] == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, x := range v {
				walk(x)
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(root)
	if kinds, _ := root["oneOf"].([]any); len(kinds) != len(definition.Kinds()) || references < 2*len(kinds) {
		t.Errorf("got %d kinds and %d references", len(kinds), references)
	}
}
