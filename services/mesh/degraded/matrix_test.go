package degraded

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every cell of the table names a test that exists, and every test of this package stands in the table.
func TestTheTableNamesItsTests(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "degraded.md"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f) //nolint:gosec // this package's own
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	}
	table := string(page[:strings.Index(string(page), "\n## ")])
	for _, name := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(table, -1) {
		if !strings.Contains(code.String(), "func "+name[1]+"(") {
			t.Errorf("the table names %s, which does not exist", name[1])
		}
	}
	for _, name := range regexp.MustCompile(`func (Test\w+)\(`).FindAllStringSubmatch(code.String(), -1) {
		if !strings.Contains(table, name[1]) && name[1] != "TestTheTableNamesItsTests" {
			t.Errorf("%s does not stand in the table", name[1])
		}
	}
	for _, cell := range cells(table) {
		if !strings.Contains(code.String(), `"`+cell+`"`) && !strings.Contains(code.String(), `"`+strings.SplitAfter(cell, "/")[0]) &&
			!regexp.MustCompile(`"`+cell+`": +"\w+"`).MatchString(code.String()) {
			t.Errorf("the table names the part %q, which does not exist", cell)
		}
	}
}

// cells are the names in brackets that are no links.
func cells(table string) []string {
	var out []string
	for _, found := range regexp.MustCompile(`\[([^\]]+)\]([^(]|$)`).FindAllStringSubmatch(table, -1) {
		if strings.Contains(found[1], "services/") {
			continue
		}
		if found[1] == "decision, suppression, dispatch" {
			out = append(out, found[1])
			continue
		}
		out = append(out, strings.Split(found[1], ", ")...)
	}
	return out
}
