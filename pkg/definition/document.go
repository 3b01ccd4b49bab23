package definition

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"
)

// resource is one document as it was read.
type resource struct {
	file    string
	line    int
	kind    string
	message *definitionv1.Resource
	places  map[string]place
	// broken says that something is wrong in it already.
	broken bool
}

type place struct {
	line, col int
	// text says how the characters of a text stand there.
	text textStyle
	// indent is how far a text in a block is indented.
	indent int
}

// textStyle is how a text is written in YAML.
type textStyle int

const (
	plainText  textStyle = iota // begins where it stands
	quotedText                  // begins behind a quotation mark
	blockText                   // begins on the next line, indented
)

func styleOf(n *yaml.Node) textStyle {
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return blockText
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		return quotedText
	}
	return plainText
}

// document reads one document into a resource.
func (l *loader) document(file string, root *yaml.Node) {
	d := &decoder{loader: l, file: file, res: &resource{file: file, line: root.Line, places: map[string]place{}}}
	if !d.shape(root, 0) {
		return
	}
	if root.Kind != yaml.MappingNode {
		d.fail(root, "", "a document must be a mapping", "apiVersion, kind, metadata and spec")
		return
	}
	d.places("", root)
	d.envelope(root)
	d.rules()
	if d.res.message == nil || d.res.message.GetMetadata().GetName() == "" {
		return
	}
	d.res.message.Position = position(file, root.Line)
	l.source.add(l, d.res)
}

// envelope reads the four fields that every document has.
func (d *decoder) envelope(root *yaml.Node) {
	fields := d.mapping(root, "", []string{"apiVersion", "kind", "metadata", "spec"})
	for _, name := range []string{"apiVersion", "kind", "metadata", "spec"} {
		if fields[name] == nil {
			d.fail(root, name, name+": missing", "a document has apiVersion, kind, metadata and spec")
		}
	}
	if n := fields["apiVersion"]; n != nil && n.Value != APIVersion {
		d.fail(n, "apiVersion", "apiVersion: "+show(n)+" is not known", "it must be "+APIVersion)
	}
	kind := fields["kind"]
	if kind == nil {
		return
	}
	field := specField(kind.Value)
	if kind.Kind != yaml.ScalarNode || field == nil {
		d.fail(kind, "kind", "kind: "+show(kind)+" is not known", didYouMean(kind.Value, Kinds()))
		return
	}
	d.res.kind = kind.Value
	d.res.message = &definitionv1.Resource{Metadata: &definitionv1.Metadata{}}
	if n := fields["metadata"]; n != nil {
		d.message(n, "metadata", d.res.message.GetMetadata().ProtoReflect())
	}
	spec := d.res.message.ProtoReflect().Mutable(field).Message()
	if n := fields["spec"]; n != nil {
		d.message(n, "spec", spec)
	}
	d.templates()
}

// shape refuses what may stand nowhere: anchors, aliases, tags and too deep nesting. It returns false if
// the document cannot be read on.
func (d *decoder) shape(n *yaml.Node, depth int) bool {
	switch {
	case depth > MaxDepth:
		d.fail(n, "", "nested too deep", fmt.Sprintf("%d levels are allowed", MaxDepth))
		return false
	case n.Kind == yaml.AliasNode:
		d.fail(n, "", "the alias *"+n.Value+" is not allowed", "write out what it stands for")
		return false
	case n.Anchor != "":
		d.fail(n, "", "the anchor &"+n.Anchor+" is not allowed", "write the value wherever it is needed")
		return false
	case n.Style&yaml.TaggedStyle != 0:
		d.fail(n, "", "the tag "+n.Tag+" is not allowed", "types follow from the fields")
		return false
	}
	ok := true
	for _, c := range n.Content {
		ok = d.shape(c, depth+1) && ok
	}
	return ok
}

// places notes where everything stands.
func (d *decoder) places(at string, n *yaml.Node) {
	p := place{line: n.Line, col: n.Column, text: styleOf(n)}
	if p.text == blockText {
		p.indent = d.indentation(n.Line)
	}
	d.res.places[at] = p
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			d.places(join(at, n.Content[i].Value), n.Content[i+1])
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			d.places(at+"["+strconv.Itoa(i)+"]", c)
		}
	default: // nothing is inside
	}
}

// indentation is that of the first line with text behind a line of the file.
func (d *decoder) indentation(line int) int {
	data, err := readFile(d.loader.fsys, d.file)
	if err != nil {
		return 0
	}
	lines := strings.Split(string(data), "\n")
	for _, l := range lines[min(line, len(lines)):] {
		if text := strings.TrimLeft(l, " "); strings.TrimSpace(text) != "" {
			return len(l) - len(text)
		}
	}
	return 0
}

// mapping takes a mapping apart and refuses unknown and repeated keys.
func (d *decoder) mapping(n *yaml.Node, at string, known []string) map[string]*yaml.Node {
	out := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
			d.fail(key, at, prefix(at)+"a field's name must be text", "write name: value")
		case out[key.Value] != nil:
			d.fail(key, join(at, key.Value), join(at, key.Value)+": written twice", "leave one of the two out")
		case known != nil && !slices.Contains(known, key.Value):
			d.fail(key, join(at, key.Value), join(at, key.Value)+": unknown field", didYouMean(key.Value, known))
			if meant := Nearest(key.Value, known); meant != "" {
				d.failed = append(d.failed, join(at, meant)) // and it is not missing
			}
		default:
			out[key.Value] = value
		}
	}
	return out
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

func prefix(at string) string {
	if at == "" {
		return ""
	}
	return at + ": "
}

// show quotes a scalar for a message, cut to a readable length.
func show(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode {
		return "a " + nodeKind(n)
	}
	v := n.Value
	if len(v) > 40 {
		v = strings.ToValidUTF8(v[:40], "") + "…"
	}
	return strconv.Quote(v)
}

func nodeKind(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "mapping"
	case n.Kind == yaml.SequenceNode:
		return "list"
	case isNull(n):
		return "empty value"
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "number"
	case "!!bool":
		return "true or false"
	case "!!timestamp":
		return "date"
	}
	return "text"
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }
