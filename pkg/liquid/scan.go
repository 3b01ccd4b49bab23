package liquid

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// lexeme is a word of an expression.
type lexeme struct {
	kind lexemeKind
	text string
	raw  string // with the quotes
	pos  int    // in the source
}

type lexemeKind int

const (
	end lexemeKind = iota
	identifier
	number
	quoted
	comparison
	dots  // ..
	punct // one character
)

// maxNesting bounds how deep expressions and blocks stand in each other.
const maxNesting = 100

var lexemes = []struct { //nolint:gochecknoglobals // a table that never changes
	kind lexemeKind
	is   *regexp.Regexp
}{
	{comparison, regexp.MustCompile(`^(?:==|!=|<>|<=|>=|<|>|contains(?:\s|$))`)},
	{quoted, regexp.MustCompile(`^(?:'[^']*'|"[^"]*")`)},
	{number, regexp.MustCompile(`^-?\d+(?:\.\d+)?`)},
	{identifier, regexp.MustCompile(`^[a-zA-Z_][\w-]*\??`)},
	{dots, regexp.MustCompile(`^\.\.`)},
	{punct, regexp.MustCompile(`^[|.:,\[\]()=]`)},
}

// scanner reads the markup of one tag or output.
type scanner struct {
	source string
	words  []lexeme
	i      int
	depth  int
}

// scan splits markup, which stands at pos in source.
func scan(source, markup string, pos int) (*scanner, error) {
	s := &scanner{source: source}
	stop := pos + len(markup)
	for {
		trimmed := strings.TrimLeft(markup, blanks)
		pos += len(markup) - len(trimmed)
		markup = trimmed
		if markup == "" {
			s.words = append(s.words, lexeme{kind: end, pos: stop})
			return s, nil
		}
		l, err := word(markup, pos)
		if err != nil {
			return nil, at(source, pos, err)
		}
		s.words = append(s.words, l)
		markup, pos = markup[len(l.raw):], pos+len(l.raw)
	}
}

func word(markup string, pos int) (lexeme, error) {
	for _, l := range lexemes {
		if m := l.is.FindString(markup); m != "" {
			text := strings.TrimRight(m, blanks) // contains has a blank behind it
			if l.kind == quoted {
				text = m[1 : len(m)-1]
			}
			return lexeme{kind: l.kind, text: text, raw: m, pos: pos}, nil
		}
	}
	if markup[0] == '"' || markup[0] == '\'' {
		return lexeme{}, syntax("a text is not closed with %c", markup[0])
	}
	r, _ := utf8.DecodeRuneInString(markup)
	return lexeme{}, syntax("%q is not expected here", r)
}

func syntax(format string, args ...any) error {
	return &problem{kind: ErrSyntax, text: fmt.Sprintf(format, args...)}
}

func (s *scanner) peek() lexeme { return s.words[s.i] }

func (s *scanner) take() lexeme {
	l := s.words[s.i]
	if l.kind != end {
		s.i++
	}
	return l
}

// is reports whether the next word is this one, and takes it then.
func (s *scanner) is(k lexemeKind, text string) bool {
	if l := s.peek(); l.kind == k && l.text == text {
		s.i++
		return true
	}
	return false
}

// looksAt reports whether the n-th word from here is this punctuation mark.
func (s *scanner) looksAt(n int, mark string) bool {
	return s.i+n < len(s.words) && s.words[s.i+n].kind == punct && s.words[s.i+n].text == mark
}

func (s *scanner) want(k lexemeKind, what string) (lexeme, error) {
	if l := s.peek(); l.kind != k {
		return l, s.unexpected(what)
	}
	return s.take(), nil
}

func (s *scanner) mark(m string) error {
	if !s.is(punct, m) {
		return s.unexpected(m)
	}
	return nil
}

// done refuses what is left over.
func (s *scanner) done() error {
	if s.peek().kind != end {
		return s.unexpected("the end")
	}
	return nil
}

func (s *scanner) unexpected(instead string) error {
	l := s.peek()
	found := "the end"
	if l.kind == quoted {
		found = "a text"
	} else if l.kind != end {
		found = l.text
	}
	return at(s.source, l.pos, syntax("%s is not expected here; %s is", found, instead))
}
