package liquid

import (
	"strings"
)

// expression is anything that has a value.
type expression interface {
	value(r *run) (any, error)
	// key is the expression in one spelling, for the names of loops and cycles.
	key() string
	walk(v *visit)
}

// special is what an expression may be compared with: blank or empty.
type special string

const (
	blank special = "blank"
	empty special = "empty"
)

type literal struct {
	v    any
	text string
}

func (l literal) value(*run) (any, error) { return l.v, nil }
func (l literal) key() string             { return l.text }
func (l literal) walk(*visit)             {}

// span is a range (from..to).
type span struct{ from, to expression }

func (s span) key() string   { return "(" + s.from.key() + ".." + s.to.key() + ")" }
func (s span) walk(v *visit) { s.from.walk(v); s.to.walk(v) }

func (s span) value(r *run) (any, error) {
	from, err := bound(r, s.from)
	if err != nil {
		return nil, err
	}
	to, err := bound(r, s.to)
	return interval{from, to}, err
}

// bound is one side of a range.
func bound(r *run, e expression) (int64, error) {
	v, err := e.value(r)
	if err != nil {
		return 0, err
	}
	switch x := v.(type) {
	case nil, string, special:
		return leadingInt(str(x)), nil
	case float64:
		if _, ok := e.(literal); ok {
			return int64(x), nil
		}
	}
	return integer(v)
}

// lookup is one step of a path: .name or [expression].
type lookup struct {
	name string
	by   expression // nil for .name
}

// variable is a name and the path into its value.
type variable struct {
	name string
	by   expression // [expression] instead of a name
	path []lookup
	pos  int
}

func (x *variable) key() string {
	var b strings.Builder
	b.WriteString(x.name)
	if x.by != nil {
		b.WriteString("[" + x.by.key() + "]")
	}
	for _, l := range x.path {
		if l.by != nil {
			b.WriteString("[" + l.by.key() + "]")
		} else {
			b.WriteString("." + l.name)
		}
	}
	return b.String()
}

func (x *variable) value(r *run) (any, error) {
	name := x.name
	if x.by != nil {
		v, err := x.by.value(r)
		if err != nil {
			return nil, err
		}
		name = str(v)
	}
	v := r.lookup(name)
	for _, l := range x.path {
		if err := r.budget.step(1); err != nil {
			return nil, err
		}
		if l.by == nil {
			v = member(v, l.name)
			continue
		}
		by, err := l.by.value(r)
		if err != nil {
			return nil, err
		}
		v = at_(v, by)
	}
	return v, nil
}

// member is v.name: what the value holds under the name, else its size, first or last.
func member(v any, name string) any {
	if d, ok := v.(drop); ok {
		return d.get(name)
	}
	if m, ok := v.(*Map); ok {
		if got, ok := m.values[name]; ok {
			return got
		}
	}
	switch name {
	case "size":
		return size(v)
	case "first":
		return first(v)
	case "last":
		return last(v)
	}
	return nil
}

// at_ is v[key].
func at_(v, key any) any {
	switch x := v.(type) {
	case *Map:
		if k, ok := key.(string); ok {
			return x.values[k]
		}
	case []any:
		i, ok := key.(int64)
		if ok && i < 0 {
			i += int64(len(x))
		}
		if ok && i >= 0 && i < int64(len(x)) {
			return x[i]
		}
	case drop:
		return x.get(str(key))
	}
	return nil
}

// expression parses one operand.
func (s *scanner) expression() (expression, error) {
	s.depth++
	if s.depth > maxNesting {
		return nil, at(s.source, s.peek().pos, syntax("brackets are nested too deep"))
	}
	defer func() { s.depth-- }()
	l := s.peek()
	switch {
	case l.kind == quoted:
		s.take()
		return literal{l.text, l.raw}, nil
	case l.kind == number:
		s.take()
		return literal{parseNumber(l.text), l.text}, nil
	case l.kind == identifier || (l.kind == comparison && l.text == "contains"):
		s.take()
		x := &variable{name: l.text, pos: l.pos}
		if err := s.path(x); err != nil {
			return nil, err
		}
		if len(x.path) == 0 {
			if v, ok := word2literal(l.text); ok {
				return literal{v, l.text}, nil
			}
		}
		return x, nil
	case s.is(punct, "["):
		by, err := s.expression()
		if err != nil {
			return nil, err
		}
		x := &variable{by: by, pos: l.pos}
		if t, ok := by.(literal); ok {
			if name, ok := t.v.(string); ok {
				x.name, x.by = name, nil
			}
		}
		if err := s.mark("]"); err != nil {
			return nil, err
		}
		return x, s.path(x)
	case s.is(punct, "("):
		return s.span()
	}
	return nil, s.unexpected("a value")
}

func word2literal(text string) (any, bool) {
	switch text {
	case "nil", "null":
		return nil, true
	case "true":
		return true, true
	case "false":
		return false, true
	case "blank":
		return blank, true
	case "empty":
		return empty, true
	}
	return nil, false
}

func (s *scanner) span() (expression, error) {
	from, err := s.expression()
	if err != nil {
		return nil, err
	}
	if _, err := s.want(dots, ".."); err != nil {
		return nil, err
	}
	to, err := s.expression()
	if err != nil {
		return nil, err
	}
	return span{from, to}, s.mark(")")
}

func (s *scanner) path(x *variable) error {
	for {
		switch {
		case s.is(punct, "["):
			by, err := s.expression()
			if err != nil {
				return err
			}
			x.path = append(x.path, lookup{by: by})
			if err := s.mark("]"); err != nil {
				return err
			}
		case s.is(punct, "."):
			l, err := s.want(identifier, "a name")
			if err != nil {
				return err
			}
			x.path = append(x.path, lookup{name: l.text})
		default:
			return nil
		}
	}
}
