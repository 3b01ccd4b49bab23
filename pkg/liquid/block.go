package liquid

import (
	"slices"
	"strings"
)

// node is a part of a template.
type node interface {
	render(r *run, out *sink) error
	// quiet reports whether the node never writes anything but white space. A block of quiet nodes
	// writes nothing at all.
	quiet() bool
	walk(v *visit)
}

// body is a row of nodes.
type body struct{ nodes []node }

func (b *body) render(r *run, out *sink) error {
	if b == nil {
		return nil
	}
	for _, n := range b.nodes {
		if err := r.budget.step(1); err != nil {
			return err
		}
		if err := n.render(r, out); err != nil {
			return err
		}
		if r.stop != goOn {
			return nil
		}
	}
	return nil
}

func (b *body) quiet() bool {
	return b == nil || !slices.ContainsFunc(b.nodes, func(n node) bool { return !n.quiet() })
}

func (b *body) walk(v *visit) {
	if b != nil {
		for _, n := range b.nodes {
			n.walk(v)
		}
	}
}

// silence takes the white space out of blocks that write nothing else.
func silence(bodies ...*body) {
	for _, b := range bodies {
		if !b.quiet() {
			return
		}
	}
	for _, b := range bodies {
		if b != nil {
			b.nodes = slices.DeleteFunc(b.nodes, func(n node) bool { _, ok := n.(textNode); return ok })
		}
	}
}

type textNode string

func (n textNode) render(_ *run, out *sink) error { return out.write(string(n)) }
func (n textNode) quiet() bool                    { return strings.Trim(string(n), blanks) == "" }
func (n textNode) walk(*visit)                    {}

type outputNode struct {
	value *filtered
	pos   int
}

func (n outputNode) quiet() bool   { return false }
func (n outputNode) walk(v *visit) { n.value.walk(v) }

func (n outputNode) render(r *run, out *sink) error {
	v, err := n.value.value(r)
	if err != nil {
		return at(r.source, n.pos, err)
	}
	s, err := r.text(v)
	if err == nil {
		err = out.write(s)
	}
	return at(r.source, n.pos, err)
}

// parser reads a template.
type parser struct {
	source   string
	depth    int
	partials bool
}

// body reads nodes up to a tag that stop accepts; a nil stop accepts the end of the stream only.
func (p *parser) body(s stream, stop func(name string) bool) (*body, token, error) {
	b := &body{}
	p.depth++
	if p.depth > maxNesting {
		return nil, token{}, syntax("blocks are nested too deep")
	}
	defer func() { p.depth-- }()
	for {
		t, ok, err := s.next()
		if err != nil {
			return nil, t, err
		}
		if !ok {
			return b, token{}, nil
		}
		if t.kind == tag && stop != nil && stop(t.name) {
			return b, t, nil
		}
		if err := p.node(s, t, b); err != nil {
			return nil, t, at(p.source, t.pos, err)
		}
	}
}

func (p *parser) node(s stream, t token, b *body) error {
	switch t.kind {
	case text:
		b.nodes = append(b.nodes, textNode(t.text))
		return nil
	case output:
		n, err := p.output(t)
		b.nodes = append(b.nodes, n)
		return err
	case tag:
	}
	if t.name == "liquid" {
		inner, _, err := p.body(&lineStream{source: p.source, rest: t.text, pos: t.body}, nil)
		if err == nil {
			b.nodes = append(b.nodes, inner.nodes...)
		}
		return err
	}
	parse, ok := tags()[t.name]
	if !ok {
		return unknownTag(t.name)
	}
	n, err := parse(p, s, t)
	if err == nil && n != nil {
		b.nodes = append(b.nodes, n)
	}
	return err
}

func unknownTag(name string) error {
	switch {
	case strings.HasPrefix(name, "end"):
		return syntax("%s closes nothing that is open here", name)
	case name == "else" || name == "elsif" || name == "when":
		return syntax("%s stands outside of the block that it belongs to", name)
	}
	return syntax("there is no tag %s", name)
}

func (p *parser) output(t token) (node, error) {
	s, err := scan(p.source, t.text, t.body)
	if err != nil {
		return nil, err
	}
	f, err := s.filtered()
	return outputNode{f, t.pos}, err
}

// block reads the inside of a tag up to its end tag.
func (p *parser) block(s stream, t token) (*body, error) {
	b, last, err := p.body(s, func(name string) bool { return name == "end"+t.name })
	if err == nil && last.name == "" {
		err = unclosed(t)
	}
	return b, err
}

func unclosed(t token) error { return syntax("%s is not closed with end%s", t.name, t.name) }

type parseTag func(p *parser, s stream, t token) (node, error)

// tags is every tag by name, beside liquid and what stands in blocks only.
func tags() map[string]parseTag {
	return map[string]parseTag{
		"#": parseLineComment, "comment": parseComment, "doc": parseDoc, "raw": parseRaw,
		"echo":   func(p *parser, _ stream, t token) (node, error) { return p.output(t) },
		"assign": parseAssign, "capture": parseCapture, "increment": parseCounter, "decrement": parseCounter, "cycle": parseCycle,
		"if": parseIf, "unless": parseIf, "case": parseCase, "ifchanged": parseIfChanged,
		"for": parseFor, "tablerow": parseTableRow, "break": parseInterrupt, "continue": parseInterrupt,
		"include": parsePartial, "render": parsePartial, "abort": parseAbort,
	}
}

// Tags lists the names of all tags that stand by themselves.
func Tags() []string {
	names := []string{"liquid"}
	for name := range tags() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
