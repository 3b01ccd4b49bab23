package liquid

import (
	"regexp"
	"strings"
)

type kind int

const (
	text kind = iota
	output
	tag
)

// token is a piece of a template: text between tags, {{ an output }} or {% a tag %}.
type token struct {
	kind kind
	// pos is where the token begins in the source, body where its inside begins.
	pos, body int
	// text is the text, or the markup of an output or tag without the tag's name.
	text string
	name string
	trim trimming
	// closed reports whether the end of the output or tag was found.
	closed bool
}

// trimming says on which sides a tag takes the white space away.
type trimming struct{ left, right bool }

// stream hands out tokens, one at a time, because what follows raw is not tokens.
type stream interface {
	next() (token, bool, error)
	// raw takes everything up to the tag end<name>.
	raw(name string) (string, bool)
}

// templateStream reads a whole template.
type templateStream struct {
	source string
	pos    int
	trim   bool // the tag before took the white space on its right
}

const blanks = " \t\n\v\f\r\x00"

func (s *templateStream) next() (token, bool, error) {
	for s.pos < len(s.source) {
		start := s.pos
		open := nextOpening(s.source[start:])
		if open == 0 {
			t, err := s.markup(start)
			return t, err == nil, err
		}
		end := len(s.source)
		if open > 0 {
			end = start + open
		}
		s.pos = end
		t := token{kind: text, pos: start, body: start, text: s.source[start:end]}
		if s.trim {
			t.text = strings.TrimLeft(t.text, blanks)
		}
		s.trim = false
		if strings.HasPrefix(s.source[min(end+2, len(s.source)):], "-") {
			t.text = strings.TrimRight(t.text, blanks)
		}
		if t.text != "" {
			return t, true, nil
		}
	}
	return token{}, false, nil
}

// nextOpening is where the next output or tag begins; -1 if there is none.
func nextOpening(s string) int {
	for i := 0; ; {
		j := strings.IndexByte(s[i:], '{')
		if j < 0 || i+j+1 >= len(s) {
			return -1
		}
		i += j
		if s[i+1] == '{' || s[i+1] == '%' {
			return i
		}
		i++
	}
}

var tagName = regexp.MustCompile(`^\s*(#|\w+)\s*`)

func (s *templateStream) markup(start int) (token, error) {
	t := token{kind: output, pos: start, body: start + 2}
	closing := "}}"
	if s.source[start+1] == '%' {
		t.kind, closing = tag, "%}"
	}
	length := strings.Index(s.source[t.body:], closing)
	if length < 0 {
		return t, at(s.source, start, syntax("%s is not closed with %s", s.source[start:start+2], closing))
	}
	t.closed = true
	t.text = s.source[t.body : t.body+length]
	s.pos = t.body + length + 2
	if strings.HasPrefix(t.text, "-") {
		t.trim.left = true
		t.text, t.body = t.text[1:], t.body+1
	}
	if strings.HasSuffix(t.text, "-") {
		t.trim.right = true
		t.text = t.text[:len(t.text)-1]
	}
	s.trim = t.trim.right
	if t.kind == output {
		return t, nil
	}
	return named(s.source, t)
}

// named takes a tag's name off its markup.
func named(source string, t token) (token, error) {
	m := tagName.FindStringSubmatch(t.text)
	if m == nil {
		return t, at(source, t.pos, syntax("a tag begins with its name"))
	}
	t.name = m[1]
	t.body += len(m[0])
	t.text = t.text[len(m[0]):]
	return t, nil
}

func (s *templateStream) raw(name string) (string, bool) {
	closing := regexp.MustCompile(`\{%(-?)\s*end` + name + `\s*(-?)%\}`)
	m := closing.FindStringSubmatchIndex(s.source[s.pos:])
	if m == nil {
		return "", false
	}
	inside := s.source[s.pos : s.pos+m[0]]
	s.trim = m[4] < m[5]
	s.pos += m[1]
	return inside, true
}

// lineStream reads the inside of the tag liquid, where each line is a tag.
type lineStream struct {
	source string // the whole template, for places
	rest   string
	pos    int
}

func (s *lineStream) next() (token, bool, error) {
	for s.rest != "" {
		line, rest, _ := strings.Cut(s.rest, "\n")
		start := s.pos
		s.rest, s.pos = rest, s.pos+len(line)+1
		if strings.Trim(line, blanks) == "" {
			continue
		}
		t, err := named(s.source, token{kind: tag, closed: true, pos: start + len(line) - len(strings.TrimLeft(line, blanks)), body: start, text: line})
		return t, err == nil, err
	}
	return token{}, false, nil
}

func (s *lineStream) raw(string) (string, bool) { return "", false }
