package liquid

import (
	"regexp"
	"strings"
)

// parseLineComment reads {% # a comment %}, where each line begins with #.
func parseLineComment(_ *parser, _ stream, t token) (node, error) {
	for i, line := range strings.Split(t.text, "\n") {
		if line = strings.Trim(line, blanks); i > 0 && line != "" && line[0] != '#' {
			return nil, syntax("each line of a comment begins with #")
		}
	}
	return nil, nil //nolint:nilnil // a comment leaves nothing
}

// parseComment skips everything up to the end, tags that are not valid too. Comments within it have to be closed.
func parseComment(_ *parser, s stream, t token) (node, error) {
	for depth := 1; depth > 0; {
		inner, ok, err := s.next()
		if !ok && (err == nil || !inner.closed) {
			return nil, unclosed(t)
		}
		switch inner.name {
		case "raw":
			if _, ok := s.raw("raw"); !ok {
				return nil, unclosed(inner)
			}
		case "comment":
			depth++
		case "endcomment":
			depth--
		}
	}
	return nil, nil //nolint:nilnil // a comment leaves nothing
}

var innerDoc = regexp.MustCompile(`\{%-?\s*doc\b`)

func parseDoc(_ *parser, s stream, t token) (node, error) {
	if strings.Trim(t.text, blanks) != "" {
		return nil, syntax("doc takes nothing")
	}
	inside, ok := s.raw("doc")
	if !ok {
		return nil, unclosed(t)
	}
	if innerDoc.MatchString(inside) {
		return nil, syntax("doc stands within doc")
	}
	return nil, nil //nolint:nilnil // a comment leaves nothing
}

// rawNode is text that is not looked at. It is never taken for white space between tags.
type rawNode string

func (n rawNode) render(_ *run, out *sink) error { return out.write(string(n)) }
func (n rawNode) quiet() bool                    { return n == "" }
func (n rawNode) walk(*visit)                    {}

func parseRaw(_ *parser, s stream, t token) (node, error) {
	if strings.Trim(t.text, blanks) != "" {
		return nil, syntax("raw takes nothing")
	}
	inside, ok := s.raw("raw")
	if !ok {
		return nil, unclosed(t)
	}
	return rawNode(inside), nil
}

type abortNode struct {
	why string
	pos int
}

func (n abortNode) quiet() bool { return false }
func (n abortNode) walk(*visit) {}

func (n abortNode) render(r *run, _ *sink) error {
	return at(r.source, n.pos, &problem{kind: ErrAbort, text: n.why})
}

// parseAbort reads {% abort %} and {% abort "why" %}.
func parseAbort(p *parser, _ stream, t token) (node, error) {
	s, err := scan(p.source, t.text, t.body)
	if err != nil {
		return nil, err
	}
	n := abortNode{why: ErrAbort.Error(), pos: t.pos}
	if l := s.peek(); l.kind == quoted {
		s.take()
		n.why = l.text
	}
	return n, s.done()
}
