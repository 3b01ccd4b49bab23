package ledger_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"refrain.dev/tools/ledger"
)

// The pages that say how many rules there are say it right.
func TestTheDocsCountTheRules(t *testing.T) {
	want := fmt.Sprintf("against %d rules", len(ledger.Rules()))
	for _, page := range []string{"../../README.md", "../../docs/promises.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(strings.Fields(string(text)), " "), want) {
			t.Errorf("%s does not say %q", page, want)
		}
	}
}

// Every rule that the source declares is in the list.
func TestTheListOfRulesIsWhole(t *testing.T) {
	source, err := os.ReadFile("violation.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^\t\w+ +Rule = "(\S+)"$`).FindAllStringSubmatch(string(source), -1)
	if len(declared) < 50 {
		t.Fatalf("found %d rules", len(declared))
	}
	for _, d := range declared {
		if !slices.Contains(ledger.Rules(), ledger.Rule(d[1])) {
			t.Errorf("%s is declared and not in the list", d[1])
		}
	}
}
