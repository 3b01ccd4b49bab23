package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"refrain.dev/tools/simulate/internal/mutant"
)

// root of the repository, from here.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Every mutant fits the code as it is, and the test that is to find it is there: code that moves takes its
// mutants along.
func TestMutantsFit(t *testing.T) {
	all, err := planned("all")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 28 {
		t.Errorf("there are %d mutants, want at least 28", len(all))
	}
	for _, m := range all {
		changed, err := m.Apply(root(t))
		if err != nil {
			t.Error(err)
			continue
		}
		for file, text := range changed {
			if filepath.Ext(file) != ".go" { // a script: Redis says whether it is one
				continue
			}
			if _, err := parser.ParseFile(token.NewFileSet(), file, text, parser.SkipObjectResolution); err != nil {
				t.Errorf("mutant %s: %v", m.Name, err)
			}
		}
		if m.Test.Name != "" && !hasTest(t, m.Test) {
			t.Errorf("mutant %s: package %s has no %s", m.Name, m.Test.Package, m.Test.Name)
		}
	}
}

func hasTest(t *testing.T, test mutant.Test) bool {
	t.Helper()
	dir := os.DirFS(filepath.Join(root(t), filepath.FromSlash(test.Package)))
	files, err := fs.Glob(dir, "*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	function := regexp.MustCompile(`(?m)^func ` + test.Name + `\(t \*testing\.T\)`)
	for _, name := range files {
		if text, err := fs.ReadFile(dir, name); err == nil && function.Match(text) {
			return true
		}
	}
	return false
}

// harmless is a mutant that changes nothing that anybody could see.
func harmless(t *testing.T, how string) mutant.Mutant {
	t.Helper()
	m, err := mutant.Parse("harmless", "nothing at all\n"+how+"\n--- file tools/simulate/internal/shop/goals.go\n--- old\npackage shop\n--- new\n// A word more.\n\npackage shop\n")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What is not there is not found: neither by the simulator nor by a test that passes.
func TestAHarmlessMutantIsNotFound(t *testing.T) {
	h := &hunter{root: root(t), first: 1, seeds: 8, within: 2 * time.Minute, sound: func(uint64) bool { return true }}
	f, err := h.find(t.Context(), harmless(t, "found as: send.twice"))
	if err != nil || f.by != "" || f.after != h.seeds {
		t.Errorf("by the simulator: %+v, %v", f, err)
	}
	f, err = h.find(t.Context(), harmless(t, "found by: go test ./tools/simulate/internal/mutant -run TestParse"))
	if err != nil || f.by != "" {
		t.Errorf("by a test: %+v, %v", f, err)
	}
	if f, err = h.find(t.Context(), harmless(t, "found by: go test ./tools/simulate/internal/mutant -run TestThatIsNotThere")); err == nil {
		t.Errorf("a test that is not there: %+v", f)
	}
}

// A failure that is there without the mutant, or is no consequence of it, does not count.
func TestOnlyConsequencesCount(t *testing.T) {
	planted, err := planned("proposal-id-without-the-step")
	if err != nil {
		t.Fatal(err)
	}
	h := &hunter{root: root(t), first: 1, seeds: 3, within: 2 * time.Minute, sound: func(seed uint64) bool { return seed > 1 }}
	f, err := h.find(t.Context(), planted[0])
	if err != nil || f.by == "" || f.seed < 2 || len(f.others) != 1 {
		t.Errorf("where the first seed fails by itself: %+v, %v", f, err)
	}
	planted[0].Rules = []string{"contact.quiet"}
	f, err = h.find(t.Context(), planted[0])
	if err != nil || f.by != "" || len(f.others) != 3 {
		t.Errorf("with failures of other rules: %+v, %v", f, err)
	}
}
