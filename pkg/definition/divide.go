package definition

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// divide returns the documents that stand in one: two and more if the --- between them was forgotten, which it reports.
// So what is wrong in each of them is found, too.
func (l *loader) divide(file string, root *yaml.Node) []*yaml.Node {
	if root.Kind != yaml.MappingNode {
		return []*yaml.Node{root}
	}
	var out []*yaml.Node
	seen := map[string]bool{}
	from := 0
	for i := 0; i+1 < len(root.Content); i += 2 {
		key := root.Content[i]
		if seen[key.Value] && begins(root.Content[i:], seen) {
			l.add(Diagnostic{
				File: file, Line: key.Line, Col: key.Column, What: "a second document begins here without --- before it",
				Why: fmt.Sprintf("write --- on a line of its own before line %d", key.Line),
			})
			out = append(out, part(root, from, i))
			from, seen = i, map[string]bool{}
		}
		seen[key.Value] = true
	}
	return append(out, part(root, from, len(root.Content)))
}

// begins reports whether a document begins with these fields, of which the first is there already: apiVersion and kind
// come again before anything else does that is written once.
func begins(rest []*yaml.Node, seen map[string]bool) bool {
	again := map[string]bool{}
	for i := 0; i+1 < len(rest); i += 2 {
		if seen[rest[i].Value] {
			again[rest[i].Value] = true
		}
	}
	return again["kind"] && (again["spec"] || again["metadata"])
}

func part(root *yaml.Node, from, to int) *yaml.Node {
	if from == 0 && to == len(root.Content) {
		return root
	}
	p := *root
	p.Content = root.Content[from:to]
	if from > 0 {
		p.Line, p.Column = p.Content[0].Line, p.Content[0].Column
	}
	return &p
}

// wrongDivider finds the first line that was meant to divide documents and does not, such as -- or an indented ---:
// a document begins behind it. Line 0 if there is none.
func wrongDivider(data []byte) (line int, written string) {
	n, at := 0, 0
	for text := range strings.Lines(string(data)) {
		n++
		text = strings.TrimRight(text, " \t\r\n")
		signs := strings.TrimLeft(text, " \t")
		switch {
		case signs == "" || strings.HasPrefix(signs, "#"):
		case at > 0 && (strings.HasPrefix(signs, "apiVersion:") || strings.HasPrefix(signs, "kind:")):
			return at, written
		case text != "---" && strings.Trim(signs, "-–—=*_") == "":
			at, written = n, signs
		default:
			at = 0
		}
	}
	return 0, ""
}
